"""`zephyr-lab ...`: the lab's verbs for the shell. Thin: each command calls the API and prints."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from zephyr_lab import cli_course, cli_load
from zephyr_lab.errors import BadInput, LabError, SiteFailed, condition_name
from zephyr_lab.schedule.levels import IsolationLevel

if TYPE_CHECKING:
    import psycopg

    from zephyr_lab.anomalies import Matrix
    from zephyr_lab.explore.exploration import Exploration


class _Late:
    """A module imported when something of it is asked for: `check` needs no server, and starts in half the time."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


labs, catalogue, model = _Late("zephyr_lab.lab"), _Late("zephyr_lab.anomalies"), _Late("zephyr_lab.schedule.model")
databases = _Late("zephyr_lab.servers.database")

HELP = """Transaction isolation, understood by running it on a real PostgreSQL.

A step is a message to the server: races inside one statement cannot be scheduled from outside."""

# Locals in a trace would show DSNs.
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=HELP)
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

COLOURS = {"prevented": "green", "occurs": "red"}


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


class CheckFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    SVG = "svg"


class MatrixFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


def _progress(*columns: ProgressColumn) -> Progress:
    """A bar that is there as long as it moves, for whoever looks at a terminal."""
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


@app.command()
def cases() -> None:
    """The cases that can be run, with the schedule that shows each."""
    table = Table("case", "schedule", "shows", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    titles = {one.case: one.title + (f" ({one.phenomenon})" if one.phenomenon else "") for one in catalogue.CATALOGUE}
    for name in labs.cases():
        spec = labs.load_case(name)
        table.add_row(name, model.example(spec), titles.get(name, ""))
    out.print(table)


@app.command()
def run(
    case: Annotated[str, typer.Argument(help="A case (`zephyr-lab cases`), or a .spec file.")],
    isolation: Annotated[str, typer.Option(help="One of PostgreSQL's four levels, in any case.")] = "read committed",
    schedule: Annotated[str | None, typer.Option(help='Whose step comes next: "A B A B", or names of steps.')] = None,
    victim: Annotated[str | None, typer.Option(help="The session that is to lose a deadlock.")] = None,
    step_seconds: Annotated[float, typer.Option(help="How long a step may take that waits for nobody.")] = 30,
    format: Annotated[Format, typer.Option(help="How to print the transcript.")] = Format.TEXT,
) -> None:
    """Carry out one schedule, then the serial ones, and say whether the outcome is an anomaly."""
    level = IsolationLevel.of(isolation)
    chosen = labs.load_case(case)
    if schedule is not None:
        model.Schedule.parse(schedule, chosen)  # what can be refused without a server is
    with labs.Lab(step_seconds=step_seconds) as lab:
        verdict = lab.case(chosen, level).verdict(schedule, victim=victim)
    if format is Format.JSON:
        said = verdict.to_dict()
        print(json.dumps({**said.pop("transcript"), **said}, indent=1))
    else:
        print(f"{verdict.transcript}\n\n{verdict}")


@app.command()
def explore(
    case: Annotated[str, typer.Argument(help="A case (`zephyr-lab cases`), or a .spec file.")],
    isolation: Annotated[str, typer.Option(help="One of PostgreSQL's four levels, in any case.")] = "read committed",
    sessions: Annotated[int | None, typer.Option(help="How many sessions: more are copies of the last.")] = None,
    reduction: Annotated[
        bool, typer.Option(help="Of schedules that differ only in the order of steps that do not meet, run one.")
    ] = True,
    samples: Annotated[int | None, typer.Option(min=1, help="That many random schedules instead of all.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same schedules.")] = 0,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Draw them by PCT, for anomalies that need the order of so many steps.")
    ] = None,
    invariant: Annotated[str | None, typer.Option(help="A query that gives true where all is well at the end.")] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds after which to stop with what was found.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes, each with a database of its own.")] = 1,
    format: Annotated[Format, typer.Option(help="How to print what was found.")] = Format.TEXT,
) -> None:
    """Run every schedule that the server admits, and judge each by the serial ones.

    A step is a message to the server: races inside one statement cannot be seen. Ctrl-C prints what was found so far.
    """
    level = IsolationLevel.of(isolation)
    chosen = labs.load_case(case)
    if sessions is not None:
        chosen = chosen.with_sessions(sessions)
    columns = (*Progress.get_default_columns()[:2], TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with labs.Lab() as lab, _progress(*columns) as progress:
        task = progress.add_task("exploring", total=None if samples is None else samples, said="")

        def show(state: Exploration) -> None:
            stands = f", for {state.represents:,}" if state.represents and reduction and samples is None else ""
            said = f"{state.schedules:,} schedules{stands}, {state.anomalous:,} anomalous"
            progress.update(task, completed=state.schedules, said=said)

        found = lab.case(chosen, level).explore(
            reduction=reduction, samples=samples, seed=seed, depth=depth, invariant=invariant, budget=budget, jobs=jobs,
            seen=show,
        )  # fmt: skip
    print(json.dumps(found.to_dict(), indent=1) if format is Format.JSON else found)


@app.command()
def spec(
    file: Annotated[Path, typer.Argument(help="A .spec file.")],
    dsn: Annotated[str | None, typer.Option(help="A server of yours instead of the lab's own.")] = None,
    step_seconds: Annotated[float, typer.Option(help="How long a step may take before it is cancelled.")] = 300,
) -> None:
    """Run a spec file as PostgreSQL's isolationtester does, and print what that prints, byte for byte."""
    with labs.Lab(pg_dsn=dsn, step_seconds=step_seconds) as lab:
        lab.isolationtester(file, sys.stdout.write)


@app.command()
def hermitage(
    file: Annotated[Path, typer.Argument(help="A Markdown file written as Hermitage's are, such as its postgres.md.")],
) -> None:
    """Replay the tests that a Markdown file documents, and say for each whether the server still does the same.

    Exit 1 where it does not.
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


@app.command()
def matrix(
    anomalies: Annotated[
        list[str] | None, typer.Argument(help="Anomalies of the catalogue (`zephyr-lab cases`); without names all.")
    ] = None,
    format: Annotated[
        MatrixFormat, typer.Option(help="How to print it; json has the transcripts too.")
    ] = MatrixFormat.TEXT,
) -> None:
    """Every anomaly at every isolation level, over all orders: prevented, occurs, aborts 40001, and how often.

    Exit 1 where it is not as expected. A step is a message to the server: races inside one statement cannot be seen.
    """
    chosen = [catalogue.anomaly(name).name for name in anomalies or []] or [one.name for one in catalogue.CATALOGUE]
    with labs.Lab() as lab, _progress() as progress:
        task = progress.add_task("running every cell", total=len(chosen) * len(IsolationLevel))
        measured = lab.matrix(chosen, seen=lambda *_: progress.advance(task))
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
    elif not out.is_terminal:
        print(f"{measured}\nmeasured on {measured.server}")
    else:
        table = Table("anomaly", *map(str, IsolationLevel), caption=f"measured on {measured.server}")
        for name, *words in measured.rows():
            table.add_row(name, *(f"[{COLOURS.get(word.partition(':')[0], 'yellow')}]{word}" for word in words))
        out.print(table)


@app.command()
def check(
    histories: Annotated[list[Path], typer.Argument(help="JSON lines, Jepsen's EDN, or r(k,v,s,t); .gz is unpacked.")],
    workload: Annotated[
        str | None, typer.Option(help="list-append, rw-register or predicate; without one the operations tell.")
    ] = None,
    level: Annotated[str, typer.Option(help="Elle's names: read-committed, snapshot-isolation, serializable ...")] = (
        "strict-serializable"
    ),
    initial: Annotated[
        int | None, typer.Option(help="What registers hold before the first write, besides null.")
    ] = None,
    wfr_keys: Annotated[bool, typer.Option("--wfr-keys", help="Registers: writes follow reads.")] = False,
    sequential_keys: Annotated[bool, typer.Option("--sequential-keys", help="Registers: each is sequential.")] = False,
    linearizable_keys: Annotated[
        bool, typer.Option("--linearizable-keys", help="Registers: each is linearizable.")
    ] = False,
    format: Annotated[CheckFormat, typer.Option(help="How to print what was found; svg draws the worst cycle.")] = (
        CheckFormat.TEXT
    ),
) -> None:
    """Say whether a history of transactions satisfies an isolation level, and show the cycle that proves it does not.

    Exit 0 valid, 1 violated, 2 cannot tell or bad input. With several histories, the worst of these.
    """
    # No matrix is multiplied here, and starting numpy's threads for that takes a tenth of a million operations' time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from zephyr_lab import check as checking

    assumptions = checking.Assumptions(wfr_keys, sequential_keys, linearizable_keys)
    codes = set()
    for path in histories:
        report = checking.check(checking.read(path, workload, initial), level, assumptions)
        codes.add({True: 0, False: 1, None: 2}[report.valid])
        if format is CheckFormat.JSON:
            print(json.dumps(report.to_dict()))
        else:
            print(report.figure().svg if format is CheckFormat.SVG else report)
    if codes != {0}:
        raise typer.Exit(1 if 1 in codes else 2)


@app.command()
def record(
    file: Annotated[Path, typer.Argument(help="Where the history goes, as JSON lines.")],
    workload: Annotated[str, typer.Option(help="list-append or rw-register.")] = "list-append",
    isolation: Annotated[str, typer.Option(help="One of PostgreSQL's four levels, in any case.")] = "serializable",
    sessions: Annotated[int, typer.Option(min=1, help="How many at once.")] = 4,
    seconds: Annotated[float | None, typer.Option(help="How long; or")] = None,
    transactions: Annotated[int | None, typer.Option(min=1, help="how many in all; without either 200.")] = None,
    keys: Annotated[int, typer.Option(min=1, help="How many keys they meet on.")] = 5,
    seed: Annotated[int, typer.Option(help="The same seed draws the same transactions.")] = 0,
) -> None:
    """Record random transactions on the lab's PostgreSQL as a history for `zephyr-lab check`."""
    level = IsolationLevel.of(isolation)
    with labs.Lab() as lab:
        recorded = lab.record(
            workload, level, sessions=sessions, seconds=seconds, transactions=transactions, keys=keys, seed=seed
        )
    recorded.write(file)
    err.print(f"{recorded}, in {file}; now: zephyr-lab check {file}", soft_wrap=True)


@app.command()
def doctor() -> None:
    """What was found, what will be used, and what to do where something is missing. Exit 1 where the lab cannot run."""
    from zephyr_lab.servers.doctor import diagnose

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for overflow in ("ellipsis", "ellipsis", "fold"):
        table.add_column(overflow=overflow)
    marks = {True: "[green]ok", False: "[red]no", None: ""}
    good = True
    for finding in diagnose():
        table.add_row(marks[finding.good], finding.subject, finding.said)
        good = good and finding.good is not False
    out.print(table)
    out.print("[green]The lab can run." if good else "[red]The lab cannot run: see the lines marked `no`.")
    if not good:
        raise typer.Exit(1)


@app.command()
def runbook(
    question: Annotated[str | None, typer.Argument(help="A question; without one they are listed.")] = None,
    dsn: Annotated[str | None, typer.Option(help="The server; default ZEPHYR_LAB_PG_DSN, then PGHOST etc.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Ask every question.")] = False,
    table: Annotated[str, typer.Option(help="The table that it is about, as written in SQL.")] = "orders",
    role: Annotated[str | None, typer.Option(help="Whose rights; default the role that asks.")] = None,
    months: Annotated[int, typer.Option(min=0, help="How many months after this one need a partition.")] = 2,
    older_than: Annotated[str, typer.Option(help="The age from which on a transaction is long.")] = "1 minute",
    format: Annotated[Format, typer.Option(help="How to print the answers.")] = Format.TEXT,
) -> None:
    """Ask a live PostgreSQL about partitions, rights, isolation levels, locks, and who blocks whom.

    Safe on production: every question has a read-only transaction of its own, with a limit of 10 s for its answer and
    of 2 s for any lock, takes no lock stronger than ACCESS SHARE, and needs no superuser. Exit 1 where an answer is
    missing.
    """
    from zephyr_lab.runbook import Runbook, report

    if question is None and not all:
        print(report.listing())
        return
    if question is not None and all:
        raise BadInput(f"ask {question}, or --all, not both")
    with databases.connect(dsn or os.environ.get("ZEPHYR_LAB_PG_DSN", "")) as connection:
        book = Runbook(connection, table=table, role=role, months=months, older_than=older_than)
        answers = book.ask_all() if question is None else {question: book.ask(question)}
    print(report.to_json(answers) if format is Format.JSON else report.to_text(answers))
    if any(isinstance(answer, LabError) for answer in answers.values()):
        raise typer.Exit(1)


@app.command()
def strategies(
    names: Annotated[list[str] | None, typer.Argument(help="Strategies; without names all.")] = None,
    explore: Annotated[bool, typer.Option(help="Run each over all orders, at three levels.")] = False,
    sessions: Annotated[int, typer.Option(min=2, max=4, help="How many book the slot's last place.")] = 2,
    samples: Annotated[int | None, typer.Option(min=1, help="That many random schedules instead of all.")] = None,
) -> None:
    """The ways to book a slot that the order service has, and, when asked, what each level makes of them."""
    from zephyr_lab.course.strategies import measure, to_markdown
    from zephyr_lab.orders.strategies import STRATEGIES, strategy

    chosen = [strategy(name) for name in names or STRATEGIES]
    if explore:
        with labs.Lab() as lab, _progress() as progress:
            task = progress.add_task("exploring", total=3 * len(chosen))
            cells = measure(
                lab, [one.name for one in chosen], sessions=sessions, samples=samples,
                seen=lambda _: progress.advance(task),
            )  # fmt: skip
        print(to_markdown(cells))
        return
    for one in chosen:
        level = one.isolation.name.replace("_", " ").lower() if one.isolation else "any level"
        print(f"{one.name:<29}  {level:<15}  {one.documentation.splitlines()[0]}")


partitions_app = typer.Typer(no_args_is_help=True, help="The months of the table orders.")
app.add_typer(partitions_app, name="partitions")
DSN = Annotated[str, typer.Option(envvar="ZEPHYR_LAB_PG_DSN", help="The database that has the order service's tables.")]


@partitions_app.command("ensure")
def ensure_partitions(
    dsn: DSN,
    months: Annotated[int, typer.Option(help="How many after this one.")] = 3,
) -> None:
    """Make the partitions that are missing, beside running traffic; for cron. Prints their names."""
    from zephyr_lab.orders import partitions

    with _connected(dsn) as connection:
        for name in partitions.ensure(connection, months):
            print(name)


@app.command()
def reconcile(
    dsn: DSN,
    redis_url: Annotated[
        str | None, typer.Option(envvar="ZEPHYR_LAB_REDIS_URL", help="Without it the column slots.booked is compared.")
    ] = None,
    day: Annotated[str | None, typer.Option(help="A day (UTC), as 2026-03-02; without it today.")] = None,
    repair: Annotated[bool, typer.Option(help="Put it right; without it nothing is changed.")] = False,
) -> None:
    """What of a day's slots is not as the orders say, and what would be done about it. Exit 1 where it differs."""
    from datetime import UTC, date, datetime

    from redis import RedisError

    from zephyr_lab.orders import clients
    from zephyr_lab.orders.reconcile import reconcile as compare
    from zephyr_lab.orders.session import Session
    from zephyr_lab.orders.session import run as to_its_end
    from zephyr_lab.orders.slots import RedisSlots

    try:
        chosen = date.fromisoformat(day) if day else datetime.now(UTC).date()
    except ValueError:
        raise BadInput(f"{day!r} is no day: write it as 2026-03-02") from None
    slots = RedisSlots(clients.redis_client(redis_url)) if redis_url else None
    with _connected(dsn) as connection:
        try:
            found = to_its_end(compare(Session(connection), chosen, slots, repair=repair))
        except RedisError as error:
            raise LabError(f"Redis: {error}; check --redis-url") from error
    for difference in found:
        print(difference)
    print(f"{len(found)} differences on {chosen}")
    if found and not repair:
        raise typer.Exit(1)


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection whose errors are told in a line."""
    databases.inspect(dsn)
    import psycopg

    with psycopg.connect(dsn) as connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise LabError(f"{condition_name(error.sqlstate or '') or 'connection lost'}: {error}") from error


@app.command()
def serve(
    strategy: Annotated[str, typer.Option(help="How a slot is booked: `zephyr-lab strategies`.")] = "one-statement",
    dsn: Annotated[
        str | None, typer.Option(envvar="ZEPHYR_LAB_PG_DSN", help="A database with the service's tables.")
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(envvar="ZEPHYR_LAB_REDIS_URL", help="Where bookings in Redis go.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen: loopback, unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 50051,
    metrics_port: Annotated[int | None, typer.Option(help="Where Prometheus may ask, on the same host.")] = None,
    install: Annotated[bool, typer.Option(help="Make the service's tables first, where there are none.")] = False,
) -> None:
    """The order service over gRPC, until Ctrl-C or SIGTERM. Without servers of yours it has the lab's own, for as long.

    With a DSN the service's tables must be there (sql/orders), or be asked for with --install.
    """
    from zephyr_lab.orders.face import serving
    from zephyr_lab.orders.strategies import strategy as by_name

    chosen = by_name(strategy)
    with contextlib.ExitStack() as stack:
        if dsn is None:
            lab = stack.enter_context(labs.Lab(redis_url=redis_url))
            dsn, install = lab.conninfo(), True
            redis_url = lab.redis_url
        serving.serve(
            chosen, dsn, redis_url, host, port, metrics_port=metrics_port, install=install,
            ready=lambda where: print(f"serving {chosen.name} on {where}", flush=True),
        )  # fmt: skip


app.command()(cli_load.incident)
app.command()(cli_load.claims)
app.command()(cli_course.questions)


@app.command()
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


@app.command()
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


@app.command()
def store(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to execute in place.")],
) -> None:
    """Execute notebooks in place and store them in the one form that comes out byte-identical when executed again."""
    from zephyr_lab.course.store import execute_in_place

    for path in notebooks:
        execute_in_place(path)
        err.print(f"stored {path}")


def main() -> None:
    """The entry point: the lab's own errors are told in a line, without a trace."""
    try:
        app()
    except LabError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
