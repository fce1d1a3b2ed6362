"""Races that are found, each by a short counterexample, and remedies that are safe in every order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
import redis as redis_py
from psycopg.errors import ExclusionViolation, SerializationFailure, UniqueViolation
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from zephyr_lab import Lab

Conn = psycopg.Connection[Any]
Redis = redis_py.Redis

SETUP = """
create table slots (slot text primary key, booked int not null, capacity int not null);
insert into slots values ('18:00', 90000, 100000), ('18:15', 0, 100000);
create table orders (id int, slot text, price int);
create table seats (seat text unique, guest int);
create table rooms (guest int, during int4range, exclude using gist (during with &&));
create table doctors (name text primary key, on_call boolean);
insert into doctors values ('Anna', true), ('Boris', true);
create table jobs (id int primary key, state text);
insert into jobs values (1, 'new'), (2, 'new');
analyze;
"""


class Base(DeclarativeBase):
    pass


class Slot(Base):
    __tablename__ = "slots"
    slot: Mapped[str] = mapped_column(primary_key=True)
    booked: Mapped[int]


def value(conn: Conn, sql: str, *values: Any) -> Any:
    row = conn.execute(sql, values).fetchone()
    return row[0] if row else None


def lost_update(conn: Conn) -> None:
    booked = value(conn, "select booked from slots where slot = '18:00'")
    conn.execute("update slots set booked = %s where slot = '18:00'", (booked + 5000,))


def double_booking(conn: Conn) -> str:
    if value(conn, "select coalesce(sum(price), 0) from orders where slot = '18:00'") + 60_000 > 100_000:
        return "full"
    conn.execute("insert into orders values (1, '18:00', 60000)")
    return "booked"


def leave(name: str) -> Callable[[Conn], str]:
    def go_home(conn: Conn) -> str:
        if value(conn, "select count(*) from doctors where on_call") < 2:
            return "stays"
        conn.execute("update doctors set on_call = false where name = %s", (name,))
        return "leaves"

    return go_home


def next_job(conn: Conn) -> Any:
    """The row is checked again after the wait, the subquery is not: EvalPlanQual."""
    return value(
        conn, "update jobs set state = 'taken' where id = (select min(id) from jobs where state = 'new') returning id"
    )


def add_to(*slots: str) -> Callable[[Conn], None]:
    def add(conn: Conn) -> None:
        for slot in slots:
            conn.execute("update slots set booked = booked + 1 where slot = %s", (slot,))

    return add


def check_then_insert(guest: int) -> Callable[[Conn], str]:
    def take(conn: Conn) -> str:
        if value(conn, "select count(*) from orders where slot = '19:00'"):
            return "taken"
        conn.execute("insert into orders values (%s, '19:00', 1)", (guest,))
        return "mine"

    return take


def get_then_incrby(redis: Redis) -> str:
    if int(redis.get("18:00") or 0) + 5000 > 95_000:  # type: ignore[arg-type]
        return "full"
    redis.incrby("18:00", 5000)
    return "booked"


def release(conn: Conn) -> None:
    booked = value(conn, "select booked from slots where slot = '18:00'")
    conn.execute("update slots set booked = %s where slot = '18:00'", (booked - 5000,))


def book(conn: Conn) -> None:
    conn.execute("update slots set booked = booked + 5000 where slot = '18:00'")


def create_order(conn: Conn, redis: Redis) -> None:
    redis.incrby("18:00", 5000)
    conn.execute("insert into orders values (1, '18:00', 5000)")


def give_back(conn: Conn, redis: Redis) -> None:
    """Takes a reservation whose order has not been saved yet for one whose order never will be."""
    redis.set("18:00", 90_000 + value(conn, "select coalesce(sum(price), 0) from orders"))


def seeded(conn: Conn, redis: Redis) -> None:
    conn.execute(SETUP)
    redis.set("18:00", 90_000)


FOUND: dict[str, tuple[list[Callable[..., Any]], str, Any]] = {
    "lost update": ([lost_update] * 2, "read committed", SETUP),
    "double booking": ([double_booking] * 2, "repeatable read", SETUP),
    "write skew": ([leave("Anna"), leave("Boris")], "repeatable read", SETUP),
    "EvalPlanQual": ([next_job] * 2, "read committed", SETUP),
    "check then insert": ([check_then_insert(1), check_then_insert(2)], "read committed", SETUP),
    "GET then INCRBY": ([get_then_incrby] * 2, "read committed", seeded),
    "a release that races with a booking": ([release, book], "read committed", SETUP),
    "an order saved whose reservation was given back": ([create_order, give_back], "read committed", seeded),
}


@pytest.mark.thorough_but("lost update", "GET then INCRBY")
@pytest.mark.parametrize("name", FOUND)
def test_a_race_is_found_by_a_short_counterexample(lab: Lab, name: str) -> None:
    """Of at most eight turns, which replay to the same anomaly."""
    functions, isolation, setup = FOUND[name]
    found = lab.explore(functions, setup=setup, isolation=isolation)
    assert found.anomalous > 0
    assert found.complete
    assert found.counterexample is not None
    assert len(found.counterexample.split()) <= 8
    assert str(found.counterexample.replay()) == str(found.counterexample.transcript)  # type: ignore[attr-defined]


def test_a_deadlock_by_lock_order_is_found(lab: Lab) -> None:
    """It is no anomaly, for who is refused was never there; its schedule is among the outcomes."""
    found = lab.explore([add_to("18:00", "18:15"), add_to("18:15", "18:00")], setup=SETUP)
    assert (found.anomalous, found.complete) == (0, True)
    assert found.run.deadlocks > 0
    example = next(one.example for one in found.outcomes.values() if ("A", "40P01") in one.aborted)
    assert len(example.split()) <= 8


def guarded(conn: Conn) -> int:
    return conn.execute(
        "update slots set booked = booked + 6000 where slot = '18:00' and booked + 6000 <= capacity"
    ).rowcount


def locked(conn: Conn) -> None:
    conn.execute("select from slots where slot = '18:00' for update")
    lost_update(conn)


def under_advisory_lock(conn: Conn) -> str:
    conn.execute("select pg_advisory_xact_lock(18)")
    return double_booking(conn)


def unique(guest: int) -> Callable[[Conn], str]:
    def take(conn: Conn) -> str:
        try:
            with conn.transaction():
                conn.execute("insert into seats values ('1A', %s)", (guest,))
        except UniqueViolation:
            return "taken"
        return "mine"

    return take


def excluded(guest: int) -> Callable[[Conn], str]:
    def take(conn: Conn) -> str:
        try:
            with conn.transaction():
                conn.execute("insert into rooms values (%s, '[1, 3)')", (guest,))
        except ExclusionViolation:
            return "taken"
        return "mine"

    return take


def retried(function: Callable[[Conn], Any]) -> Callable[[Conn], Any]:
    def again_and_again(conn: Conn) -> Any:
        while True:
            try:
                with conn.transaction():
                    return function(conn)
            except SerializationFailure:
                continue

    return again_and_again


def by_script(redis: Redis) -> Any:
    script = """
        if tonumber(redis.call('GET', KEYS[1])) + 6000 > 100000 then return 'full' end
        redis.call('INCRBY', KEYS[1], 6000)
        return 'booked'"""
    return redis.eval(script, 1, "18:00")


SAFE: dict[str, tuple[list[Callable[..., Any]], str, Any, bool]] = {
    "guarded update": ([guarded] * 3, "read committed", SETUP, True),
    "for update": ([locked] * 3, "read committed", SETUP, True),
    "advisory lock": ([under_advisory_lock] * 2, "read committed", SETUP, True),
    "unique constraint": ([unique(1), unique(2), unique(3)], "read committed", SETUP, True),
    "exclusion constraint": ([excluded(1), excluded(2)], "read committed", SETUP, True),
    "serializable, retried": ([retried(double_booking)] * 2, "serializable", SETUP, False),
    "serializable write skew, retried": (
        [retried(leave("Anna")), retried(leave("Boris"))],
        "serializable",
        SETUP,
        False,
    ),
    "repeatable read, retried": ([retried(lost_update)] * 2, "repeatable read", SETUP, True),
    "one script": ([by_script] * 3, "read committed", seeded, False),
    "atomic increments": ([book, book, book], "read committed", SETUP, True),
    "readers": ([lambda conn: value(conn, "select sum(booked) from slots")] * 3, "read committed", SETUP, False),
}


@pytest.mark.thorough_but("guarded update")
@pytest.mark.parametrize("name", SAFE)
def test_a_remedy_is_safe_in_every_order(lab: Lab, name: str) -> None:
    """And where a lock is the remedy, somebody has really waited for it."""
    functions, isolation, setup, waits = SAFE[name]
    found = lab.explore(functions, setup=setup, isolation=isolation)
    assert (found.anomalous, found.run.undecided, found.complete) == (0, 0, True), found
    assert found.counterexample is None
    assert not waits or found.run.blocked_steps > 0


def test_ends_are_what_became_of_the_changes(lab: Lab) -> None:
    """Of a function that raises too; what it raised is compared all the same, as its caller sees it."""

    def insert(conn: Conn) -> None:
        conn.execute("insert into seats values ('4b', 1)")

    def give_up(conn: Conn) -> None:
        conn.execute("update slots set booked = 0")
        raise LookupError("no")

    def give_up_late(conn: Conn) -> None:
        conn.execute("update slots set booked = 0")
        conn.commit()
        raise LookupError("no")

    def caught(conn: Conn) -> str:
        try:
            insert(conn)
        except UniqueViolation:
            conn.rollback()
        return "told"

    def savepoint(conn: Conn) -> None:
        insert(conn)
        conn.execute("savepoint one")
        conn.execute("rollback to savepoint one")

    def ends(schedule: str, *functions: Callable[[Conn], Any], level: str = "read committed") -> str:
        verdict = lab.replay(functions, schedule, setup=SETUP, isolation=level)
        assert verdict.kind in ("prevented", "aborts 40001"), verdict
        return verdict.transcript.summary()[0].removeprefix("ends:   ")

    assert ends("A B", insert, insert) == "A committed, B aborted 23505"
    assert ends("A B", give_up, give_up_late) == "A rolled back, B committed, then raised"
    assert ends("A B", insert, caught) == "A committed, B rolled back"
    assert ends("A A A B", savepoint, give_up) == "A committed, B rolled back"
    assert ends("A B A A", lost_update, lost_update, level="repeatable read") == "A committed, B aborted 40001"
    found = lab.explore([insert, insert], setup=SETUP)
    assert (found.kind, found.aborted, found.schedules) == (
        "prevented",
        0,
        4,
    )  # an error that is no refusal is an answer


def test_a_round_trip_is_shown_beside_the_line_that_asked_for_it(lab: Lab) -> None:
    """The caller's own, not a library's; it is no part of what is compared."""
    found = lab.explore([lost_update, lost_update], setup=SETUP)
    assert found.counterexample
    transcript = found.counterexample.transcript  # type: ignore[attr-defined]
    here = "tests/functions/test_verdicts.py:"
    first = value.__code__.co_firstlineno + 1
    second = lost_update.__code__.co_firstlineno + 2
    read, write = f"{here}{first}", f"{here}{second}"
    assert [one.where for one in transcript.events if one.sql != "commit"][:4] == [read, read, write, write]
    assert str(transcript).splitlines()[1].startswith(f"  A  {read}  select booked from slots")
    assert transcript.to_dict()["events"][0]["where"] == read
    assert "test_functions_verdicts" not in str(found.counterexample.verdict)  # type: ignore[attr-defined]


def with_an_orm(session: Session) -> None:
    """Its statements have casts, quotes and the table's name in front of columns."""
    slot = session.get(Slot, "18:00")
    assert slot
    slot.booked += 1


@pytest.mark.parametrize(
    ("functions", "name", "level"),
    [
        ([lost_update] * 2, "lost update: notebooks/03", "at repeatable read this schedule is refused: 40001"),
        ([with_an_orm] * 2, "lost update: notebooks/03", "at repeatable read this schedule is refused: 40001"),
        (
            [leave("Anna"), leave("Boris")],
            "write skew: notebooks/08",
            "at serializable this schedule is refused: 40001",
        ),
    ],
)
def test_an_anomaly_of_functions_is_named_with_the_level_that_refuses_it(
    lab: Lab, functions: Sequence[Callable[..., Any]], name: str, level: str
) -> None:
    """From what each round trip was answered, and what was committed after it; statements are anybody's."""
    found = lab.explore(functions, setup=SETUP)
    assert len(found.explanation) == 2
    assert found.explanation[0].startswith(name)
    assert found.explanation[1] == level
