"""What functions return is compared by its value, ids and clocks by where they come from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import httpx
import psycopg
import pytest

from tests.functions.test_values import LAZY, MADE, UNKNOWN, Plain
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError
from zephyr_lab.functions.answers import Answers, Ending
from zephyr_lab.functions.structure import Leaf, Parts
from zephyr_lab.wire.http import Response

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


RAISES = """
create function refuse(a int, b int) returns void language plpgsql as $$
begin raise exception 'had %, has %', a, b; end $$;"""


def refuse(a: int, b: int) -> None:
    raise psycopg.errors.UniqueViolation(f"{a} {b}")


@pytest.mark.parametrize("by_server", [True, False], ids=["RAISE", "Python"])
def test_what_somebody_has_written_into_a_drivers_error_counts(lab: Lab, by_server: bool) -> None:
    """RAISE in a function of the server, or the function itself: two values that never held together."""

    def reads(conn: Conn) -> None:
        a, b = value(conn, "select n from t"), value(conn, "select n from t")
        conn.execute("select refuse(%s, %s)", [a, b]) if by_server else refuse(a, b)

    found = lab.replay([reads, write], "A B B A A A" if by_server else "A B B A A", setup=COUNTER + ";" + RAISES)
    assert found.anomalous
    assert ("'had 0, has 1'" if by_server else "UniqueViolation('0 1')") in found.outcome.text()


def test_an_id_in_a_message_is_as_good_as_another(lab: Lab) -> None:
    """As in what is returned."""

    def refused(conn: Conn) -> None:
        conn.execute("select refuse(%s, 0)", [value(conn, "insert into orders default values returning id")])

    found = lab.explore([refused] * 2, setup=ORDERS + ";" + RAISES, may_raise=True)
    assert (found.anomalous, found.complete) == (0, True)
    assert "'had <orders gone #1>, has 0'" in str(found)


def test_a_cursor_that_gives_no_rows_says_how_many_it_has_changed(lab: Lab) -> None:
    """One that gives rows has to be asked for them."""
    found = lab.explore([lambda conn: conn.execute("update t set n = 1 where n = 0")] * 2, setup=COUNTER)
    assert "A returned Cursor(rowcount=1, statusmessage='UPDATE 1')" in str(found)
    assert found.anomalous == 0
    for lazy in (lambda conn: conn.execute("select 1"), lambda conn: (write(conn), conn.cursor())):
        with pytest.raises(ScheduleError, match="a Cursor, of which nothing has been run"):
            lab.explore([lazy], setup=COUNTER)


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
        lambda i, n: (i, n),
        lambda i, n: (f"ORD-{i:010}", {"left": n}),
        lambda i, n: ValueError(i, n),
        lambda i, n: httpx.Response(200, json={"id": i, "left": n}),
    ],
    ids=["plain", "text", "an error", "a response"],
)
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


def moved(read: str, write: str, by: Any) -> Callable[[Conn], None]:
    """Reads a value, and writes one that Python has made of it."""
    return lambda conn: conn.execute(write, [value(conn, read) + by]) and None


def book_first_free(conn: Conn) -> None:
    seat = value(conn, "select id from seats where id not in (select seat_id from bookings) order by id limit 1")
    conn.execute("insert into bookings (seat_id) values (%s)", [seat])


def fill_latest(conn: Conn) -> None:
    conn.execute("insert into baskets default values")
    conn.commit()
    conn.execute("insert into lines (basket) select max(id) from baskets")


def fill_own(conn: Conn) -> None:
    conn.execute(
        "insert into lines (basket) values (%s)", [value(conn, "insert into baskets default values returning id")]
    )


SEATS = """
create table seats (id serial primary key, price int); insert into seats (price) values (10), (10);
create table bookings (id serial primary key, seat_id int references seats)"""
BASKETS = """
create table baskets (id {kind} primary key, total int default 0);
create table lines (id serial primary key, basket int {references})"""


def test_rows_of_the_setup_that_are_alike_are_other_rows(lab: Lab) -> None:
    """One seat twice is not one seat each."""
    assert lab.explore([book_first_free] * 2, setup=SEATS, shrink=False).anomalous == 18


@pytest.mark.parametrize("references", ["references baskets", pytest.param("", marks=pytest.mark.thorough)])
def test_rows_that_are_alike_are_told_apart_by_what_refers_to_them(lab: Lab, references: str) -> None:
    """Two lines of one basket are not one line of each; with a foreign key and without."""
    setup = BASKETS.format(kind="serial", references=references)
    found = lab.replay([fill_latest] * 2, "A A B B A A B B", setup=setup)
    assert found.anomalous
    assert found.outcome.text().endswith("lines: basket=(total=0); basket=(total=0)")
    assert found.serial["A then B"].text().endswith("lines: basket=(total=0) #1; basket=(total=0) #2")


@pytest.mark.parametrize("kind", ["serial", "smallserial", "int generated always as identity (increment by 10)"])
def test_which_of_them_is_whose_says_nothing(lab: Lab, kind: str) -> None:
    """Outcomes are equal if ids of the one can be exchanged for ids of the other; whatever the sequence counts by."""
    setup = BASKETS.format(kind=kind, references="references baskets")
    for schedule in ("A A A B B B", "A B A B A B", "B A A B B A"):
        assert not lab.replay([fill_own] * 2, schedule, setup=setup).anomalous


def marries_latest(conn: Conn) -> None:
    number = value(conn, "insert into t default values returning id")
    conn.commit()
    conn.execute("update t set peer = (select max(id) from t) where id = %s", [number])


def has_both(conn: Conn) -> Any:
    number = value(conn, "insert into t default values returning id")
    conn.commit()
    return number, value(conn, "select max(no) from t")


@pytest.mark.parametrize("function", [marries_latest, has_both])
def test_ids_in_a_ring_and_two_of_one_row_are_told_apart(lab: Lab, function: Callable[[Conn], Any]) -> None:
    """Each its own peer, or both the later one's; numbers of one row, or of two."""
    setup = "create sequence s; create table t (id serial primary key, no int default nextval('s'), peer int)"
    assert lab.replay([function] * 2, "A A B B A A B B", setup=setup).anomalous
    assert not lab.replay([function] * 2, "B B B B A A A A", setup=setup).anomalous


@pytest.mark.parametrize("kind", ["bigint", "text", "jsonb"])
@pytest.mark.parametrize("begins", [7_000_100, 7_000_000, 20_000])
@pytest.mark.thorough_but("7000100-bigint", "7000000-text")
def test_a_number_of_the_setup_is_no_id(lab: Lab, kind: str, begins: int) -> None:
    """Nor one that is counted on from there: sequences go on far from all that is there."""
    setup = f"""create table o (id serial primary key); create table t (n {kind});
    insert into t values ('{begins}'); insert into o default values"""

    def pay(by: int) -> Callable[[Conn], None]:
        def paid(conn: Conn) -> None:
            conn.execute("insert into o default values")
            conn.execute("update t set n = %s", [str(int(value(conn, "select n from t")) + by)])

        return paid

    assert lab.replay([pay(1), pay(2)], "A A B B A A B B", setup=setup).anomalous


def test_a_number_that_a_function_is_written_with_is_no_id(lab: Lab) -> None:
    """Who was last is seen: sequences go on elsewhere."""
    limit = 7_000_002

    def pays(amount: int) -> Callable[[Conn], None]:
        def paid(conn: Conn) -> None:
            conn.execute("insert into o default values")
            conn.execute("update t set n = %s", [amount])
            conn.commit()
            conn.execute("update t set last = %s", [amount - 7_000_000])

        return paid

    setup = "create table o (id serial primary key); create table t (n int, last int); insert into t values (0, 0)"
    assert lab.replay([pays(7_000_001), pays(limit)], "A A A B B B B A A", setup=setup).anomalous


FILLED_IN = {
    "a position": (
        "create table t (name text, n serial); insert into t (name) values ('a'), ('b')",
        [moved("select max(n) from t", f"update t set n = %s where name = '{name}'", 1) for name in "ab"],
    ),
    "an end": (
        "create table t (at timestamptz default now() + interval '14 days'); insert into t values ('2030-01-01')",
        [moved("select at from t", "update t set at = %s", timedelta(days)) for days in (1, 7)],
    ),
    "an end that a clock had set": (
        "create table t (at timestamptz default now() + interval '14 days'); insert into t default values",
        [moved("select at from t", "update t set at = %s", timedelta(days)) for days in (1, 7)],
    ),
    "a second after what a clock had set": (
        "create table t (at timestamptz default now()); insert into t default values",
        [moved("select at from t", "update t set at = %s", timedelta(seconds=seconds)) for seconds in (1, 2)],
    ),
    "a day": (
        "create table t (at date default current_date); insert into t values ('2030-01-01')",
        [moved("select at from t", "update t set at = %s", timedelta(days)) for days in (1, 7)],
    ),
}


@pytest.mark.thorough_but("a position", "an end")
@pytest.mark.parametrize("kind", FILLED_IN)
def test_what_a_function_says_itself_is_compared_though_there_is_a_default(lab: Lab, kind: str) -> None:
    """A sequence, or a clock, that has not been asked."""
    setup, functions = FILLED_IN[kind]
    assert lab.replay(functions, "A B A B A B", setup=setup).anomalous


@pytest.mark.parametrize("set_to", ["now()", "now() + interval '1 day'", "%(at)s"])
def test_a_clock_that_is_asked_again_is_a_clock(lab: Lab, set_to: str) -> None:
    """By the server, or by Python."""

    def touch(conn: Conn) -> None:
        conn.execute(f"update t set n = n + 1, at = {set_to}", {"at": datetime.now(UTC)})  # type: ignore[arg-type]

    setup = "create table t (n int, at timestamptz default now()); insert into t (n) values (0)"
    assert lab.explore([touch] * 2, setup=setup).anomalous == 0


class Strange(Exception):
    """One whose attributes cannot be read."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise OSError("gone")


def test_an_end_is_read_once_with_its_refusal() -> None:
    """An answer with a status is compared by it; other objects that have parts are not; a refusal outlasts trouble."""
    answers = Answers({}, [OSError, lambda told: told == "full"])
    assert answers.read(Response(409, {"id": 1}, "HTTP 409"), None) == Ending(
        Parts("HTTP 409", (answers.read({"id": 1}, None).said,)),  # type: ignore[arg-type]
        "HTTP 409",
    )
    path = PurePosixPath("a/b")
    assert answers.read(path, None) == Ending(Leaf("pathlib.PurePath", path, repr(path)))
    assert answers.read("full", None).refusal == "returned 'full'"
    lost = OSError(object())
    assert answers.read(lost, lost).refusal == "OSError"
    assert answers.read(lost, lost).trouble.startswith("cannot compare an object")
    strange = Strange()
    said = "what it raised cannot be read: OSError: gone; return plain data"
    assert answers.read(strange, strange) == Ending(trouble=said)
