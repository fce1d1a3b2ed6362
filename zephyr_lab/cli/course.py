"""`zephyr-lab course`, `samples`, `notebooks`, `site`, `store`, `questions`: the course, and files to try."""

from __future__ import annotations

import importlib.util
import os
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress

from zephyr_lab.cli.common import err, labs
from zephyr_lab.cli.schedules import show_counted
from zephyr_lab.extras import needed_by
from zephyr_lab.shipped import copy_out, shipped
from zephyr_lab.views.figure import WITHOUT_PNG
from zephyr_lab.warm import JOBS, environment, warm_kernels

if TYPE_CHECKING:
    from zephyr_lab.anomalies import Matrix

NOTEBOOKS, FIRST = Path("notebooks"), "00-start.ipynb"
# Those of the README, known by name in the literature, or from the incident.
BEST_KNOWN = (
    "aborted-read",
    "non-repeatable-read",
    "phantom",
    "read-skew",
    "lost-update",
    "write-skew",
    "double-booking",
    "read-only-anomaly",
)


def course(
    folder: Annotated[Path, typer.Argument(help="Copy the notebooks into this folder.")] = Path("zephyr-lab-course"),
    open: Annotated[bool, typer.Option(help="Open JupyterLab on the first notebook.")] = True,
    browser: Annotated[
        bool, typer.Option(help="Let JupyterLab open a browser; the address is printed in any case.")
    ] = True,
) -> None:
    """Copy the notebooks into a folder of yours, and open JupyterLab on the first: on loopback, with a token.

    What you have changed there stays as it is.
    """
    if open and importlib.util.find_spec("jupyterlab") is None:
        raise ModuleNotFoundError(name="jupyterlab")
    _copy("notebooks", folder)
    if not open:
        return
    words = ["--ServerApp.ip=127.0.0.1", *([] if browser else ["--no-browser"])]
    words += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    os.chdir(folder)
    # Replaces this process, for Ctrl-C; -P: the reader's files are not importable as modules of JupyterLab.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "jupyterlab", *words, FIRST])


def samples(
    folder: Annotated[Path, typer.Argument(help="Copy the files into this folder.")] = Path(),
) -> None:
    """Copy files to try `explore`, `spec`, `check` and `hermitage` on. What you have changed there stays as it is."""
    _copy("data/samples", folder)


def _copy(name: str, folder: Path) -> None:
    written, kept = copy_out(name, folder)
    err.print(f"{len(written)} {Path(name).name} written to {folder}", markup=False, soft_wrap=True)
    if kept:
        said = ", ".join(path.name for path in kept)
        err.print(f"kept, for they differ from what is shipped: {said}", style="yellow", markup=False, soft_wrap=True)


def notebooks(
    folder: Annotated[Path, typer.Argument(help="Folder of the notebooks.")] = NOTEBOOKS,
    into: Annotated[Path, typer.Option(help="Write executed notebooks, pages and index.html into this folder.")] = Path(
        "build"
    ),
    jobs: Annotated[int, typer.Option(min=1, help="Number of notebooks executed in parallel.")] = JOBS,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured", help="Execute all notebooks that measure, one after another, instead of one short one."
        ),
    ] = False,
) -> None:
    """Count the best known anomalies; then execute every notebook, at every isolation level where it takes one.

    At the end print the whole matrix, as a notebook has counted it, and write an index.
    """
    folder = or_shipped(folder)
    first: Matrix | None = None

    def count_best_known() -> None:
        nonlocal first
        with labs.Lab() as lab:
            counted = first = lab.matrix(BEST_KNOWN)
        show_counted(counted.counted())
        sys.stdout.flush()  # output into a pipe is not delayed

    with environment(**{WITHOUT_PNG: "1"}), warm_kernels():
        from zephyr_lab.course.execute import Report, execute_all, only_measured, plan, without_long_ones

        todo = (only_measured if measured else without_long_ones)(plan(folder, into))
        # Without a thread: the workers are forks.
        with Progress(console=err, auto_refresh=False) as progress:
            task = progress.add_task("executing notebooks", total=len(todo))
            meanwhile = (lambda: None) if measured else count_best_known
            runs = execute_all(todo, jobs, lambda: progress.update(task, advance=1, refresh=True), meanwhile)
    report = Report(into / ("measured.html" if measured else "index.html"), tuple(runs))
    matrix = report.matrix(first.server) if first else None
    report.write_index(matrix or (first.counted() if first else None))
    if matrix:
        show_counted(matrix)
    print(f"{len(report.runs)} executions of {len(report.notebooks)} notebooks; read {report.index}")
    for line in report.problems():
        err.print(line, style="red", soft_wrap=True)
    if report.problems() or (first and first.unexpected()):
        raise typer.Exit(1)


def site(
    folder: Annotated[Path, typer.Argument(help="Folder of the notebooks.")] = NOTEBOOKS,
    into: Annotated[
        Path, typer.Option(help="Write the site into this folder; an older site there is replaced.")
    ] = Path("build/site"),
    jobs: Annotated[int, typer.Option(min=1, help="Number of notebooks executed in parallel.")] = JOBS,
    cell_seconds: Annotated[int, typer.Option(min=1, help="Most seconds that a cell may take.")] = 180,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Keep executed notebooks in this folder, and take those from there that nothing has changed of."
        ),
    ] = None,
) -> None:
    """Build the course as a site from notebooks executed now: offline, and to be opened from disk.

    A cell that fails or takes too long is named here and on its page. The other pages are built; the exit code is 1.
    """
    with needed_by("zephyr-lab site", "site"):
        from zephyr_lab.site.build import build, executed_now
        from zephyr_lab.site.schedules import schedules_now

    executed = partial(executed_now, cell_seconds=cell_seconds, cache=cache)
    built = build(folder, into, jobs, executed, partial(schedules_now, cache))
    for line in built.warnings:
        err.print(line, style="yellow", markup=False, soft_wrap=True)
    for line in built.failures:
        err.print(line, style="red", markup=False, soft_wrap=True)
    print(f"open {into / 'index.html'}")
    if built.failures:
        raise typer.Exit(1)


def store(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to execute in place.")],
) -> None:
    """Execute notebooks in place and store them in the one form that comes out byte-identical when executed again."""
    from zephyr_lab.course.store import execute_in_place

    with warm_kernels():
        for path in notebooks:
            execute_in_place(path)
            err.print(f"stored {path}")


class QuestionsFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"


def questions(
    words: Annotated[list[str] | None, typer.Argument(help="List only questions with these words.")] = None,
    format: Annotated[QuestionsFormat, typer.Option(help="Output format.")] = QuestionsFormat.TEXT,
) -> None:
    """List what people ask about isolation, each with an answer and the notebook and heading that show it."""
    from zephyr_lab.course.questions import find, to_markdown

    found = find(words or ())
    print("\n\n".join(map(str, found)) if format is QuestionsFormat.TEXT else to_markdown(found).rstrip("\n"))
    if format is QuestionsFormat.TEXT and or_shipped(NOTEBOOKS) != NOTEBOOKS:
        err.print("\nthe notebooks: zephyr-lab course")


def or_shipped(folder: Path) -> Path:
    """Those of the wheel, if there are none here and no others were named."""
    return folder if folder != NOTEBOOKS or folder.is_dir() else shipped("notebooks")
