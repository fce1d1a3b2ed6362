"""What the notebooks say on other versions of PostgreSQL: `python -m tests.versions FOLDER_OF_PROGRAMS...`.

Every strict notebook is executed with the programs in that folder, and each output that differs from the stored one is
listed as Markdown, under its heading. A folder named `-` stands for the lab's own server.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT
from zephyr_lab.course.store import CELL_SECONDS, KERNEL, QUIET, is_measured, normal_form

NOTEBOOKS = [
    path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not is_measured(nbformat.read(path, as_version=4))
]
MOST_LINES = 12


def again(path: Path, programs: str) -> nbformat.NotebookNode:
    """The notebook after an execution in which cells may raise."""
    os.environ.pop("ZEPHYR_LAB_PG_BIN", None)
    if programs != "-":
        os.environ["ZEPHYR_LAB_PG_BIN"] = programs
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name=KERNEL["name"], record_timing=False, store_widget_state=False,
        coalesce_streams=True, shutdown_kernel="immediate", extra_arguments=QUIET, allow_errors=True,
        resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    client.execute()
    return nbformat.reads(normal_form(notebook), as_version=4)


def said(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell's outputs say, as lines; pictures by their text."""
    texts = []
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            texts.append(f"{output.ename}: {output.evalue}")
        else:
            texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(texts).splitlines()


def differences(path: Path, programs: str) -> list[str]:
    """Markdown: for each cell that says something else, the heading and what it says instead."""
    stored, now, heading, found = nbformat.read(path, as_version=4), again(path, programs), "", []
    for before, after in zip(stored.cells, now.cells, strict=True):
        if before.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", before.source, re.MULTILINE) or [heading])[-1]
        elif said(before) != said(after):
            lines = list(difflib.unified_diff(said(before), said(after), lineterm="", n=0))[2:]
            kept = [line[:160] for line in lines if not line.startswith("@@")]
            more = [f"... and {len(kept) - MOST_LINES} lines more"] if len(kept) > MOST_LINES else []
            found.append("\n".join([f"*{heading}*", "", "```diff", *kept[:MOST_LINES], *more, "```", ""]))
    return found


def main(folders: list[str]) -> None:
    for programs in folders:
        postgres = Path(programs) / "postgres"
        told = [postgres, "--version"] if programs != "-" else None
        version = subprocess.run(told, capture_output=True, text=True).stdout.strip() if told else "the lab's own"
        print(f"## {version}\n", flush=True)
        with ProcessPoolExecutor(2) as pool:
            for path, found in zip(
                NOTEBOOKS, pool.map(differences, NOTEBOOKS, [programs] * len(NOTEBOOKS)), strict=True
            ):
                if found:
                    print(f"### {path.stem}\n")
                    print(*found, sep="\n", flush=True)
            print(f"{len(NOTEBOOKS)} notebooks executed.\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
