"""The service's tables and functions; some can be removed, to reproduce faults.

The SQL is in sql/orders, for a DBA to read; names in it are unqualified, so that it runs in the schema of the
connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from zephyr_lab.orders.models import Order
from zephyr_lab.shipped import shipped

Connection = psycopg.Connection[Any]

TABLES = ("orders", "order_ids", "slots")
BESIDE = ("slot_epochs", "readiness")  # tables that no transaction of most strategies touches
FUNCTIONS = ("plan_slots", "partitions", "create_order")

_PARTITIONED: tuple[tuple[LiteralString, LiteralString], ...] = (
    (
        "primary key (id, created_at)  -- a key of a partitioned table must hold the partition key: 0A000 without it",
        "primary key (id)",
    ),
    (") partition by range (created_at);", ");"),
)


def statement(name: str) -> LiteralString:
    """A file of sql/orders, by its name without `.sql`."""
    path = shipped("sql", "orders", f"{name}.sql")
    # Shipped beside this module, and as literal as what stands in it.
    text: LiteralString = path.read_text(encoding="utf-8")  # pyright: ignore[reportAssignmentType]
    return text


def tables(*, partitioned: bool = True) -> LiteralString:
    """SQL of the tables. Unpartitioned, orders is the plain table that the write-up's own test needs."""
    text = "\n".join(statement(name) for name in TABLES)
    for clause, plain in () if partitioned else _PARTITIONED:
        assert clause in text, clause
        text = text.replace(clause, plain)
    return text


def schema(*, partitioned: bool = True) -> LiteralString:
    """SQL of the tables and functions, without the role and without partitions."""
    functions = FUNCTIONS if partitioned else [name for name in FUNCTIONS if name != "partitions"]
    return "\n".join([tables(partitioned=partitioned), *map(statement, (*BESIDE, *functions))])


WORKING_HOURS = """
insert into slot_plans (weekday, opens, closes, capacity)
select day, '10:00', '22:00', {capacity} from generate_series(1, 7) as day
on conflict (weekday) do update set capacity = excluded.capacity;
"""


def install(connection: Connection, *, months: int = 1, capacity: int = 100_000, role: bool = False) -> None:
    """Everything that the service needs, in the connection's schema, with partitions from this month on.

    `role`: the role pizza_admin with its grants too; it belongs to the whole server, and needs CREATEROLE.
    """
    with connection.transaction():
        connection.execute(schema())
        connection.execute(WORKING_HOURS.format(capacity=int(capacity)).encode())
        connection.execute("select ensure_orders_partitions(%s)", [months])
        if role:
            connection.execute(statement("role"))


_LOOKS: tuple[LiteralString, ...] = (
    "select id, created_at, digest, voided from order_ids",
    "select id, start_time, end_time, booked, capacity_override, capacity, is_disabled, version from slots",
    "select weekday, opens, closes, minutes, capacity from slot_plans",
    "select slot_id, seq, order_id, price, load from slot_ledger",
    "select order_id, slot_id, price from slot_bookings",
    "select day, epoch from slot_epochs",
    "select id, at from readiness",
    "select 'plan_slots(date)'::regprocedure",
)


def lacking(connection: Connection) -> str:
    """What a connection (autocommit) does not see of the service, in the server's words; '' where all is there."""
    columns = sql.SQL(", ").join(map(sql.Identifier, Order.model_fields))
    for look in (sql.SQL("select {} from orders").format(columns), *map(sql.SQL, _LOOKS)):
        try:
            connection.execute(sql.SQL("{} limit 0").format(look))
        except psycopg.ProgrammingError as error:
            return str(error.diag.message_primary)
    return ""


def is_empty(connection: Connection) -> bool:
    """Whether none of the service's tables is there, by name."""
    names = "orders", "order_ids", "slots", "slot_plans", "slot_ledger", "slot_bookings", "slot_epochs", "readiness"
    row = connection.execute(
        "select bool_and(to_regclass(name) is null) from unnest(%s::text[]) as name", [list(names)]
    )
    return row.fetchone() == (True,)


# -- conditions that can be switched on


@contextmanager
def missing_partition(connection: Connection, name: str) -> Iterator[None]:
    """Detaches a partition: every order of its month fails with 23514, no partition of relation found for row."""
    bounds = connection.execute(
        "select pg_get_expr(relpartbound, oid) from pg_class where oid = to_regclass(%s)", [name]
    ).fetchone()
    if bounds is None or bounds[0] is None:
        raise LookupError(f"{name} is no partition of orders")
    partition = sql.Identifier(name)
    connection.execute(sql.SQL("alter table orders detach partition {}").format(partition))
    try:
        yield
    finally:
        connection.execute(sql.SQL("alter table orders attach partition {} {}").format(partition, sql.SQL(bounds[0])))


@contextmanager
def missing_table(connection: Connection, table: str = "orders") -> Iterator[None]:
    """Renames a table away: 42P01, undefined table."""
    away = sql.Identifier(f"{table}_away")
    connection.execute(sql.SQL("alter table {} rename to {}").format(sql.Identifier(table), away))
    try:
        yield
    finally:
        connection.execute(sql.SQL("alter table {} rename to {}").format(away, sql.Identifier(table)))
