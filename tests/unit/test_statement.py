"""What a message may touch, read from its SQL: an over-estimate, so whatever is not understood touches everything."""

from __future__ import annotations

import pytest

from zephyr_lab.explore.footprint import OPAQUE, Footprint, Rows, meet
from zephyr_lab.explore.statement import Schema, statements

SCHEMA = Schema(
    tables=frozenset({"slots", "orders", "lines"}), plain=True, foreign_keys=frozenset({("lines", "orders")}),
    unique=frozenset({("slots", "slot"), ("orders", "id")}), texts=frozenset({("slots", "slot")}), sequences=False,
    own={"remember": "select set_config('app.n', n::text, true)::int", "take": "delete from orders", "quarter": ""},
    harmless=frozenset({"int4range"}),
)  # fmt: skip
SLOTS, ORDERS, LINES = Rows("slots"), Rows("orders"), Rows("lines")
SIX = Rows("slots", "slot", "18:00")


def rows(*some: Rows) -> frozenset[Rows]:
    return frozenset(some)


UNDERSTOOD = {
    "begin isolation level serializable": Footprint(begins=True),
    "commit": Footprint(ends="commit"),
    "abort": Footprint(ends="rollback"),
    "rollback to savepoint s": Footprint(ends="savepoint"),
    "savepoint s": Footprint(saves=True),
    "set local app.x = 'y'": Footprint(),
    "select booked from slots where slot = '18:00'": Footprint(rows(SIX), idle=False),
    "select booked from slots where '18:00' = slot": Footprint(rows(SLOTS), idle=False),
    "select booked from slots where slot = '18:00' or booked = 1": Footprint(rows(SLOTS), idle=False),
    "select remember(booked), upper(slot) from slots for update": Footprint(rows(SLOTS), rows(SLOTS), idle=False),
    "select 1 from slots s join orders o on true": Footprint(rows(SLOTS, ORDERS), idle=False),
    "update slots set booked = 1 where slot = '18:00' and booked < 9": Footprint(*[rows(SIX)] * 3, idle=False),
    "update slots set slot = '18:15' where slot = '18:00'": Footprint(rows(SIX, SLOTS), *[rows(SLOTS)] * 2, idle=False),
    "delete from slots": Footprint(*[rows(SLOTS)] * 3, idle=False),
    "insert into lines values (1)": Footprint(*[rows(LINES, ORDERS)] * 3, inserts=rows(LINES, ORDERS), idle=False),
    "insert into slots select 'x', max(id) from orders": Footprint(
        rows(SLOTS, ORDERS), rows(SLOTS), rows(SLOTS), inserts=rows(SLOTS), idle=False
    ),
    "select slot from slots limit 1": Footprint(rows(SLOTS), by_place=frozenset({"slots"}), idle=False),
    "select sum(y.booked) from slots x, SLOTS y where x.slot = '18:00'": Footprint(rows(SLOTS), idle=False),
    "update slots set (slot, booked) = ('b', 1) where slot = '18:00'": Footprint(
        rows(SIX, SLOTS), *[rows(SLOTS)] * 2, idle=False
    ),
    "update slots set SLOT = 'b' where slot = '18:00'": Footprint(rows(SIX, SLOTS), *[rows(SLOTS)] * 2, idle=False),
    "begin; select booked from slots; commit": Footprint(rows(SLOTS), begins=True, ends="commit", idle=False),
}


@pytest.mark.parametrize("sql", list(UNDERSTOOD))
def test_a_statement_touches(sql: str) -> None:
    """What it reads, locks, writes; and whether it begins or ends a transaction."""
    assert SCHEMA.footprint(sql) == UNDERSTOOD[sql]


@pytest.mark.parametrize(
    "sql",
    [
        "lock table slots", "select nextval('s')", "select take()", "select pg_advisory_lock(1)", "create table t ()",
        "select * from pg_locks", "select * from elsewhere",
        "merge into slots using orders on true when matched then delete",
        "with gone as (delete from orders returning id) select * from gone", "select 'unclosed", "select from where",
        "begin read only deferrable", "set transaction deferrable", "select * from o.slots", "select quarter(1)",
        "with slots as (select * from slots) select sum(booked) from slots",
    ],
)  # fmt: skip
def test_what_is_not_understood_touches_everything(sql: str) -> None:
    """Locks, functions with effects, other schemas, two changes in one, and what does not parse."""
    assert SCHEMA.footprint(sql).opaque


def test_a_schema_with_triggers_and_such_is_not_understood() -> None:
    """Whatever the statement."""
    odd = Schema(frozenset({"t"}), False, frozenset(), frozenset(), frozenset(), False, {})
    assert odd.footprint("select 1 from t") == OPAQUE


def test_rows_of_the_same_table_meet_unless_a_column_tells_them_apart() -> None:
    """A number and a text may be the same value."""
    assert not meet(rows(SIX), rows(Rows("slots", "slot", "18:15")))
    for other in (SIX, SLOTS, Rows("slots", "booked", 1), Rows("slots", "slot", 18)):
        assert meet(rows(SIX), rows(other))
    assert not meet(rows(SLOTS), rows(ORDERS))


def test_statements_are_told_apart_by_the_servers_rules() -> None:
    """A semicolon in a literal or a comment is none."""
    assert list(statements("begin; select ';' -- a; b\n, 1; ; commit")) == [
        "begin",
        "select ';' -- a; b\n, 1",
        "commit",
    ]
