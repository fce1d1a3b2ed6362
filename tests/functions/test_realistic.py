"""Functions as engineers write them: what has once been judged wrongly, or left undone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import ForeignKeyViolation
from psycopg_pool import ConnectionPool

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError
from zephyr_lab.explore.exploration import Exploration

SETUP = """
create table counters (name text primary key, n int not null);
insert into counters values ('c', 0), ('d', 0);
create table seats (seat int primary key);
create table children (seat int references seats);
analyze counters, seats, children;
"""
TRIGGER = """
create table seen (n int);
create function note() returns trigger language plpgsql as 'begin insert into seen values (1); return new; end';
create trigger note after insert on seats for each row execute function note();
"""
READ, LOCK = "select n from counters where name = 'c'", "select n from counters where name = 'c' for update"
WRITE = "update counters set n = %s where name = 'c'"

Conn = psycopg.Connection[Any]


def number(conn: Conn, sql: str) -> int:
    row = conn.execute(sql).fetchone()
    assert row
    return int(row[0])


def lost_update(conn: Conn) -> None:
    conn.execute(WRITE, (number(conn, READ) + 1,))


def safe(found: Exploration) -> bool:
    return (found.anomalous, found.run.undecided, found.complete) == (0, 0, True)


# -- locks


def without_waiting(conn: Conn) -> str:
    with conn.transaction():
        conn.execute(WRITE, (number(conn, f"{LOCK} nowait") + 1,))
    return "done"


def wrapped(conn: Conn) -> str:
    try:
        return without_waiting(conn)
    except psycopg.errors.LockNotAvailable as error:
        raise RuntimeError("somebody else is at it") from error


def gives_up(conn: Conn) -> str:
    try:
        return without_waiting(conn)
    except psycopg.errors.LockNotAvailable:
        return "busy"


@pytest.mark.parametrize("function", [without_waiting, wrapped, gives_up])
def test_who_will_not_wait_for_a_lock_is_refused(lab: Lab, function: Callable[..., Any]) -> None:
    """As after 40001: no serial order tells it 55P03, and what it has done is rolled back."""
    found = lab.explore([function] * 2, setup=SETUP)
    assert safe(found)
    assert {one.aborted for one in found.outcomes.values()} == {(), (("A", "55P03"),), (("B", "55P03"),)}


def locked_for_good(conn: Conn) -> int:
    conn.execute("select pg_advisory_lock(1)")
    n = number(conn, READ)
    conn.execute(WRITE, (n + 1,))
    return n


def closed_by_itself(conn: Conn) -> int:
    with conn:
        return locked_for_good(conn)


@pytest.mark.parametrize("function", [locked_for_good, closed_by_itself])
def test_a_lock_of_the_session_ends_with_its_connection(lab: Lab, function: Callable[..., Any]) -> None:
    """Whoever waits for it is told what a serial order tells."""
    found = lab.explore([function] * 2, setup=SETUP)
    assert safe(found)
    assert found.run.blocked_steps > 0
    assert "57014" not in str(found)


def test_a_lock_that_nobody_lets_go_is_an_error(lab: Lab) -> None:
    """A pool keeps its connection, and the connection its lock: the next one waits for ever."""

    def leaves_it(pool: ConnectionPool) -> None:
        with pool.connection() as conn:
            locked_for_good(conn)

    with pytest.raises(ScheduleError, match=r"session B waits for A \(advisory\), and nobody is left to go on"):
        lab.explore([leaves_it] * 2, setup=SETUP)
    assert lab.explore([lost_update] * 2, setup=SETUP).anomalous == 12


def test_a_prepared_transaction_is_not_left_behind(lab: Lab) -> None:
    """Its locks would outlive the session, and every later schema."""

    def prepares(conn: Conn) -> None:
        conn.tpc_begin(conn.xid(1, "gtrid", "bqual"))
        lost_update(conn)
        conn.tpc_prepare()

    lab.explore([prepares], setup=SETUP, may_raise=True)
    assert lab.explore([lost_update] * 2, setup=SETUP).anomalous == 12


# -- savepoints, streams, COPY


def corrects_itself(conn: Conn) -> None:
    with conn.transaction():
        n = number(conn, READ)
        try:
            with conn.transaction():
                conn.execute("insert into children values (99)")
        except ForeignKeyViolation:
            conn.execute(WRITE, (n + 1,))


def locks_twice(conn: Conn) -> None:
    conn.execute("update counters set n = n + 1 where name = 'd'")
    conn.execute("update counters set n = n + 1 where name = 'c'")


@pytest.mark.thorough
def test_a_failure_under_a_savepoint_is_reduced_rightly_where_little_is_known(lab: Lab) -> None:
    """A trigger makes every statement opaque, ROLLBACK TO too; what comes after it happens all the same."""
    both = {"A": corrects_itself, "B": locks_twice}
    full, reduced = (
        lab.function_explorer(both, setup=SETUP + TRIGGER).search(reduction=reduction) for reduction in (False, True)
    )
    assert full.anomalous > 0
    assert {key: one.represents for key, one in reduced.outcomes.items()} == {
        key: one.represents for key, one in full.outcomes.items()
    }


def test_a_stream_has_looked_when_its_turn_is_over(lab: Lab) -> None:
    """And its rows take no turns of their own: 14 orders, as of the lost update."""

    def streamed(conn: Conn) -> None:
        ((n,),) = conn.cursor().stream(READ)
        conn.execute(WRITE, (n + 1,))

    async def streamed_asynchronously(conn: psycopg.AsyncConnection[Any]) -> None:
        ((n,),) = [row async for row in conn.cursor().stream(READ)]
        await conn.execute(WRITE, (n + 1,))

    for function in (streamed, streamed_asynchronously):
        found = lab.explore([function] * 2, setup=SETUP)
        assert (found.anomalous, found.schedules) == (12, 14)


def test_rows_of_a_copy_arrive_with_its_end(lab: Lab) -> None:
    """Sent before, they would wait or not wait for another session while that takes its turn."""

    def copies(conn: Conn) -> int:
        with conn.cursor() as cursor:
            with cursor.copy("copy seats from stdin") as copy:
                copy.write_row((7,))
                copy.write_row((8,))
            with cursor.copy("copy seats to stdout") as copy:
                return len(list(copy.rows()))

    found = lab.explore([copies, lambda conn: conn.execute("insert into seats values (7)").rowcount], setup=SETUP)
    assert found.complete
    assert {str(told) for _, outcome, _ in found.outcomes for _, told in outcome.told if "23505" in str(told)}


# -- what is no function to explore


def rows(conn: Conn) -> Iterator[Any]:
    yield from conn.execute(READ)


async def async_rows(conn: psycopg.AsyncConnection[Any]) -> AsyncIterator[Any]:
    async for row in await conn.execute(READ):
        yield row


def test_a_generator_is_refused(lab: Lab) -> None:
    """Nothing of it would be run, and nothing found."""
    for function in (rows, async_rows):
        with pytest.raises(ScheduleError, match=r"cannot compare an? .*generator, of which nothing has been run"):
            lab.explore([lost_update, function], setup=SETUP)


def test_what_are_no_sessions_is_refused(lab: Lab) -> None:
    """Names of two words, numbers for names, more functions than letters, and no list."""
    for functions in ({"two words": lost_update}, {1: lost_update}, [lost_update] * 27, None):
        with pytest.raises(BadInput):
            lab.explore(functions, setup=SETUP)  # type: ignore[arg-type]


# -- ids


ORDERS = """
create table jobs (id serial primary key);
insert into jobs default values;
create table orders (id serial primary key, guest text, token uuid default gen_random_uuid());
create table items (order_id int references orders);
analyze jobs, orders, items;
"""


def ordered_once(guest: str) -> Callable[[Conn], int]:
    """At SERIALIZABLE, with a retry: a refused attempt has taken a number."""

    def order(conn: Conn) -> int:
        while True:
            try:
                with conn.transaction():
                    conn.execute("select count(*) from orders")
                    return number(conn, f"insert into orders (guest) values ('{guest}') returning id")
            except psycopg.errors.SerializationFailure:
                pass

    return order


def test_an_id_that_is_returned_is_as_good_as_another(lab: Lab) -> None:
    """1 and 3 are as good as 1 and 2; that 1 is also the id of a job means nothing."""
    for guests in (("Anna", "Boris"), ("Anna", "Anna")):
        functions = [ordered_once(guest) for guest in guests]
        found = lab.explore(functions, setup=ORDERS, isolation="serializable")
        assert safe(found)
        assert "A returned <orders (guest=Anna) #1>" in str(found)


def test_the_id_of_another_is_not_as_good(lab: Lab) -> None:
    """Rows that look alike are told apart: the greatest id is not the one that was inserted."""

    def order(conn: Conn) -> int:
        conn.execute("insert into orders (guest) values ('Anna')")
        conn.commit()
        return number(conn, "select max(id) as id from orders")

    found = lab.replay([order] * 2, "A A B B B B A A", setup=ORDERS)
    assert found.anomalous
    assert "A returned <orders (guest=Anna) #1>; B returned <orders (guest=Anna) #1>" in found.outcome.text()


def test_a_uuid_made_by_the_server_is_no_chance(lab: Lab) -> None:
    """Returned, and handed on to another table."""

    def order(conn: Conn) -> Any:
        (order_id, token) = conn.execute("insert into orders (guest) values ('A') returning id, token").fetchone() or ()
        conn.execute("insert into items (order_id) values (%s)", (order_id,))
        return {"token": token}

    assert safe(lab.explore([order] * 2, setup=ORDERS))
