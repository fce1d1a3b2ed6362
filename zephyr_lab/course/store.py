"""The stored form of a notebook: executed, and byte-identical when executed again.

nbval compares stored outputs with a fresh execution, and a stripped notebook would pass without comparing anything; so
notebooks are committed executed, through this one normaliser. Those of the measured kind are not compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from zephyr_lab.errors import BadInput, NotebookFailed
from zephyr_lab.warm.managers import AsyncManager

CELL_SECONDS = 180
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
QUIET = ["--log-level=ERROR"]  # kernels on loopback warn about it on the reader's terminal
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


MEASURED = {"kind": "measured"}
UNCOMPARED = "nbval-ignore-output"


def is_measured(notebook: nbformat.NotebookNode) -> bool:
    """Whether its outputs are times and rates: `{"zephyr_lab": {"kind": "measured"}}` in its metadata.

    Such a notebook is executed like any other and asserts its ratios; its outputs are not compared.
    """
    return dict(notebook.metadata.get("zephyr_lab", {})) == MEASURED


def execute_in_place(path: Path) -> None:
    """Executes a notebook and writes its normal form. A cell that raises stops it, and the file stays as it was."""
    path.write_text(executed(path), encoding="utf-8")


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook's content. Raises BadInput if there is none."""
    try:
        notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
        return notebook
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise BadInput(f"cannot read notebook {path}: {getattr(error, 'strerror', None) or error}") from None


@dataclass(frozen=True)
class Execution:
    """A notebook as far as it was executed; `stopped_at` is the place of the cell that failed, None if none did."""

    notebook: nbformat.NotebookNode
    stopped_at: int | None = None
    failure: str = ""


def executed(path: Path) -> str:
    """The text of a notebook's file after a fresh execution. Raises BadInput, NotebookFailed."""
    made = _execute(path, widgets=False)
    if made.stopped_at is not None:
        raise NotebookFailed(f"{made.failure}; nothing was stored")
    return normal_form(made.notebook)


def executed_with_widgets(path: Path, cell_seconds: int = CELL_SECONDS) -> Execution:
    """A notebook after a fresh execution, with the state of its widgets. Raises BadInput."""
    return _execute(path, widgets=True, cell_seconds=cell_seconds)


def _execute(path: Path, widgets: bool, cell_seconds: int = CELL_SECONDS) -> Execution:
    notebook = read_notebook(path)
    begun: list[int] = []
    client = NotebookClient(
        notebook,
        timeout=cell_seconds,
        kernel_name=KERNEL["name"],
        record_timing=False,
        store_widget_state=widgets,
        coalesce_streams=True,
        shutdown_kernel="immediate",
        extra_arguments=QUIET,
        kernel_manager_class=AsyncManager,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
    )
    for cell in notebook.cells:  # what a cell that is not reached shows is not of this execution
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        client.set_widgets_metadata()
        at = begun[-1] if begun else 0
        return Execution(notebook, at, f"{path.name}: {_named(notebook.cells[at], at)} {_why(error, cell_seconds)}")
    return Execution(notebook)


def _named(cell: nbformat.NotebookNode, at: int) -> str:
    """A cell by its id, or else its number, and its first line."""
    first: str = cell.source.strip().split("\n")[0]
    return f"{cell.get('id') or f'cell {at + 1}'} (`{first}`)"


def _why(error: Exception, cell_seconds: int) -> str:
    if isinstance(error, CellExecutionError):
        return f"raised {error.ename}: {error.evalue}"
    if isinstance(error, DeadKernelError):
        return "ended its kernel"
    return f"was not done within {cell_seconds} s; allow more with --cell-seconds"


def normal_form(notebook: nbformat.NotebookNode) -> str:
    """A notebook as text, without anything that differs between two executions or two machines."""
    notebook = cast("nbformat.NotebookNode", nbformat.from_dict(notebook))
    measured = is_measured(notebook)
    kept = {"zephyr_lab": MEASURED} if measured else {}
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}, **kept})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number:02}"
        tags = list(cell.metadata.get("tags", []))
        if measured and cell.cell_type == "code" and UNCOMPARED not in tags:
            tags.append(UNCOMPARED)
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for output in cell.get("outputs", []):
            if "data" in output and len(output.data) > 1:
                output.data.pop(WIDGET_VIEW, None)
            if "metadata" in output:
                output.metadata = {}
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)
    return text + "\n"
