"""`zephyr-lab incident` and `zephyr-lab claims`: the commands that put the order service under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from zephyr_lab.cli.common import err

if TYPE_CHECKING:
    from zephyr_lab.load import Incident
    from zephyr_lab.load import Progress as HowFar


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


def incident(
    strategy: Annotated[
        str, typer.Option(help="Booking strategy (`zephyr-lab strategies`), or all.")
    ] = "redis-get-then-incrby",
    isolation: Annotated[str | None, typer.Option(help="Isolation level; default: the strategy's own.")] = None,
    rate: Annotated[float, typer.Option(help="Orders per second.")] = 800,
    seconds: Annotated[float, typer.Option(help="Seconds during which orders arrive.")] = 10,
    arrivals: Annotated[
        str,
        typer.Option(
            help="Arrivals: poisson, constant, day (a day's demand in that time), or closed: an order after an answer."
        ),
    ] = "poisson",
    capacity: Annotated[int, typer.Option(help="Capacity of a slot in roubles.")] = 100_000,
    slots: Annotated[int, typer.Option(help="Number of slots that are hot at a time.")] = 1,
    pool: Annotated[int, typer.Option(help="Total number of connections to PostgreSQL.")] = 25,
    processes: Annotated[int, typer.Option(help="Number of client processes; 0: chosen by the machine.")] = 0,
    connections: Annotated[int, typer.Option(help="Number of clients of closed arrivals.")] = 24,
    through: Annotated[str, typer.Option(help="direct, or grpc: the service runs in a process of its own.")] = "direct",
    stored: Annotated[int, typer.Option(help="Number of orders stored before the run.")] = 0,
    missing_partition: Annotated[
        bool, typer.Option("--missing-partition", help="Leave out the partition of this month.")
    ] = False,
    kill: Annotated[
        str | None, typer.Option(help="Send SIGKILL to a server process: postgres@5s, after five seconds.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the orders and their times.")] = 0,
    index: Annotated[bool, typer.Option(help="Give slots their index.")] = True,
    attempts: Annotated[int | None, typer.Option(help="Attempts per order, the first included.")] = None,
    base: Annotated[float | None, typer.Option(help="First pause in seconds; doubled each time.")] = None,
    jitter: Annotated[float | None, typer.Option(help="Upper bound of random seconds added to a pause.")] = None,
    full_jitter: Annotated[
        bool, typer.Option("--full-jitter", help="Draw each pause between zero and the doubled one.")
    ] = False,
    per_slot: Annotated[int | None, typer.Option(help="Concurrent orders per slot; needs one process.")] = None,
    detector: Annotated[
        bool, typer.Option("--detector", help="Report the stress client's detector beside the true one.")
    ] = False,
    format: Annotated[ReportFormat, typer.Option(help="Output format.")] = ReportFormat.TEXT,
    into: Annotated[
        Path | None, typer.Option(help="Write figures to a .csv or .parquet file, one row per run.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Reproduce the incident: orders at a rate, a hot slot, and what comes of it, measured.

    Ctrl-C prints the report so far. Exit 1 where orders are lost, or a strategy sells more than it promises to.
    """
    from zephyr_lab import load
    from zephyr_lab.lab import Lab
    from zephyr_lab.load.report import check_path
    from zephyr_lab.orders.strategies import STRATEGIES

    if into is not None:
        check_path(into)
    names = list(STRATEGIES) if strategy == "all" else [strategy]
    asked = [
        load.Incident(
            strategy=name, isolation=isolation, rate=rate, seconds=seconds, arrivals=arrivals, capacity=capacity,
            slots=slots, pool=pool, processes=processes, connections=connections, through=through, seed=seed,
            index=index, attempts=attempts, base=base, jitter=jitter, full_jitter=full_jitter, per_slot=per_slot,
            missing_partition=missing_partition, stored=stored, kill=kill, detector=detector,
        ).check()
        for name in names
    ]  # fmt: skip
    reports: list[load.Report] = []
    with Lab() as lab, live(asked) as seen:
        for one in asked:
            reports.append(lab.incident(one, seen, yes_load_this_database=yes))
            if reports[-1].stopped:
                break
    if into is not None:
        load.save(reports, into)
    if format is ReportFormat.JSON:
        print(load.to_json(reports))
    elif format is ReportFormat.HTML:
        print(load.to_html(reports))
    elif len(names) == 1:
        print(reports[0])
    else:
        print(load.compared(reports))
    if any(one.breaks_a_promise for one in reports):
        raise typer.Exit(1)


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
            numbers or (), rate=rate, seconds=seconds,
            on_progress=lambda one: progress.update(task, description=f"{one.number}. {one.said}"),
        )  # fmt: skip
    shown = {
        ClaimsFormat.TEXT: str,
        ClaimsFormat.MARKDOWN: type(found).to_markdown,
        ClaimsFormat.JSON: type(found).to_json,
    }
    print(shown[format](found))


@contextmanager
def live(asked: list[Incident]) -> Iterator[Any]:
    """A line that moves with the run, for whoever looks at a terminal."""
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
