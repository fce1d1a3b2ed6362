"""What the notebooks say on other versions of PostgreSQL: `python -m tests.versions [options] FOLDER_OF_PROGRAMS...`.

Every strict notebook is executed with the programs in that folder, and each output that differs from the stored one is
listed as Markdown, under its heading. A folder named `-` stands for the lab's own server. With `--times 3` each is
executed three times, and what is not byte-identical among these is listed too (exit 1). Kernels are warm under
`python -m zephyr_lab.warm python -m tests.versions ...`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.conftest import ROOT
from zephyr_lab.course.store import CELL_SECONDS, KERNEL, QUIET, is_measured, normal_form
from zephyr_lab.views.figure import WITHOUT_PNG
from zephyr_lab.warm.managers import AsyncManager

NOTEBOOKS = [
    path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if not is_measured(nbformat.read(path, as_version=4))
]
MOST_LINES = 12


def again(path: Path, programs: str) -> str:
    """The notebook's normal form after an execution in which cells may raise. Figures have no PNG."""
    os.environ.pop("ZEPHYR_LAB_PG_BIN", None)
    if programs != "-":
        os.environ["ZEPHYR_LAB_PG_BIN"] = programs
    os.environ[WITHOUT_PNG] = "1"
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, kernel_name=KERNEL["name"], record_timing=False, store_widget_state=False,
        coalesce_streams=True, shutdown_kernel="immediate", extra_arguments=QUIET, allow_errors=True,
        kernel_manager_class=AsyncManager, resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip
    client.execute()
    return normal_form(notebook)


def said(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell's outputs say, as lines; pictures by their text."""
    texts = []
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            texts.append(f"{output.ename}: {output.evalue}")
        else:
            texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(texts).splitlines()


def differences(before: nbformat.NotebookNode, after: nbformat.NotebookNode) -> list[str]:
    """Markdown: for each cell that says something else, the heading and what it says instead."""
    heading, found = "", []
    for one, other in zip(before.cells, after.cells, strict=True):
        if one.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", one.source, re.MULTILINE) or [heading])[-1]
        elif said(one) != said(other):
            lines = list(difflib.unified_diff(said(one), said(other), lineterm="", n=0))[2:]
            kept = [line[:160] for line in lines if not line.startswith("@@")]
            more = [f"... and {len(kept) - MOST_LINES} lines more"] if len(kept) > MOST_LINES else []
            found.append("\n".join([f"*{heading}*", "", "```diff", *kept[:MOST_LINES], *more, "```", ""]))
    return found


def unsteady(first: str, other: str) -> list[str]:
    """Markdown: the first lines in which two executions of a notebook differ; none if they are byte-identical."""
    lines = difflib.unified_diff(first.splitlines(), other.splitlines(), lineterm="", n=0)
    kept = [line[:160] for line in list(lines)[2 : 2 + MOST_LINES]]
    return ["\n".join(["**Two executions differ**", "", "```diff", *kept, "```", ""])] if kept else []


@dataclass(frozen=True)
class Compared:
    """What one notebook says on one version: beside what is stored, and among its executions. Both are Markdown."""

    elsewhere: list[str]
    unsteady: list[str]


def compared(path: Path, programs: str, times: int) -> Compared:
    first, *others = [again(path, programs) for _ in range(times)]
    stored, now = nbformat.read(path, as_version=4), nbformat.reads(first, as_version=4)
    return Compared(differences(stored, now), [line for other in others for line in unsteady(first, other)])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folders", nargs="+", metavar="FOLDER_OF_PROGRAMS")
    asked.add_argument("--times", type=int, default=1, help="executions of each notebook, compared byte by byte")
    asked.add_argument("--only", default="", help="the notebooks whose names begin so, as 05 or 05,16")
    asked.add_argument("--jobs", type=int, default=2)
    options = asked.parse_args()
    chosen = [path for path in NOTEBOOKS if path.name.startswith(tuple(options.only.split(",")))]
    steady = True
    for programs in options.folders:
        postgres = Path(programs) / "postgres"
        told = [postgres, "--version"] if programs != "-" else None
        version = subprocess.run(told, capture_output=True, text=True).stdout.strip() if told else "the lab's own"
        print(f"## {version}\n", flush=True)
        with ProcessPoolExecutor(options.jobs) as pool:
            each = pool.map(compared, chosen, [programs] * len(chosen), [options.times] * len(chosen))
            for path, found in zip(chosen, each, strict=True):
                steady = steady and not found.unsteady
                if found.elsewhere or found.unsteady:
                    print(f"### {path.stem}\n", *found.elsewhere, *found.unsteady, sep="\n", flush=True)
        print(f"{len(chosen)} notebooks executed, {options.times} times each.\n", flush=True)
    sys.exit(not steady)


if __name__ == "__main__":
    main()
