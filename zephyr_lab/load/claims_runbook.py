"""Claims of the write-up's runbook: what each of its snippets shows or does, decided by the server alone."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from zephyr_lab.load.finding import Bench, Chapter, Finding, Verdict, either
from zephyr_lab.load.scratch_database import (
    NOON,
    OWNER,
    SLOT,
    STRANGER,
    ScratchDatabase,
    order,
    scratch_database,
    snippet,
)
from zephyr_lab.orders import schema

RUNBOOK = Chapter()

INSERT = schema.statement("as-documented/upsert").split("on conflict")[0]
PARTITIONS = "select count(*) from pg_inherits where inhparent = 'orders'::regclass"


def _rows(connection: psycopg.Connection, name: str) -> list[tuple[Any, ...]]:
    cursor = connection.execute(snippet(name).encode())
    return cursor.fetchall() if cursor.description else []


def _code(connection: psycopg.Connection, name: str) -> str:
    """The SQLSTATE of a snippet's error; empty if it succeeds."""
    try:
        _rows(connection, name)
    except psycopg.Error as error:
        return error.sqlstate or ""
    return ""


# -- tables and partitions


@RUNBOOK.claim("information_schema.tables tells whether the table orders exists")
def table_exists(bench: Bench) -> Finding:
    """As a role without rights on it, which is the case that the write-up wants to tell apart."""
    with scratch_database(bench) as here:
        ((seen,),) = _rows(here.connect(STRANGER), "table-exists")
        there = here.one("select to_regclass('orders') is not null")
    measured = f"for a role without rights it says {seen}, and the table is there: {there}"
    if seen == there:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the role has a right on it")


@RUNBOOK.claim("pg_tables with LIKE 'orders%' shows how large orders and its partitions are")
def sizes(bench: Bench) -> Finding:
    """With an order saved, and a table beside it that is no partition."""
    with scratch_database(bench) as here:
        here.admin.execute("create table orders2_archive (id int)")
        here.admin.execute(
            schema.statement("as-documented/upsert").split("on conflict")[0], order(1).placed(SLOT).row()
        )
        found = {table: size for _, table, size in _rows(here.admin, "partitions-size-of-all")}
    measured = f"orders, with an order in it: {found['orders']}; orders2_archive, which is no partition, is "
    measured += "listed" if "orders2_archive" in found else "left out"
    return Finding(either(found["orders"] != "0 bytes" and "orders2_archive" not in found), measured)


@RUNBOOK.claim("relkind = 'p' shows the partitions' constraints")
def bounds(bench: Bench) -> Finding:
    with scratch_database(bench) as here:
        shown, there = len(_rows(here.admin, "partitions-bounds")), here.one(PARTITIONS)
    return Finding(either(shown == there), f"{shown} of {there} partitions: 'p' is the parent, a partition is 'r'")


@RUNBOOK.claim("pg_stat_user_indexes, asked for tablename and indexname, shows how indexes are used")
def index_use(bench: Bench) -> Finding:
    with scratch_database(bench) as here:
        code = _code(here.admin, "indexes-use")
        right = snippet("indexes-use").replace("tablename", "relname").replace("indexname", "indexrelname")
        rows = here.admin.execute(right.encode()).rowcount
    measured = f"{code or 'it runs'}: the columns are relname and indexrelname; under these names {rows} rows, since "
    return Finding(either(not code), measured + "statistics are kept for the partitions' indexes")


@RUNBOOK.claim("relpartbound::text LIKE '%YYYY-MM%' tells whether this and the next month have a partition")
def missing_partitions(bench: Bench) -> Finding:
    """Asked with both there, and with none."""
    with scratch_database(bench) as here:
        both, there = len(_rows(here.admin, "missing-partitions")), here.one(PARTITIONS)
        for (name,) in here.admin.execute(
            "select inhrelid::regclass::text from pg_inherits where inhparent = 'orders'::regclass"
        ).fetchall():
            here.admin.execute(sql.SQL("drop table {}").format(sql.Identifier(name)))
        none = len(_rows(here.admin, "missing-partitions"))
    return Finding(either((both, none) == (2, 0)), f"{both} rows with {there} partitions, {none} rows with none")


@RUNBOOK.claim("create_orders_partition(CURRENT_DATE + INTERVAL '1 month') creates the next month's partition")
def create_next(bench: Bench) -> Finding:
    """With a function that takes a date."""
    with scratch_database(bench) as here:
        _as_documented(here)
        code = _code(here.admin, "missing-partitions-create-next")
    return Finding(either(not code), f"{code or 'made'}: a date and an interval are a timestamp, and it takes a date")


def _as_documented(here: ScratchDatabase) -> None:
    """The function as it is naturally written, which has not been called yet."""
    for kind in ("date", "timestamp", "timestamptz"):
        here.admin.execute(f"drop function create_orders_partition({kind})")
    here.admin.execute(schema.statement("as-documented/create_orders_partition"))


@RUNBOOK.claim("a cron job can create partitions while orders come")
def cron(bench: Bench) -> Finding:
    """With nobody else there, and behind a report that has read orders and is still open; an order comes after it."""
    with scratch_database(bench) as here:
        _as_documented(here)
        here.admin.execute("select create_orders_partition(date '2099-01-01')")
        report = here.connect()
        report.execute("begin; select count(*) from orders")
        here.send("select create_orders_partition(date '2099-02-01')")
        customer = here.connect()
        customer.execute("set lock_timeout = '100ms'")
        try:
            customer.execute(INSERT, order(1).placed(SLOT).row())
            waits = False
        except psycopg.errors.LockNotAvailable:
            waits = True
    measured = "alone it is made at once; behind a report that is open it waits for ACCESS EXCLUSIVE, and "
    measured += "every order waits behind it" if waits else "orders pass it"
    if not waits:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "no transaction that has read orders is open")


# -- rights


@RUNBOOK.claim("role_table_grants shows who may do what with orders")
def grants(bench: Bench) -> Finding:
    """To its owner, and to a role that has no right itself."""
    with scratch_database(bench) as here:
        owner, stranger = (len(_rows(here.connect(role), "permissions")) for role in (OWNER, STRANGER))
    measured = f"{owner} rows for its owner, {stranger} for a role without rights; partitions are not in it"
    if owner == stranger:
        return Finding(either(owner > 0), measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the owner asks, and of the parent")


@RUNBOOK.claim("GRANT ... ON ALL TABLES gives the role what it needs")
def grant(bench: Bench) -> Finding:
    """Then comes next month: its partition, through the parent and by its own name."""
    with scratch_database(bench) as here:
        _rows(here.admin, "permissions-grant")
        here.admin.execute("create table later partition of orders for values from ('2099-01-01Z') to ('2099-02-01Z')")
        role, codes = here.connect(STRANGER), {}
        for table in ("orders", "later"):
            try:
                role.execute(sql.SQL("select from {}").format(sql.Identifier(table)))
                codes[table] = "may"
            except psycopg.Error as error:
                codes[table] = error.sqlstate or ""
    measured = (
        f"of a partition made afterwards: through orders the role {codes['orders']}, by its name {codes['later']}"
    )
    if codes == {"orders": "may", "later": "may"}:
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "partitions are not touched by their names")


# -- levels


@RUNBOOK.claim("SHOW transaction_isolation shows the current isolation level")
def show(bench: Bench) -> Finding:
    """While another session, the service's, has another level."""
    with scratch_database(bench) as here:
        service = here.connect()
        service.execute("set default_transaction_isolation = 'serializable'")
        ((own,),), ((its,),) = _rows(here.admin, "isolation-level-show"), _rows(service, "isolation-level-show")
    measured = f"{own} in psql, while the service's session has {its}"
    return (
        Finding(Verdict.HOLDS, measured)
        if own == its
        else Finding(Verdict.HOLDS_WHEN, measured, "the session that asks is meant")
    )


@RUNBOOK.claim("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE sets the level for the current session")
def set_transaction(bench: Bench) -> Finding:
    with scratch_database(bench) as here:
        _rows(here.admin, "isolation-level-set")
        ((level,),) = _rows(here.admin, "isolation-level-show")
    return Finding(either(level == "serializable"), f"outside of a transaction; the next one is {level}")


@RUNBOOK.claim("ALTER DATABASE ... SET default_transaction_isolation requires superuser")
def alter_database(bench: Bench) -> Finding:
    """As an owner without superuser, in a database of their own."""
    with scratch_database(bench) as here:
        code = _code(here.connect(OWNER), "isolation-level-database")
    said = f"{code} for an owner without superuser" if code else "an owner without superuser may"
    return Finding(either(code == "42501"), said)


# -- locks


@RUNBOOK.claim("pg_locks joined with pg_stat_activity shows the locks on orders")
def locks(bench: Bench) -> Finding:
    """As written; and with its column named, while somebody holds a partition and somebody else waits for it."""
    with scratch_database(bench) as here:
        code = _code(here.admin, "locks")
        right = snippet("locks").replace("    pid,\n", "    pg_locks.pid,\n")
        month = f"orders_{NOON:%Y_%m}"
        culprit = here.connect()
        culprit.execute(f"begin; lock table {month}".encode())
        victim = here.send("select count(*) from orders")
        listed = {row[4] for row in here.admin.execute(right.encode()).fetchall()}
        names = [
            name
            for name, one in (("who holds a partition", culprit), ("who waits for it", victim))
            if one.info.backend_pid in listed
        ]
    measured = (
        f"{code or 'it runs'}: pid is in both tables; with that repaired it lists {' and '.join(names) or 'nobody'}"
    )
    return Finding(either(not code and len(names) == 2), measured + ", not who holds it" * (len(names) == 1))


@RUNBOOK.claim("pg_locks joined with itself shows which query blocks which")
def blocking(bench: Bench) -> Finding:
    """One order holds a slot's row, four wait for it; beside it what the lock manager says."""
    book = f"update slots set booked = booked + 500 where id = '{SLOT.id}'"
    with scratch_database(bench) as here:
        here.admin.execute("select plan_slots(%s)", [NOON.date()])
        here.connect().execute(f"begin; {book}".encode())
        waiters = [here.send(book).info.backend_pid for _ in range(4)]
        said = {row[:2] for row in _rows(here.admin, "who-blocks-whom")}
        true = {(pid, one) for pid in waiters for one in here.one("select pg_blocking_pids(%s)", [pid])}
    measured = f"one holds a slot, four wait: {_mutual(said)} pairs are said to block each other, which would be "
    measured += f"deadlocks; by the lock manager {_mutual(true)}"
    return Finding(either(_mutual(said) == _mutual(true)), measured)


def _mutual(pairs: set[tuple[int, int]]) -> int:
    return sum((one, other) in pairs for other, one in pairs) // 2
