"""Partitions: made beside running traffic, by UTC, whatever the session; and what the natural way does instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.orders.conftest import NOON, Shop, order
from zephyr_lab.errors import BadInput
from zephyr_lab.orders import partitions, schema
from zephyr_lab.orders.models import Slot
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.statements import insert_order

BOUNDS = (
    "select relname, pg_get_expr(relpartbound, oid) from pg_class where relispartition and relkind = 'r' order by 1"
)


def natural(shop: Shop) -> None:
    """The function as it is usually written, in place of ours."""
    for kind in ("date", "timestamp", "timestamptz"):
        shop.admin.execute(f"drop function create_orders_partition({kind})")
    shop.admin.execute(schema.statement("as-documented/create_orders_partition"))


def mode_wanted(shop: Shop, statement: str) -> tuple[str, bool]:
    """The lock that a statement waits for behind a report that has read orders, and whether an order gets past it."""
    with shop.connect() as report, shop.connect() as ddl, shop.connect() as client:
        report.execute("select count(*) from orders")
        ddl.execute("set lock_timeout = '10s'")
        ddl.commit()
        ddl.pgconn.send_query(f"begin; {statement}".encode())
        ddl.pgconn.flush()
        asked = """
            select mode, granted from pg_locks
            where relation = 'orders'::regclass and pid = %s and mode like '%%Exclusive%%' order by mode"""
        row = None
        while row is None or (row[1] and ddl.pgconn.is_busy()):
            ddl.pgconn.consume_input()
            row = shop.admin.execute(asked, [ddl.info.backend_pid]).fetchone()
        client.execute("set lock_timeout = '200ms'")
        try:
            client.execute("insert into orders select * from orders limit 0")
            passed = True
        except psycopg.errors.LockNotAvailable:
            passed = False
        client.rollback()
        report.rollback()
        while ddl.pgconn.get_result():
            pass
        return str(row[0]), passed


def test_a_report_holds_up_the_natural_way_and_every_order_behind_it(shop: Shop) -> None:
    """CREATE TABLE ... PARTITION OF wants ACCESS EXCLUSIVE; ours attaches, and neither waits nor holds up."""
    call = "select create_orders_partition(date '2031-01-01')"
    assert mode_wanted(shop, call) == ("ShareUpdateExclusiveLock", True)
    natural(shop)
    assert mode_wanted(shop, "select create_orders_partition(date '2031-02-01')") == ("AccessExclusiveLock", False)


def test_bounds_are_utcs_whatever_the_session_says(shop: Shop) -> None:
    """The natural way makes them overlap: from Moscow it takes three hours of the month before."""
    for zone in ("Europe/Moscow", "America/New_York", "UTC"):
        shop.admin.execute(f"set timezone = '{zone}'")
        shop.admin.execute("select ensure_orders_partitions(2, timestamptz '2031-03-15 12:00+00')")
        shop.admin.execute("select create_orders_partition(timestamptz '2031-06-30 23:30+00')")
    found = dict(shop.admin.execute(BOUNDS).fetchall())
    assert found["orders_2031_03"] == "FOR VALUES FROM ('2031-03-01 00:00:00+00') TO ('2031-04-01 00:00:00+00')"
    assert {"orders_2031_04", "orders_2031_05", "orders_2031_06"} <= set(found)
    assert "orders_2031_07" not in found
    natural(shop)
    shop.admin.execute("set timezone = 'Europe/Moscow'; select create_orders_partition(date '2032-03-01')")
    shop.admin.execute("set timezone = 'UTC'")
    with pytest.raises(psycopg.errors.InvalidObjectDefinition, match="would overlap"):
        shop.admin.execute("select create_orders_partition(date '2032-02-01')")


def test_a_timestamp_is_taken_too(shop: Shop) -> None:
    """The write-up's own call, which the natural function answers with 42883."""
    call = "select create_orders_partition(date '2031-01-31' + interval '1 month')"
    assert shop.admin.execute(call).fetchone() == ("orders_2031_02",)
    natural(shop)
    with pytest.raises(psycopg.errors.UndefinedFunction):
        shop.admin.execute(call)


def test_ensuring_twice_or_at_once_makes_each_once(shop: Shop) -> None:
    """What is there is left alone."""
    with shop.connect() as one, shop.connect() as two:
        one.execute("select ensure_orders_partitions(5)")
        two.pgconn.send_query(b"select ensure_orders_partitions(5)")
        two.pgconn.flush()
        one.commit()
        result: Any = two.pgconn.get_result()
        assert (result.status, result.ntuples) == (psycopg.pq.ExecStatus.TUPLES_OK, 0)
        while two.pgconn.get_result():
            pass
        assert partitions.ensure(one, 6) != []
        assert partitions.ensure(one, 6) == []
        with pytest.raises(BadInput, match="months is from 0 to 120"):
            partitions.ensure(one, -1)


def test_a_new_partition_has_everything_that_the_table_has(shop: Shop) -> None:
    """Indexes, checks, the trigger, the primary key."""
    shop.admin.execute("select create_orders_partition(date '2031-01-01')")
    indexes = "select count(*) from pg_indexes where tablename = %s"
    counts = [shop.admin.execute(indexes, [name]).fetchone() for name in ("orders", "orders_2031_01")]
    assert counts == [(3,), (3,)]
    constraints = """
        select contype, count(*) from pg_constraint
        where conrelid = %s::regclass and contype in ('c', 'p') group by 1"""
    found = [sorted(shop.admin.execute(constraints, [name]).fetchall()) for name in ("orders", "orders_2031_01")]
    assert found[0] == found[1] != []
    triggers = "select count(*) from pg_trigger where tgrelid = 'orders_2031_01'::regclass"
    assert shop.admin.execute(triggers).fetchone() == (1,)


def test_one_order_id_is_one_order_over_all_partitions(shop: Shop) -> None:
    """The key (id, created_at) takes it twice; the registry does not. ON CONFLICT (id) cannot even be planned."""
    one = order(450)
    other = one.model_copy(update={"created_at": _next_month()})
    placed = one.placed(Slot.at(NOON)).row()
    with pytest.raises(psycopg.errors.InvalidColumnReference):
        shop.admin.execute(schema.statement("as-documented/upsert"), placed)
    plain = schema.statement("as-documented/upsert").split("on conflict")[0]
    for row in (placed, {**placed, "created_at": other.created_at}):
        shop.admin.execute(plain, row)
    assert shop.count() == 2, "one id, two orders, in two partitions"
    shop.admin.execute("truncate orders")
    with shop.connect() as connection:
        session = Session(connection)
        run_sync(insert_order(session, one, Slot.at(NOON)))
        with pytest.raises(Exception, match="is taken"):
            run_sync(insert_order(session, other, Slot.at(NOON)))
        connection.commit()
    assert shop.count() == 1
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        shop.admin.execute("alter table orders add constraint one_id unique (id)")


def _next_month() -> Any:
    return NOON.replace(year=NOON.year + NOON.month // 12, month=NOON.month % 12 + 1, day=1)


def test_the_command_makes_what_is_missing_and_says_so(shop: Shop) -> None:
    """For cron: names on standard output, nothing when there is nothing to do, a line and exit 2 where it cannot."""
    program = [str(Path(sys.executable).with_name("zephyr-lab")), "partitions", "ensure", "--months", "3"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}

    def call(dsn: str) -> subprocess.CompletedProcess[str]:
        env = {**clean, "ZEPHYR_LAB_PG_DSN": dsn}
        return subprocess.run(program, capture_output=True, text=True, timeout=60, env=env)

    first, second = call(shop.dsn), call(shop.dsn)
    assert (first.returncode, len(first.stdout.split()), second.stdout) == (0, 2, "")
    empty = call(psycopg.conninfo.make_conninfo(shop.dsn, dbname="template1"))
    assert (empty.returncode, "install sql/orders" in empty.stderr) == (2, True)
