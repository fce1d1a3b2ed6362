"""One serial run, with all that each session asked, and what its statements may touch."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import redis

from zephyr_lab import Lab
from zephyr_lab.explore.footprint import Rows
from zephyr_lab.functions.trips import RedisAccess

Connection = psycopg.Connection[Any]
SETUP = "create table slots (id int primary key, booked int); insert into slots values (1, 0)"

NUMBERS = {
    "none": ("create table a (id int)", False),
    "of one table each": ("create table a (id serial); create table b (id int generated always as identity)", False),
    "of two tables": ("create table a (id serial); create table b (id int default nextval('a_id_seq'))", True),
    "twice in a table": (
        "create sequence s; create table a (x int default nextval('s'), y int default nextval('s'))", False,
    ),
    "of an identity and a default": (
        "create table a (id int generated always as identity); create table b (id int default nextval('a_id_seq'))",
        True,
    ),
}  # fmt: skip


def test_all_that_was_asked_is_there_with_its_begin(lab: Lab) -> None:
    def book(conn: Connection, redis: redis.Redis) -> None:
        conn.execute("select booked from slots where id = 1 for update")
        redis.incrby("trace:booked", 1)
        conn.execute("update slots set booked = 1 where id = 1")

    trace = lab.function_explorer({"book": book}, setup=SETUP).trace()
    trips = trace.trips["book"]
    assert [one.sql for one in trips] == [
        "select booked from slots where id = 1 for update", "redis: INCRBY trace:booked 1",
        "update slots set booked = 1 where id = 1", "commit",
    ]  # fmt: skip
    assert trips[0].whole == f"begin; {trips[0].sql}"
    assert [one.redis for one in trips] == [None, RedisAccess.WRITES, None, None]
    assert trips[0].where.startswith("tests/functions/test_trace.py:")
    assert trace.footprint(trips[0].sql).locks == {Rows("slots", "id", 1)}
    assert trace.footprint("select now()").unknown
    assert (trace.unseen, trace.hides_memory) == ((), False)
    assert trace.transcript.schedule == "book book book book"


@pytest.mark.parametrize("what", NUMBERS)
def test_a_sequence_of_several_tables_is_known(lab: Lab, what: str) -> None:
    def look(conn: Connection) -> None:
        conn.execute("select from a")

    setup, shared = NUMBERS[what]
    assert lab.function_explorer({"look": look}, setup=setup).trace().numbers_are_shared is shared


def test_memory_that_a_function_changes_is_unseen(lab: Lab) -> None:
    kept: list[int] = []

    def book(conn: Connection) -> None:
        kept.append(1)  # until it has asked
        conn.execute("select booked from slots")
        kept.clear()

    (said,) = lab.function_explorer({"book": book}, setup=SETUP).trace().unseen
    assert said.startswith("Python's memory: ")
