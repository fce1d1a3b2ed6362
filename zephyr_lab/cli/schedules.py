"""`zephyr-lab cases`, `run`, `spec`, `hermitage`, `matrix`: schedules, run and judged."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from zephyr_lab.cli.common import (
    ClusterOption,
    ExportOption,
    Exports,
    Format,
    Late,
    err,
    executor_of,
    labs,
    out,
    progress_bar,
)
from zephyr_lab.schedule.levels import IsolationLevel

if TYPE_CHECKING:
    from zephyr_lab.anomalies import Matrix
    from zephyr_lab.anomalies.matrix import Counted

specs = Late("zephyr_lab.lab.case")
catalogue, model = Late("zephyr_lab.anomalies"), Late("zephyr_lab.schedule.model")

COLOURS = {"prevented": "green", "occurs": "red"}


class MatrixFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def cases() -> None:
    """List the cases, with the schedule that shows each."""
    table = Table("case", "schedule", "shows", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    titles = {one.case: one.title + (f" ({one.phenomenon})" if one.phenomenon else "") for one in catalogue.CATALOGUE}
    for name in specs.cases():
        spec = specs.load_case(name)
        table.add_row(name, model.example(spec), titles.get(name, ""))
    out.print(table)


def run(
    case: Annotated[str, typer.Argument(help="A case (`zephyr-lab cases`), or a .spec file.")],
    isolation: Annotated[
        str, typer.Option(help="One of PostgreSQL's four isolation levels, case-insensitive.")
    ] = "read committed",
    schedule: Annotated[
        str | None, typer.Option(help='Sessions in the order of their steps, "A B A B", or names of steps.')
    ] = None,
    victim: Annotated[str | None, typer.Option(help="The session to be aborted in a deadlock.")] = None,
    whole_sessions: Annotated[
        bool,
        typer.Option(
            "--whole-sessions", help="Judge by the orders of whole sessions, as functions are, not of transactions."
        ),
    ] = False,
    step_seconds: Annotated[
        float, typer.Option(help="Time limit in seconds of a step that waits for no session.")
    ] = 30,
    export: ExportOption = None,
    format: Annotated[Format, typer.Option(help="Output format.")] = Format.TEXT,
) -> None:
    """Run one schedule, then the serial ones, and say whether the outcome is an anomaly."""
    level, exports = IsolationLevel.of(isolation), Exports(export)
    chosen = specs.load_case(case)
    if schedule is not None:
        model.Schedule.parse(schedule, chosen)  # errors that need no server come first
    with labs.Lab(step_seconds=step_seconds) as lab:
        example = lab.case(chosen, level).example(schedule, victim=victim, whole_sessions=whole_sessions)
        said = example.verdict.to_dict()
        if format is Format.JSON:
            print(json.dumps({**said.pop("transcript"), **said}, indent=1))
        else:
            print(f"{example.transcript}\n\n{example.verdict}")
        exports.write(example)


def spec(
    file: Annotated[Path, typer.Argument(help="A .spec file.")],
    dsn: Annotated[str | None, typer.Option(help="Run on this server instead of a temporary one.")] = None,
    step_seconds: Annotated[
        float, typer.Option(help="Time limit in seconds of a step, and of a block of setup or teardown.")
    ] = 300,
    load_extension: Annotated[
        list[str] | None, typer.Option(help="Create this extension first, such as pgrowlocks; can be repeated.")
    ] = None,
) -> None:
    """Run a spec file as PostgreSQL's isolationtester does, and print what that prints, byte for byte."""
    with labs.Lab(pg_dsn=dsn, step_seconds=step_seconds) as lab:
        lab.isolationtester(file, sys.stdout.write, extensions=load_extension or ())


def hermitage(
    file: Annotated[Path, typer.Argument(help="A Markdown file in Hermitage's form, such as its postgres.md.")],
) -> None:
    """Replay the tests that a Markdown file documents, and say for each whether the server still does the same.

    Exit 1 if it does not.
    """
    with labs.Lab() as lab:
        compared = lab.hermitage(file)
        server = lab.server
    for test, differences in compared:
        print(f"{'differs' if differences else 'as documented':<13}  {test.title}")
        for difference in differences:
            print(f"{'':<13}    step {difference}")
    same = [test for test, differences in compared if not differences]
    steps = sum(len(test.schedule.steps) for test, _ in compared)
    print(f"{len(same)} of {len(compared)} tests ({steps} steps) are as documented on {server}")
    if len(same) < len(compared):
        raise typer.Exit(1)


def matrix(
    anomalies: Annotated[
        list[str] | None, typer.Argument(help="Anomalies of the catalogue (`zephyr-lab cases`); default: all.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes, each with a database of its own.")] = 1,
    cluster: ClusterOption = None,
    format: Annotated[
        MatrixFormat, typer.Option(help="Output format; json has the transcripts too.")
    ] = MatrixFormat.TEXT,
) -> None:
    """Explore every anomaly at every level, over all schedules: prevented, occurs, aborts 40001, and how often.

    Exit 1 if it is not as expected. A step is a message to the server: races inside one statement cannot be seen.
    """
    chosen = [catalogue.anomaly(name).name for name in anomalies or []] or [one.name for one in catalogue.CATALOGUE]
    with executor_of(cluster) as executor, labs.Lab() as lab, progress_bar() as progress:
        task = progress.add_task("running every cell", total=len(chosen) * len(IsolationLevel))
        measured = lab.matrix(chosen, lambda *_: progress.advance(task), jobs=jobs, executor=executor)
    show_matrix(measured, format)
    for line in measured.unexpected():
        err.print(f"unexpected: {line}", style="red", soft_wrap=True)
    if measured.unexpected():
        raise typer.Exit(1)


def show_matrix(measured: Matrix, format: MatrixFormat = MatrixFormat.TEXT) -> None:
    """Prints a matrix to standard output."""
    if format is MatrixFormat.JSON:
        print(json.dumps(measured.to_dict(), indent=1))
    elif format is MatrixFormat.MARKDOWN:
        print(measured.to_markdown())
    else:
        show_counted(measured.counted())


def show_counted(measured: Counted) -> None:
    """Prints a matrix's rows to standard output."""
    if not out.is_terminal:
        print(f"{measured}\nmeasured on {measured.server}")
    else:
        table = Table("anomaly", *map(str, IsolationLevel), caption=f"measured on {measured.server}")
        for name, *words in measured.rows:
            table.add_row(name, *(f"[{COLOURS.get(word.partition(':')[0], 'yellow')}]{word}" for word in words))
        out.print(table)
