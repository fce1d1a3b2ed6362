"""Ordinary functions on ordinary connections, in every order of their round trips."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis as redis_py
from psycopg.errors import SerializationFailure, UniqueViolation

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, LabError, ScheduleError, StepTimeout
from zephyr_lab.explore.scheduler import Nondeterminism

Connection = psycopg.Connection[Any]

SLOTS = """
create table slots (slot text primary key, booked int not null);
insert into slots values ('18:00', 90000), ('18:15', 0);
create table orders (id int primary key, slot text not null, unique (slot));
analyze slots, orders;
"""


def read(conn: Connection) -> int:
    row = conn.execute("select booked from slots where slot = '18:00'").fetchone()
    assert row
    return int(row[0])


def lost_update(conn: Connection) -> None:
    conn.execute("update slots set booked = %s where slot = '18:00'", (read(conn) + 5000,))


def guarded(conn: Connection) -> int:
    update = "update slots set booked = booked + 6000 where slot = '18:00' and booked + 6000 <= 100000"
    return conn.execute(update).rowcount


def locked(conn: Connection) -> str:
    with conn.transaction():
        conn.execute("select from slots where slot = '18:00' for update")
        lost_update(conn)
    return "booked"


def retried(conn: Connection) -> None:
    for pause in (1, 2, 4, 8):
        try:
            with conn.transaction():
                return lost_update(conn)
        except SerializationFailure:
            time.sleep(pause)
    raise RuntimeError("gave up")


def skewed(mine: str, other: str) -> Callable[[Connection], None]:
    def go_home(conn: Connection) -> None:
        (there,) = conn.execute("select booked from slots where slot = %s", (other,)).fetchone() or (0,)
        conn.execute("update slots set booked = %s where slot = %s", (there + 1, mine))

    return go_home


def check_then_insert(number: int) -> Callable[[Connection], str]:
    def create(conn: Connection) -> str:
        if conn.execute("select from orders where slot = '18:00'").rowcount:
            return "taken"
        try:
            with conn.transaction():
                conn.execute("insert into orders values (%s, '18:00')", (number,))
        except UniqueViolation:
            return "taken"
        return "mine"

    return create


def in_order(*slots: str) -> Callable[[Connection], None]:
    def add(conn: Connection) -> None:
        for slot in slots:
            conn.execute("update slots set booked = booked + 1 where slot = %s", (slot,))

    return add


def test_a_lost_update_is_found_and_its_counterexample_replays(lab: Lab) -> None:
    """The same counts as of the spec whose BEGIN travels with its first statement."""
    found = lab.explore([lost_update, lost_update], setup=SLOTS)
    assert (found.schedules, found.anomalous, found.run.blocked_steps, found.complete) == (14, 12, 6, True)
    assert found.counterexample == "A B B B A A"
    shown = str(found.counterexample.replay())  # type: ignore[attr-defined]
    assert shown == str(found.counterexample.transcript)  # type: ignore[attr-defined]
    assert "update slots set booked = 95000 where slot = '18:00'" in shown
    assert "image/svg+xml" in found.counterexample._repr_mimebundle_()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("functions", "isolation", "waits"),
    [
        ([guarded, guarded], "read committed", True),
        ([locked, locked], "read committed", True),
        ([retried, retried], "serializable", True),
        ([check_then_insert(1), check_then_insert(2)], "serializable", True),
        ([read, read], "read committed", False),
        ([read, guarded], "repeatable read", False),
    ],
    ids=["guarded", "locked", "retried", "unique", "readers", "reader and writer"],
)
def test_what_is_safe_is_safe_in_every_order(
    lab: Lab, functions: list[Callable[[Connection], Any]], isolation: str, waits: bool
) -> None:
    """And the waits that make it so have really happened."""
    found = lab.explore(functions, setup=SLOTS, isolation=isolation)
    assert (found.anomalous, found.run.undecided, found.complete) == (0, 0, True), found
    assert (found.run.blocked_steps > 0) == waits
    assert found.counterexample is None


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_write_skew_is_found_until_serializable(lab: Lab, isolation: str) -> None:
    """18 of 20, as of the spec."""
    functions = [skewed("18:00", "18:15"), skewed("18:15", "18:00")]
    found = lab.explore(functions, setup=SLOTS, isolation=isolation)
    assert (found.schedules, found.anomalous) == (20, 18)
    assert lab.explore(functions, setup=SLOTS, isolation="serializable").anomalous == 0


def test_a_deadlock_by_lock_order_is_counted(lab: Lab) -> None:
    """Nobody hangs; who is refused was aborted with 40P01."""
    found = lab.explore([in_order("18:00", "18:15"), in_order("18:15", "18:00")], setup=SLOTS)
    assert found.run.deadlocks == found.aborted > 0
    assert found.anomalous == 0


def test_what_a_function_returns_or_raises_is_part_of_the_outcome(lab: Lab) -> None:
    """The rows are right, and one of the two was told what no serial order tells it."""

    def told(conn: Connection) -> int:
        before = read(conn)
        conn.execute("update slots set booked = booked + 5000 where slot = '18:00'")
        if before > 90_000:
            raise ValueError("too late")
        return before

    found = lab.explore([told, told], setup=SLOTS)
    assert found.anomalous > 0
    assert "returned 90000" in str(found)
    assert "raised ValueError('too late')" in str(found)


def test_setup_and_invariant_may_be_functions(lab: Lab) -> None:
    """The setup is run before every schedule, in an empty schema."""

    def prepare(conn: Connection) -> None:
        for statement in SLOTS.split(";"):
            if statement.strip():
                conn.execute(statement)

    found = lab.explore(
        [lost_update, lost_update], setup=prepare, invariant="select booked = 100000 from slots where slot = '18:00'"
    )
    assert (found.schedules, found.anomalous, found.run.violated) == (14, 12, 12)


def test_the_many_ways_to_use_a_connection(lab: Lab) -> None:
    """Savepoints, server-side cursors, executemany, COPY and pipelines are round trips like any other."""

    def everything(conn: Connection) -> list[Any]:
        with conn.transaction(), conn.transaction():
            conn.cursor().executemany("update slots set booked = booked + %s where slot = '18:15'", [(1,), (2,)])
        with conn.transaction(), conn.cursor(name="c") as cursor:
            rows = cursor.execute("select slot from slots order by slot").fetchmany(1)
        with conn.cursor() as cursor, cursor.copy("copy (select slot from slots order by slot) to stdout") as copy:
            copied = b"".join(copy)
        with conn.pipeline():
            both = [conn.execute("select 1"), conn.execute("select 2")]
        return [rows, bytes(copied), [one.fetchone() for one in both]]

    alone = lab.explore([everything], setup=SLOTS)
    assert (alone.schedules, alone.anomalous) == (1, 0)
    assert "[('18:00',)], b'18:00\\n18:15\\n', [(1,), (2,)]" in str(alone)
    sampled = lab.explore([everything, everything], setup=SLOTS, samples=20)
    assert (sampled.anomalous, sampled.run.undecided) == (0, 0)


def chance(conn: Connection) -> None:
    conn.execute("select %s::float", (random.random(),))


def hang(conn: Connection) -> None:
    conn.execute("select pg_sleep(3600)")


def kill(conn: Connection) -> None:
    conn.execute("select pg_terminate_backend(pg_backend_pid())")


def endless(conn: Connection) -> None:
    while True:
        conn.execute("select 1")


async def stand_still(conn: psycopg.AsyncConnection) -> None:
    await conn.execute("select 1")
    await asyncio.Event().wait()


def block(redis: redis_py.Redis) -> None:
    redis.blpop("queue")


BAD: dict[str, tuple[Callable[..., Any], type[LabError], str]] = {
    "an event that never comes": (stand_still, StepTimeout, "neither a round trip nor an end"),
    "a wait inside Redis": (block, StepTimeout, r"\(inside Redis\), for ever"),
    "chance": (chance, Nondeterminism, "round trip 1 of the schedule 'A A'"),
    "a hang": (hang, StepTimeout, "pg_sleep"),
    "an endless retry": (endless, ScheduleError, "endless retry"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be_explored_ends_in_a_clear_error(lab: Lab, name: str) -> None:
    """Within a few times what a step is given, beside what an exploration takes here; and the lab goes on."""
    function, error, said = BAD[name]
    began = time.monotonic()
    with pytest.raises(error, match=said):
        lab.explore([function], setup=SLOTS, step_seconds=1)
    ended = time.monotonic()
    assert not [one for one in threading.enumerate() if one.name.startswith("session ")]
    assert issubclass(error, LabError)
    assert lab.explore([lost_update, lost_update], setup=SLOTS).anomalous == 12
    assert ended - began < 5 + 3 * (time.monotonic() - ended)


def slow_if_changed(conn: Connection) -> None:
    before = conn.execute("select booked from slots where slot = '18:00'").fetchone()
    conn.execute("select pg_sleep(600 * abs(booked - %s)) is null from slots where slot = '18:00'", before)


def test_a_statement_that_never_ends_in_some_order_leaves_that_order_undecided(lab: Lab) -> None:
    """The search goes on with the others; in a serial order it is an error, as above."""
    found = lab.explore([slow_if_changed, guarded], setup=SLOTS, step_seconds=1.5)
    assert (found.kind, found.anomalous, found.complete) == ("undecided", 0, True)
    assert found.run.undecided == 2 < found.schedules
    assert 'in or after "select pg_slee ... where' in next(iter(found.undecided_because))
    assert "no answer within 1.5 s" in str(found)
    assert lab.explore([lost_update, lost_update], setup=SLOTS).anomalous == 12


def test_a_function_that_ends_its_own_session_is_told_so(lab: Lab) -> None:
    """As its outcome; the lab goes on."""
    found = lab.explore([kill], setup=SLOTS, may_raise=True)
    assert "57P01" in str(found)
    assert lab.explore([lost_update, lost_update], setup=SLOTS).anomalous == 12
    with pytest.raises(BadInput, match="no functions to explore"):
        lab.explore([])


def test_every_schedule_begins_with_the_same_rows_whatever_the_setups_clock_says(lab: Lab) -> None:
    """Chance and clocks of a setup are not the functions': what it first made is what every schedule begins with."""
    numbers = itertools.count()

    def setup(conn: psycopg.Connection) -> None:
        conn.execute(
            "create table slots (booked int, made timestamptz, number int, label uuid default gen_random_uuid())"
        )
        conn.execute("insert into slots values (0, clock_timestamp(), %s)", [next(numbers)])

    def book(conn: psycopg.Connection) -> None:
        booked, made, number, _ = conn.execute("select * from slots").fetchone() or (0, 0, 0, 0)
        conn.execute("comment on table slots is 'has the schema made anew'")
        conn.execute("update slots set booked = %s where number = %s and made = %s", [booked + 1, number, made])

    found = lab.explore([book, book], setup=setup, shrink=False)
    assert found.complete
    assert found.anomalous
    assert next(numbers) > 5
