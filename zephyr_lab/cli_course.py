"""`zephyr-lab notebooks`, `site`, `store`, `questions`: the course."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from zephyr_lab.cli_common import err, labs
from zephyr_lab.cli_schedules import show_matrix
from zephyr_lab.errors import SiteFailed


def notebooks(
    folder: Annotated[Path, typer.Argument(help="Where the notebooks are.")] = Path("notebooks"),
    into: Annotated[Path, typer.Option(help="Where executed notebooks, pages and index.html go.")] = Path("build"),
    jobs: Annotated[int, typer.Option(min=1, help="How many to execute side by side.")] = 2,
) -> None:
    """Execute every notebook, at every isolation level where it takes one; then print the matrix and write an index."""
    from zephyr_lab.course.execute import execute_all

    with Progress(console=err) as progress:
        task = progress.add_task("executing notebooks", total=None)
        report = execute_all(
            folder, into, jobs, seen=lambda done, all: progress.update(task, completed=done, total=all)
        )
    with labs.Lab() as lab:
        measured = lab.matrix()
    report.write_index(measured)
    show_matrix(measured)
    print(f"{len(report.runs)} executions of {len(report.notebooks)} notebooks; read {report.index}")
    for line in report.problems():
        err.print(line, style="red", soft_wrap=True)
    if report.problems() or measured.unexpected():
        raise typer.Exit(1)


def site(
    folder: Annotated[Path, typer.Argument(help="Where the notebooks are.")] = Path("notebooks"),
    into: Annotated[Path, typer.Option(help="Where the site goes; an older site there is replaced.")] = Path(
        "build/site"
    ),
    jobs: Annotated[int, typer.Option(min=1, help="How many notebooks to execute side by side.")] = 2,
) -> None:
    """Build the course as a site from notebooks executed now: offline, and to be opened from disk."""
    try:
        from zephyr_lab.site.build import build
    except ModuleNotFoundError as error:
        raise SiteFailed(f"{error.name} is not installed: pip install 'zephyr-lab[site]'") from None
    for line in build(folder, into, jobs):
        err.print(line, style="yellow", markup=False, soft_wrap=True)
    print(f"open {into / 'index.html'}")


def store(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to execute in place.")],
) -> None:
    """Execute notebooks in place and store them in the one form that comes out byte-identical when executed again."""
    from zephyr_lab.course.store import execute_in_place

    for path in notebooks:
        execute_in_place(path)
        err.print(f"stored {path}")


class QuestionsFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"


def questions(
    words: Annotated[list[str] | None, typer.Argument(help="Only questions with these words.")] = None,
    format: Annotated[QuestionsFormat, typer.Option(help="How to print them.")] = QuestionsFormat.TEXT,
) -> None:
    """What people ask about isolation: each with an answer, and the notebook and heading of the cell that shows it."""
    from zephyr_lab.course.questions import find, to_markdown

    found = find(words or ())
    print("\n\n".join(map(str, found)) if format is QuestionsFormat.TEXT else to_markdown(found).rstrip("\n"))
