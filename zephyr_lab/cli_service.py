"""`zephyr-lab strategies`, `partitions`, `reconcile`, `serve`: the order service."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from zephyr_lab.cli_common import Late, labs, progress_bar
from zephyr_lab.errors import BadInput, LabError, condition_name
from zephyr_lab.extras import needed_by

if TYPE_CHECKING:
    import psycopg

databases, keyvalues = Late("zephyr_lab.servers.database"), Late("zephyr_lab.servers.keyvalue")

partitions = typer.Typer(no_args_is_help=True, help="The months of the table orders.")
DSN = Annotated[str, typer.Option(envvar="ZEPHYR_LAB_PG_DSN", help="The database that has the order service's tables.")]


def strategies(
    names: Annotated[list[str] | None, typer.Argument(help="Strategies; without names all.")] = None,
    explore: Annotated[bool, typer.Option(help="Run each over all orders, at three levels.")] = False,
    sessions: Annotated[int, typer.Option(min=2, max=4, help="How many book the slot's last place.")] = 2,
    samples: Annotated[int | None, typer.Option(min=1, help="That many random schedules instead of all.")] = None,
) -> None:
    """The ways to book a slot that the order service has, and, when asked, what each level makes of them."""
    with needed_by("zephyr-lab strategies", "service"):
        from zephyr_lab.orders.strategies import STRATEGIES, strategy

    chosen = [strategy(name) for name in names or STRATEGIES]
    if explore:
        from zephyr_lab.course.strategies import measure, to_markdown

        with labs.Lab() as lab, progress_bar() as progress:
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


@partitions.command("ensure")
def ensure_partitions(
    dsn: DSN,
    months: Annotated[int, typer.Option(help="How many after this one.")] = 3,
) -> None:
    """Make the partitions that are missing, beside running traffic; for cron. Prints their names."""
    from zephyr_lab.orders.partitions import ensure

    with _connected(dsn) as connection:
        for name in ensure(connection, months):
            print(name)


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

    with needed_by("zephyr-lab reconcile", "service"):
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
    _readable(redis_url)
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


def _readable(redis_url: str | None) -> None:
    """Raises ServerUnavailable for a URL that is none; redis-py's own message may quote the password."""
    if redis_url:
        keyvalues.url_without_password(redis_url)


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection whose errors are told in a line."""
    import psycopg

    with databases.connect(dsn) as connection:
        databases.require_supported(connection.pgconn.server_version, databases.without_password(dsn))
        connection.autocommit = False
        try:
            yield connection
        except psycopg.Error as error:
            raise LabError(f"{condition_name(error.sqlstate or '') or 'connection lost'}: {error}") from error


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
    with needed_by("zephyr-lab serve", "service"):
        from zephyr_lab.orders.face import serving
        from zephyr_lab.orders.strategies import strategy as by_name

    chosen = by_name(strategy)
    _readable(redis_url)
    if dsn is not None:
        databases.connect(dsn).close()
    with contextlib.ExitStack() as stack:
        if dsn is None:
            lab = stack.enter_context(labs.Lab(redis_url=redis_url))
            dsn, install = lab.conninfo(), True
            redis_url = lab.redis_url
        serving.serve(
            chosen, dsn, redis_url, host, port, metrics_port=metrics_port, install=install,
            ready=lambda where: print(f"serving {chosen.name} on {where}", flush=True),
        )  # fmt: skip
