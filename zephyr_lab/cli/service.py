"""`zephyr-lab strategies`, `partitions`, `reconcile`, `serve`: the order service."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zephyr_lab import __version__
from zephyr_lab.cli.common import Format, Late, err, labs, progress_bar, takes
from zephyr_lab.errors import BadInput, LabError, condition_name
from zephyr_lab.extras import needed_by
from zephyr_lab.options import ServeOptions

if TYPE_CHECKING:
    from datetime import date

    import psycopg

    from zephyr_lab.orders.grpc.process import Settings
    from zephyr_lab.orders.strategies import Strategy

databases, keyvalues = Late("zephyr_lab.servers.database"), Late("zephyr_lab.servers.keyvalue")

partitions = typer.Typer(no_args_is_help=True, help="Partitions of the table orders, one per month.")
DSN = Annotated[
    str, typer.Option(envvar="ZEPHYR_LAB_PG_DSN", help="The database with the tables of the order service.")
]


def strategies(
    names: Annotated[list[str] | None, typer.Argument(help="Names of strategies; default: all.")] = None,
    explore: Annotated[bool, typer.Option(help="Explore each over all schedules, at three levels.")] = False,
    sessions: Annotated[
        int, typer.Option(min=2, max=4, help="Number of sessions that book the last place of the slot.")
    ] = 2,
    samples: Annotated[int | None, typer.Option(min=1, help="Run this many random schedules instead of all.")] = None,
    hunt: Annotated[bool, typer.Option(help="Hunt the service's requests: races, and what is not atomic.")] = False,
) -> None:
    """List the booking strategies of the order service; with --explore, explore each at three levels."""
    with needed_by("zephyr-lab strategies", "service"):
        from zephyr_lab.orders.strategies import STRATEGIES, strategy

    chosen = [strategy(name) for name in names or STRATEGIES]
    if explore:
        from zephyr_lab.course.strategies import measure, to_markdown

        with labs.Lab() as lab, progress_bar() as progress:
            task = progress.add_task("exploring", total=3 * len(chosen))
            cells = measure(
                lab,
                [one.name for one in chosen],
                sessions=sessions,
                samples=samples,
                on_progress=lambda _: progress.advance(task),
            )
        print(to_markdown(cells))
        return
    if hunt:
        from zephyr_lab.course import hunted

        with labs.Lab() as lab, progress_bar() as progress:
            task = progress.add_task("hunting", total=len(chosen))
            rows = hunted.hunted(lab, [one.name for one in chosen], lambda _: progress.advance(task))
        print(hunted.to_markdown(rows))
        return
    for one in chosen:
        level = one.isolation.name.replace("_", " ").lower() if one.isolation else "any level"
        print(f"{one.name:<29}  {level:<15}  {one.documentation.splitlines()[0]}")


@partitions.command("ensure")
def ensure_partitions(
    dsn: DSN,
    months: Annotated[int, typer.Option(help="Number of months after this one.")] = 3,
) -> None:
    """Create missing partitions, beside running traffic; for cron. Prints their names."""
    from zephyr_lab.orders.partitions import ensure

    with _connected(dsn) as connection:
        for name in ensure(connection, months):
            print(name)


def reconcile(
    dsn: DSN,
    redis_url: Annotated[
        str | None,
        typer.Option(
            envvar="ZEPHYR_LAB_REDIS_URL", help="Compare the slots in this Redis; default: the column slots.booked."
        ),
    ] = None,
    day: Annotated[str | None, typer.Option(help="A day (UTC), such as 2026-03-02; default: today.")] = None,
    repair: Annotated[bool, typer.Option(help="Repair the differences; default: change nothing.")] = False,
    format: Annotated[Format, typer.Option(help="text, or a JSON object on a line, for each time.")] = Format.TEXT,
    watch: Annotated[
        float | None, typer.Option(min=1, help="Do so every so many seconds, until Ctrl-C or SIGTERM; for a service.")
    ] = None,
) -> None:
    """Compare the slots of a day with its orders, and list the differences. Exit 1 if there are any.

    With --watch the exit code is 0; a server that does not answer is told on stderr, and asked again.
    """
    import signal
    import threading

    with needed_by("zephyr-lab reconcile", "service"):
        from zephyr_lab.orders import clients
    _day(day)
    _readable(redis_url)
    databases.without_password(dsn)
    redis = functools.partial(clients.redis_client, redis_url) if redis_url else None
    if watch is None:
        if _reconcile(dsn, redis, day, repair, format) and not repair:
            raise typer.Exit(1)
        return
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    while not end.is_set():
        try:
            _reconcile(dsn, redis, day, repair, format)
        except LabError as error:
            err.print(f"error: {error}", markup=False, soft_wrap=True)
        end.wait(watch)


def _day(written: str | None) -> date:
    from datetime import UTC, date, datetime

    try:
        return date.fromisoformat(written) if written else datetime.now(UTC).date()
    except ValueError:
        raise BadInput(f"{written!r} is no day: write it as 2026-03-02") from None


def _reconcile(dsn: str, redis: Callable[[], Any] | None, day: str | None, repair: bool, format: Format) -> int:
    """Compares once, and prints; returns the number of differences."""
    import json

    from redis import RedisError

    from zephyr_lab.orders.reconcile import reconcile as compare
    from zephyr_lab.orders.session import Session, run_sync
    from zephyr_lab.orders.slots import RedisSlots

    chosen = _day(day)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(redis())) if redis else None
        connection = stack.enter_context(_connected(dsn))
        try:
            found = run_sync(
                compare(Session(connection), chosen, RedisSlots(client) if client else None, repair=repair)
            )
        except RedisError as error:
            raise LabError(f"Redis: {error}; check --redis-url") from error
    if format is Format.JSON:
        told = {"day": str(chosen), "repair": repair, "differences": [one.to_dict() for one in found]}
        print(json.dumps(told), flush=True)
    else:
        print(*found, f"{len(found)} differences on {chosen}", sep="\n", flush=True)
    return len(found)


def _readable(redis_url: str | None) -> None:
    """Raises ServerUnavailable for a malformed URL; redis-py's own message may quote the password."""
    if redis_url:
        keyvalues.url_without_password(redis_url)


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection whose errors are printed in one line."""
    import psycopg

    with databases.connect(dsn) as connection:
        databases.require_supported(connection.pgconn.server_version, databases.without_password(dsn))
        connection.autocommit = False
        try:
            yield connection
        except psycopg.Error as error:
            raise LabError(f"{condition_name(error.sqlstate or '') or 'connection lost'}: {error}") from error


@takes(ServeOptions)
def serve(
    strategy: Annotated[str, typer.Option(help="Booking strategy (`zephyr-lab strategies`).")] = "one-statement",
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar="ZEPHYR_LAB_PG_DSN", help="A database with the tables of the service; default: a temporary server."
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(envvar="ZEPHYR_LAB_REDIS_URL", help="Redis for the bookings; default: a temporary server."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; default: loopback.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 50051,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for Prometheus, on the same host.")
    ] = None,
    install: Annotated[bool, typer.Option(help="Create the tables of the service first, if there are none.")] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM); needed beyond loopback.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    **options: Any,
) -> None:
    """Serve the order service over gRPC until Ctrl-C or SIGTERM; without a DSN on temporary servers.

    With a DSN the service's tables must be there (sql/orders), or be asked for with --install. Beyond loopback it needs
    TLS, and a token in ZEPHYR_LAB_TOKEN, which clients send as metadata `authorization: Bearer ...`.
    """
    with needed_by("zephyr-lab serve", "service"):
        from zephyr_lab.orders.grpc import process
        from zephyr_lab.orders.strategies import strategy as by_name

    if (tls_cert is None) != (tls_key is None):
        raise BadInput("a certificate and its key come together: --tls-cert and --tls-key")
    ServeOptions(**options).check()
    if options["trace"]:
        with needed_by("zephyr-lab serve --trace", "tracing"):
            import zephyr_lab.orders.tracing  # noqa: F401  # is it there?
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None
    token = os.environ.get("ZEPHYR_LAB_TOKEN")
    settings = process.Settings(
        host, port, metrics_port, install or dsn is None, tls, token, version=__version__, **options
    )
    _serve(by_name(strategy), dsn, redis_url, settings)


def _serve(chosen: Strategy, dsn: str | None, redis_url: str | None, settings: Settings) -> None:
    from zephyr_lab.orders.grpc import guard, process

    _readable(redis_url)
    guard.check_reach(settings.host, tls=settings.tls is not None, token=settings.token)
    if dsn is not None:
        databases.connect(dsn).close()
    with contextlib.ExitStack() as stack:
        where = dsn
        if where is None:
            lab = stack.enter_context(labs.Lab(redis_url=redis_url))
            where, redis_url = lab.conninfo(), lab.redis_url
        process.serve(
            chosen,
            where,
            redis_url,
            settings,
            ready=lambda address: print(f"serving {chosen.name} on {address}", flush=True),
        )
