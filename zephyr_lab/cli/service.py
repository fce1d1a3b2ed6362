"""`zephyr-lab strategies`, `partitions`, `reconcile`, `serve`: the order service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from zephyr_lab.cli.common import Late, labs, progress_bar
from zephyr_lab.errors import BadInput, LabError, condition_name
from zephyr_lab.extras import needed_by

if TYPE_CHECKING:
    import psycopg

databases, keyvalues = Late("zephyr_lab.servers.database"), Late("zephyr_lab.servers.keyvalue")

partitions = typer.Typer(no_args_is_help=True, help="Partitions of the table orders, one per month.")
DSN = Annotated[
    str, typer.Option(envvar="ZEPHYR_LAB_PG_DSN", help="The database with the tables of the order service.")
]


def strategies(
    names: Annotated[list[str] | None, typer.Argument(help="Names of strategies; default: all.")] = None,
    explore: Annotated[bool, typer.Option(help="Explore each over all orders, at three levels.")] = False,
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
) -> None:
    """Compare the slots of a day with its orders, and list the differences. Exit 1 if there are any."""
    from datetime import UTC, date, datetime

    with needed_by("zephyr-lab reconcile", "service"):
        from redis import RedisError

        from zephyr_lab.orders import clients
        from zephyr_lab.orders.reconcile import reconcile as compare
        from zephyr_lab.orders.session import Session, run_sync
        from zephyr_lab.orders.slots import RedisSlots

    try:
        chosen = date.fromisoformat(day) if day else datetime.now(UTC).date()
    except ValueError:
        raise BadInput(f"{day!r} is no day: write it as 2026-03-02") from None
    _readable(redis_url)
    slots = RedisSlots(clients.redis_client(redis_url)) if redis_url else None
    with _connected(dsn) as connection:
        try:
            found = run_sync(compare(Session(connection), chosen, slots, repair=repair))
        except RedisError as error:
            raise LabError(f"Redis: {error}; check --redis-url") from error
    for difference in found:
        print(difference)
    print(f"{len(found)} differences on {chosen}")
    if found and not repair:
        raise typer.Exit(1)


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
) -> None:
    """Serve the order service over gRPC until Ctrl-C or SIGTERM; without a DSN on temporary servers.

    With a DSN the service's tables must be there (sql/orders), or be asked for with --install.
    """
    with needed_by("zephyr-lab serve", "service"):
        from zephyr_lab.orders.grpc import process
        from zephyr_lab.orders.strategies import strategy as by_name

    chosen = by_name(strategy)
    _readable(redis_url)
    if dsn is not None:
        databases.connect(dsn).close()
    with contextlib.ExitStack() as stack:
        where = dsn
        if where is None:
            lab = stack.enter_context(labs.Lab(redis_url=redis_url))
            where, install = lab.conninfo(), True
            redis_url = lab.redis_url
        process.serve(
            chosen,
            where,
            redis_url,
            host,
            port,
            metrics_port=metrics_port,
            install=install,
            ready=lambda address: print(f"serving {chosen.name} on {address}", flush=True),
        )
