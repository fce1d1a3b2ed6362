"""The reduced search of functions finds the outcomes, and their numbers, of the full one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis as redis_py

from zephyr_lab import Lab
from zephyr_lab.explore.exploration import Exploration

SETUP = """
create table slots (slot int primary key, booked int not null);
insert into slots values (1, 10), (2, 20);
create table orders (id int primary key, slot int not null);
create table numbers (id serial primary key, slot int not null);
analyze;
"""

Op = Callable[[psycopg.Connection, redis_py.Redis, dict[str, Any]], object]


def _savepoint(conn: psycopg.Connection, redis: redis_py.Redis, seen: dict[str, Any]) -> None:
    try:
        with conn.transaction():
            conn.execute("insert into orders values (7, 1)")
    except psycopg.errors.UniqueViolation:
        seen["taken"] = True


OPS: dict[str, Op] = {
    "read 1": lambda c, r, s: s.update(one=c.execute("select booked from slots where slot = 1").fetchone()),
    "read all": lambda c, r, s: s.update(all=c.execute("select sum(booked) from slots").fetchone()),
    "count": lambda c, r, s: s.update(count=c.execute("select count(*) from orders").fetchone()),
    "write 1": lambda c, r, s: c.execute("update slots set booked = %s where slot = 1", (len(repr(s)),)),
    "add 1": lambda c, r, s: c.execute("update slots set booked = booked + 1 where slot = 1"),
    "add 2": lambda c, r, s: c.execute("update slots set booked = booked + 1 where slot = 2"),
    "lock 1": lambda c, r, s: c.execute("select from slots where slot = 1 for update"),
    "insert": lambda c, r, s: c.execute("insert into orders values (%s, 1)", (len(s),)),
    "number": lambda c, r, s: c.execute("insert into numbers (slot) values (1)"),
    "delete": lambda c, r, s: c.execute("delete from orders"),
    "advisory": lambda c, r, s: c.execute("select pg_advisory_xact_lock(1)"),
    "commit": lambda c, r, s: c.commit(),
    "rollback": lambda c, r, s: c.rollback(),
    "savepoint": _savepoint,
    "get": lambda c, r, s: s.update(got=r.get("k")),
    "incr": lambda c, r, s: r.incr("k"),
    "set other": lambda c, r, s: r.set("other", repr(sorted(s))),
}


def program(ops: list[str]) -> Callable[[psycopg.Connection, redis_py.Redis], Any]:
    """Does one thing after another; what it has seen decides what it writes, and is what it returns."""

    def run(conn: psycopg.Connection, redis: redis_py.Redis) -> Any:
        seen: dict[str, Any] = {}
        for op in ops:
            OPS[op](conn, redis, seen)
        return seen

    return run


def found(exploration: Exploration) -> dict[Any, int | None]:
    return {key: one.represents for key, one in exploration.outcomes.items()}


@pytest.mark.thorough_but("1")
@pytest.mark.slow
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.thorough) for n in range(3, 60))])
def test_generated_functions_have_the_same_outcomes_reduced(lab: Lab, seed: int) -> None:
    """And as often: counts of all orders are known without running them."""
    chance = random.Random(seed)
    isolation = ["read committed", "repeatable read", "serializable"][seed % 3]
    functions = [program(chance.sample(list(OPS), 3)) for _ in range(2)]
    full = lab.explore(functions, setup=SETUP, isolation=isolation, reduction=False)
    reduced = lab.explore(functions, setup=SETUP, isolation=isolation, reduction=True)
    assert found(reduced) == found(full)
    assert reduced.schedules <= full.schedules == reduced.represents


@pytest.mark.thorough
def test_what_forbids_reduction_is_noticed_on_the_way(lab: Lab) -> None:
    """A level of the function's own, and a table that it makes: the search begins again without."""

    def strict(conn: psycopg.Connection) -> None:
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.execute("update slots set booked = booked + 1")

    def makes(conn: psycopg.Connection) -> None:
        conn.execute("create table if not exists more (n int)")

    for function in (strict, makes):
        full = lab.explore([function] * 2, setup=SETUP, reduction=False)
        reduced = lab.explore([function] * 2, setup=SETUP, reduction=True)
        assert found(reduced) == found(full)
        assert reduced.schedules == full.schedules > 1


@pytest.mark.thorough
@pytest.mark.slow
def test_many_orders_are_reduced_and_few_are_run_one_by_one(lab: Lab) -> None:
    """The counts of three lost updates, as of the spec: 636 schedules, by 16, and by 96 where names are told apart."""

    def lost_update(conn: psycopg.Connection) -> None:
        (booked,) = conn.execute("select booked from slots where slot = 1").fetchone() or (0,)
        conn.execute("update slots set booked = %s where slot = 1", (booked + 5,))

    for symmetry, schedules in ((None, 16), (False, 96)):
        three = lab.explore([lost_update] * 3, setup=SETUP, symmetry=symmetry)
        assert (three.represents, three.schedules, three.complete) == (636, schedules, True)
        assert three.known.anomalous == 630
    two = lab.explore([lost_update] * 2, setup=SETUP)
    assert (two.represents, two.schedules) == (14, 14)


def tries_to_lock(conn: psycopg.Connection) -> bool:
    """Counts how often it could not."""
    conn.execute("select 1")
    try:
        with conn.transaction():
            conn.execute("lock table slots nowait")
    except psycopg.errors.LockNotAvailable:
        conn.execute("update slots set booked = booked + 1 where slot = 2")
        return False
    return True


def reads(conn: psycopg.Connection) -> Any:
    return conn.execute("select booked from slots where slot = 1").fetchone()


def asks_for_locks(conn: psycopg.Connection) -> Any:
    return conn.execute("select count(*) from pg_locks where relation = 'slots'::regclass").fetchone()


def waits_for_a_lock(conn: psycopg.Connection) -> Any:
    conn.execute("lock table slots")
    return conn.execute("select sum(booked) from slots").fetchone()


@pytest.mark.thorough_but("read committed-waits_for_a_lock", "repeatable read-tries_to_lock")
@pytest.mark.parametrize("looks", [tries_to_lock, asks_for_locks, waits_for_a_lock])
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_a_readers_commit_is_somebodys_business_who_looks_at_locks(
    lab: Lab, looks: Callable[..., Any], isolation: str
) -> None:
    """Although it publishes nothing: it lets the table go."""
    full = lab.explore([looks, reads], setup=SETUP, isolation=isolation, reduction=False)
    reduced = lab.explore([looks, reads], setup=SETUP, isolation=isolation, reduction=True)
    assert found(reduced) == found(full)
    assert reduced.schedules <= full.schedules == reduced.represents


def test_the_fewest_switches_of_three_sessions_are_found(lab: Lab) -> None:
    """A schedule that is given up before anybody's first step says nothing of what the functions do."""

    def book(conn: psycopg.Connection[Any]) -> None:
        row = conn.execute("select booked from slots where slot = 1").fetchone()
        assert row
        conn.execute("update slots set booked = %s where slot = 1", [row[0] + 1])

    found = lab.explore([book] * 3, setup=SETUP, samples=5, seed=1)
    assert found.anomalous
    assert found.counterexample == "A A A B C C C B B"
