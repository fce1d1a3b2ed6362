"""`zephyr-lab incident` and `zephyr-lab claims`: the commands that put the order service under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from zephyr_lab.cli.common import ClusterOption, err, executor_of, takes
from zephyr_lab.errors import BadInput
from zephyr_lab.options import LoadOptions

if TYPE_CHECKING:
    from zephyr_lab.load import Incident, Report
    from zephyr_lab.load import Progress as HowFar
    from zephyr_lab.load.claims import Table as Claims


class ReportFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    HTML = "html"


Yes = Annotated[
    bool,
    typer.Option(
        "--yes-load-this-database", help="Run on the server of ZEPHYR_LAB_PG_DSN, in a schema of the lab's own."
    ),
]


HistoryOption = Annotated[
    Path | None,
    typer.Option(help="Write the orders as a history, for `zephyr-lab check --workload counter`, or set-full."),
]


@takes(LoadOptions)
def incident(
    format: Annotated[ReportFormat, typer.Option(help="Output format.")] = ReportFormat.TEXT,
    into: Annotated[
        Path | None, typer.Option(help="Write figures to a .csv or .parquet file, one row per run.")
    ] = None,
    history: HistoryOption = None,
    yes: Yes = False,
    cluster: ClusterOption = None,
    **options: Any,
) -> None:
    """Reproduce the incident: orders at a rate, a hot slot, and what comes of it, measured.

    Ctrl-C prints the report so far. Exit 1 if orders are lost, or a strategy sells more than it promises to.
    """
    from zephyr_lab import load
    from zephyr_lab.lab import Lab
    from zephyr_lab.load import history as histories
    from zephyr_lab.load.report import check_path
    from zephyr_lab.orders.strategies import STRATEGIES

    if into is not None:
        check_path(into)
    names = list(STRATEGIES) if options["strategy"] == "all" else [options["strategy"]]
    if history is not None:
        if len(names) > 1:
            raise BadInput("--history is of one run: name the strategy")
        histories.check_path(history)
    asked = [load.Incident(**{**options, "strategy": name}).check() for name in names]
    reports: list[load.Report] = []
    with executor_of(cluster) as executor, Lab() as lab, live(asked) as seen:
        for one in asked:
            about: dict[str, Any] = {"yes_load_this_database": yes, "executor": executor, "history": history}
            reports.append(lab.incident(one, seen, **about))
            if reports[-1].stopped:
                break
    if into is not None:
        load.save(reports, into)
    if history is not None:
        said = f"zephyr-lab check {history} --workload {histories.workload(asked[0])}"
        err.print(f"the orders are in {history}; now: {said}", markup=False, soft_wrap=True)
    print(_said(reports, format, alone=len(names) == 1))
    if any(one.breaks_a_promise for one in reports):
        raise typer.Exit(1)


def _said(reports: list[Report], format: ReportFormat, alone: bool) -> str:
    from zephyr_lab import load

    if format is ReportFormat.TEXT:
        return str(reports[0]) if alone else load.compared(reports)
    return load.to_json(reports) if format is ReportFormat.JSON else load.to_html(reports)


class ClaimsFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def claims(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers of claims; default: all.")] = None,
    rate: Annotated[float, typer.Option(help="Orders per second.")] = 800,
    seconds: Annotated[float, typer.Option(help="Seconds per run.")] = 4,
    format: Annotated[ClaimsFormat, typer.Option(help="Output format.")] = ClaimsFormat.TEXT,
) -> None:
    """Decide every claim of the write-up by running it: holds, does not hold, or holds when; with the figures."""
    from rich.progress import TimeElapsedColumn

    from zephyr_lab.lab import Lab
    from zephyr_lab.load.claims import check

    check(numbers or ())
    columns = TextColumn("{task.description}"), TimeElapsedColumn()
    with Lab() as lab, Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("preparing", total=None)
        found = lab.claims(
            numbers or (),
            rate=rate,
            seconds=seconds,
            on_progress=lambda one: progress.update(task, description=f"{one.number}. {one.said}"),
        )
    shown: dict[ClaimsFormat, Callable[[Claims], str]] = {
        ClaimsFormat.TEXT: str,
        ClaimsFormat.MARKDOWN: type(found).to_markdown,
        ClaimsFormat.JSON: type(found).to_json,
    }
    print(shown[format](found))


@contextmanager
def live(asked: list[Incident]) -> Iterator[Any]:
    """A line with the run's progress, on a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[said]}")
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        tasks: dict[Incident, Any] = {}

        def seen(far: HowFar) -> None:
            task = tasks.get(far.incident)
            if task is None:
                task = tasks[far.incident] = progress.add_task(far.incident.name, total=far.incident.seconds, said="")
            said = f"{far.rate:,.0f} orders/s, {far.oversold} slots oversold by {far.roubles_over:,} roubles"
            said += f", {far.errors:,} failed" if far.errors else ""
            said += f"; the client's detector says {far.hits}" if far.incident.detector else ""
            progress.update(task, completed=far.elapsed, said=said)

        yield seen
