"""What functions return is compared by its value, ids and clocks by where they come from; refusals and retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from tests.unit.test_values import LAZY, MADE, UNKNOWN, Plain
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError

Conn = psycopg.Connection
COUNTER = "create table t (n int); insert into t values (0)"
ORDERS = """
create table orders (id int generated always as identity primary key, at timestamptz default clock_timestamp());
create table c (n int); insert into c values (1)"""


def value(conn: Conn, sql: str) -> Any:
    row = conn.execute(sql).fetchone()
    return row[0] if row else None


def write(conn: Conn) -> None:
    conn.execute("update t set n = 1")


def twice(made: Callable[[int, int], Any]) -> Callable[[Conn], Any]:
    """A reader who sees two values in two of ten orders."""
    return lambda conn: made(value(conn, "select n from t"), value(conn, "select n from t"))


# A pair of two equal ones is what a serial order gives; the one between is made of both.
@pytest.mark.thorough_but("a dataclass that hides it", "an error with keywords", "a response", "numpy")
@pytest.mark.parametrize("kind", MADE)
def test_a_race_that_only_the_value_shows_is_found(lab: Lab, kind: str) -> None:
    """Whatever kind of object it is in."""
    make = MADE[kind]
    found = lab.explore([twice(lambda a, b: (make(a), make(b))), write], setup=COUNTER, shrink=False)
    assert (found.anomalous, found.complete) == (2, True)


@pytest.mark.parametrize("kind", ["a generator", "an object"])
def test_what_cannot_be_compared_ends_the_exploration(lab: Lab, kind: str) -> None:
    """With the session, its function and what to do."""
    make = {**LAZY, **UNKNOWN}[kind]
    with pytest.raises(ScheduleError, match=r"session A \(<lambda>\): cannot compare an? "):
        lab.explore([twice(lambda a, b: make()), write], setup=COUNTER)


def test_how_to_compare_is_said(lab: Lab) -> None:
    """And then it is found."""
    functions = [twice(lambda a, b: Plain(2 * a + b)), write]
    assert lab.explore(functions, setup=COUNTER, compare={Plain: vars}, shrink=False).anomalous == 2
    for wrong in ({"Plain": vars}, {Plain: "vars"}):
        with pytest.raises(BadInput, match="compare= has classes and functions"):
            lab.explore(functions, setup=COUNTER, compare=wrong)  # type: ignore[arg-type]


# -- ids and clocks


def insert(conn: Conn) -> None:
    conn.execute("insert into orders default values")


def insert_and(read: str, and_then: Callable[[int, Any], Any] = lambda *both: both) -> Callable[[Conn], Any]:
    def order(conn: Conn) -> Any:
        conn.autocommit = True
        number = value(conn, "insert into orders default values returning id")
        return and_then(number, value(conn, read))

    return order


def test_a_count_that_equals_an_id_is_a_count(lab: Lab) -> None:
    """Nothing is an anomaly because 2 is the id of the second row."""
    found = lab.explore([insert, insert_and("select count(*) from orders")], setup=ORDERS)
    assert (found.anomalous, found.complete) == (0, True)
    assert len(found.outcomes) == 2


@pytest.mark.parametrize(
    "said",
    [
        lambda i, n: (i, n), lambda i, n: (f"ORD-{i:010}", {"left": n}), lambda i, n: ValueError(i, n),
        lambda i, n: httpx.Response(200, json={"id": i, "left": n}),
    ],
    ids=["plain", "text", "an error", "a response"],
)  # fmt: skip
def test_a_value_that_equals_an_id_is_not_excused(lab: Lab, said: Callable[[int, Any], Any]) -> None:
    """Somebody who sees another's intermediate 2 is found, although that is an id as well."""

    def changes_twice(conn: Conn) -> None:
        conn.autocommit = True
        insert(conn)
        conn.execute("update c set n = 2")
        conn.execute("update c set n = 5")

    found = lab.explore([changes_twice, insert_and("select n from c", said)], setup=ORDERS)
    assert (found.anomalous, found.schedules) == (3, 10)


def test_a_row_is_returned_with_its_id_and_its_time(lab: Lab) -> None:
    """As a value and as text; an id that another row has is another row all the same."""

    def order(conn: Conn) -> Any:
        number, at = conn.execute("insert into orders default values returning id, at as made").fetchone() or ()
        conn.execute("insert into events values (%s)", [f'{{"order": {number}, "at": "{at.isoformat()}"}}'])
        return {"id": number, "at": at, "text": at.isoformat()}

    found = lab.explore([order, order], setup=ORDERS + "; create table events (payload jsonb)", shrink=False)
    assert (found.anomalous, found.complete) == (0, True)
    (outcome,) = found.outcomes.values()
    assert "A returned {'id': <orders (1 row) #1>, 'at': <orders.at>, 'text': '<orders.at>'}" in outcome.text()


def test_a_row_that_names_another_without_a_foreign_key_is_compared_by_it(lab: Lab) -> None:
    """Or one of its own table."""
    setup = "create table t (id serial primary key, name text, parent int); insert into t (name) values ('root')"

    def child(name: str) -> Callable[[Conn], None]:
        def add(conn: Conn) -> None:
            last = value(conn, "select max(id) from t")
            conn.execute("insert into t (name, parent) values (%s, %s)", [name, last])

        return add

    found = lab.explore([child("a"), child("b")], setup=setup)
    assert found.anomalous > 0
    assert "name=b, parent=(name=a, parent=1)" in str(found)


# -- refusals and retries


class Stale(Exception):
    pass


def book(raises: bool = False) -> Callable[[Conn], Any]:
    def optimistic(conn: Conn) -> Any:
        n = value(conn, "select n from t")
        if conn.execute("update t set n = %s where n = %s", [n + 1, n]).rowcount == 1:
            return n
        if raises:
            raise Stale
        conn.rollback()
        return "conflict"

    return optimistic


def numbered(conn: Conn) -> None:
    conn.execute("insert into numbers select coalesce(max(n), 0) + 1 from numbers")


@pytest.mark.parametrize(
    ("function", "refusals", "said"),
    [
        (book(), [lambda returned: returned == "conflict"], "was refused: returned 'conflict'"),
        (book(raises=True), [Stale], "was refused: Stale"),
        (numbered, ["23505"], "was told 23505"),
    ],
    ids=["returned", "raised", "SQLSTATE"],
)
def test_a_declared_refusal_is_one(lab: Lab, function: Any, refusals: list[Any], said: str) -> None:
    """What is an anomaly without it; and whoever tries again gets what a serial order gives."""
    setup = COUNTER + "; create table numbers (n int primary key)"
    bare = lab.explore([function] * 2, setup=setup, shrink=False)
    assert bare.anomalous > 0
    declared = lab.explore([function] * 2, setup=setup, refusals=refusals)
    assert (declared.anomalous, declared.aborted) == (0, bare.anomalous)
    assert said in str(declared)
    again = lab.explore([function] * 2, setup=setup, refusals=refusals, retry=True)
    assert (again.anomalous, again.aborted) == (0, bare.anomalous)
    assert {one.outcome.final for one in again.outcomes.values()} == {
        one.outcome.final for one in again.outcomes.values() if one.verdict == "prevented"
    }
    verdict = lab.replay([function] * 2, "A B A B", setup=setup, refusals=refusals, retry=True)
    assert "and tried again; the rest is as in" in verdict.reason


def test_a_retry_that_does_not_end_well_is_found(lab: Lab) -> None:
    """What an attempt has committed before it was refused is there twice."""

    def order(conn: Conn) -> None:
        conn.execute("insert into mails values ('thanks')")
        conn.commit()
        value(conn, "select n from t")
        conn.execute("update t set n = n + 1")

    options: dict[str, Any] = {"setup": COUNTER + "; create table mails (text text)", "isolation": "repeatable read"}
    found = lab.explore([order, order], retry=True, shrink=False, **options)
    assert found.anomalous > 0
    assert "mails: text=thanks; text=thanks; text=thanks; t: n=2" in str(found)


@pytest.mark.parametrize("wrong", [int, "unique_violation", 5])
def test_what_is_no_refusal_is_refused(lab: Lab, wrong: Any) -> None:
    with pytest.raises(BadInput, match="a refusal is"):
        lab.explore([write], setup=COUNTER, refusals=[wrong])
