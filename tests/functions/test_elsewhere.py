"""Functions on asyncio, Redis, pools, engines, and connections of their own, in every order of their round trips."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis as redis_py
from psycopg.errors import SerializationFailure
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from redis.exceptions import WatchError
from sqlalchemy import Connection as CoreConnection
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError, SetupFailed
from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.functions.arguments import Kind, parameters_of

SLOTS = """
create table slots (slot text primary key, booked int not null);
insert into slots values ('18:00', 90000);
create table orders (id int primary key, amount int not null);
analyze slots, orders;
"""
READ, WRITE = "select booked from slots", "update slots set booked = %s"

LUA = """
local booked = tonumber(redis.call('GET', KEYS[1]) or '0')
if booked + tonumber(ARGV[1]) > 100000 then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[1])
return 1"""


def sync(conn: psycopg.Connection) -> None:
    (booked,) = conn.execute(READ).fetchone() or (0,)
    conn.execute(WRITE, (booked + 5000,))


async def asynchronous(conn: psycopg.AsyncConnection) -> None:
    (booked,) = await (await conn.execute(READ)).fetchone() or (0,)
    await conn.execute(WRITE, (booked + 5000,))


def pooled(pool: ConnectionPool) -> None:
    with pool.connection() as conn:
        sync(conn)


async def pooled_asynchronously(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as conn:
        await asynchronous(conn)


def got_and_put(pool: ConnectionPool) -> None:
    conn = pool.getconn()
    sync(conn)
    conn.commit()
    pool.putconn(conn)


def engine(engine: Engine) -> None:
    with engine.begin() as conn:
        booked = conn.execute(text(READ)).scalar_one()
        conn.execute(text("update slots set booked = :booked"), {"booked": booked + 5000})


def core(conn: CoreConnection) -> None:
    booked = conn.execute(text(READ)).scalar_one()
    conn.execute(text("update slots set booked = :booked"), {"booked": booked + 5000})


def orm(session: Session) -> None:
    core(session)  # type: ignore[arg-type]


async def orm_asynchronously(session: AsyncSession) -> None:
    booked = (await session.execute(text(READ))).scalar_one()
    await session.execute(text("update slots set booked = :booked"), {"booked": booked + 5000})


def opened() -> None:
    with psycopg.connect("postgresql://nobody@nowhere.invalid/production") as conn:
        sync(conn)


async def opened_asynchronously() -> None:
    async with await psycopg.AsyncConnection.connect("") as conn:
        await asynchronous(conn)


LOST_UPDATES: list[Callable[..., Any]] = [
    asynchronous, pooled, pooled_asynchronously, got_and_put, engine, core, orm, orm_asynchronously, opened,
    opened_asynchronously,
]  # fmt: skip


@pytest.mark.thorough_but("pooled", "asynchronous", "orm")
@pytest.mark.parametrize("function", LOST_UPDATES, ids=lambda one: one.__name__)
def test_a_lost_update_is_the_same_whatever_leads_to_the_connection(lab: Lab, function: Callable[..., Any]) -> None:
    """The counts of the plain connection: what pools and engines ask on their own takes no turn."""
    found = lab.explore([function, function], setup=SLOTS)
    assert (found.schedules, found.anomalous, found.run.blocked_steps) == (14, 12, 6)
    assert found.counterexample == "A B B B A A"


def test_functions_of_both_kinds_meet(lab: Lab) -> None:
    """One synchronous, one not, a lambda that calls the latter, and a partial."""

    async def add(amount: int, conn: psycopg.AsyncConnection) -> None:
        await conn.execute("update slots set booked = booked + %s", (amount,))

    assert lab.explore([sync, asynchronous], setup=SLOTS).anomalous == 12
    assert lab.explore([lambda conn: asynchronous(conn)] * 2, setup=SLOTS).anomalous == 12
    safe = lab.explore([functools.partial(add, 1), functools.partial(add, amount=2)], setup=SLOTS)
    assert (safe.anomalous, safe.complete) == (0, True)
    assert safe.run.blocked_steps > 0


def test_an_asyncio_retry_has_its_sleeps_skipped(lab: Lab) -> None:
    """An hour of pauses takes no time, and nothing is anomalous at SERIALIZABLE."""

    async def retried(conn: psycopg.AsyncConnection) -> str:
        while True:
            try:
                async with conn.transaction():
                    await asynchronous(conn)
                return "done"
            except SerializationFailure:
                await asyncio.sleep(3600)

    found = lab.explore([retried, retried], setup=SLOTS, isolation="serializable")
    assert (found.anomalous, found.run.undecided, found.complete) == (0, 0, True)


# -- Redis


def reserve(redis: redis_py.Redis) -> str:
    booked = int(redis.get("18:00") or 0)  # type: ignore[arg-type]
    if booked + 10_000 > 100_000:
        return "full"
    redis.incrby("18:00", 10_000)
    return "booked"


async def reserve_asynchronously(redis: redis_py.asyncio.Redis) -> str:
    booked = int(await redis.get("18:00") or 0)
    if booked + 10_000 > 100_000:
        return "full"
    await redis.incrby("18:00", 10_000)
    return "booked"


def by_script(redis: redis_py.Redis) -> Any:
    return redis.eval(LUA, 1, "18:00", 10_000)


def by_registered_script(redis: redis_py.Redis) -> Any:
    return redis.register_script(LUA)(keys=["18:00"], args=[10_000])


def by_watching(r: redis_py.Redis) -> str:
    while True:
        with r.pipeline() as pipe:
            try:
                pipe.watch("18:00")
                if int(pipe.get("18:00") or 0) + 10_000 > 100_000:  # type: ignore[arg-type]
                    return "full"
                pipe.multi()
                pipe.incrby("18:00", 10_000)
                pipe.execute()
                return "booked"
            except WatchError:
                continue


def by_a_lock(redis: redis_py.Redis) -> str:
    while not redis.set("lock", "mine", nx=True):
        time.sleep(0.05)
    told = reserve(redis)
    redis.delete("lock")
    return told


def ninety(redis: redis_py.Redis) -> None:
    redis.set("18:00", 90_000)


@pytest.mark.parametrize("function", [reserve, reserve_asynchronously])
def test_get_then_incrby_oversells(lab: Lab, function: Callable[..., Any]) -> None:
    """4 of the 6 orders; what Redis holds is part of the outcome."""
    found = lab.explore([function, function], setup=ninety)
    assert (found.schedules, found.anomalous, found.counterexample) == (6, 4, "A B B A")
    assert "redis: key=18:00, value=110000" in str(found)
    assert "redis: INCRBY 18:00 10000  -> 110000" in str(found.counterexample.transcript)  # type: ignore[union-attr]


@pytest.mark.thorough_but("by_script")
@pytest.mark.parametrize("function", [by_script, by_registered_script, by_watching, by_a_lock])
def test_check_and_increment_in_one_is_safe(lab: Lab, function: Callable[..., Any]) -> None:
    """In a script, under WATCH, and under a lock that is waited for by sleeping: all orders, none of them endless."""
    found = lab.explore([function, function], setup=ninety)
    assert (found.anomalous, found.run.undecided, found.complete) == (0, 0, True)
    assert found.schedules >= 2


def test_a_client_in_a_global_variable_takes_turns_too(lab: Lab) -> None:
    """The lab's own client, which is nobody's parameter."""
    client = lab.redis
    found = lab.explore([lambda: reserve(client)] * 2, setup=lambda: ninety(client))
    assert (found.schedules, found.anomalous) == (6, 4)


def prepare(conn: psycopg.Connection, redis: redis_py.Redis) -> None:
    conn.execute(SLOTS)
    redis.set("18:00", 90_000)


def test_an_order_without_its_reservation_is_found(lab: Lab) -> None:
    """A release reads and writes: it gives back what another order has reserved meanwhile."""

    def book(conn: psycopg.Connection, redis: redis_py.Redis) -> str:
        if redis.incrby("18:00", 10_000) > 100_000:  # type: ignore[operator]
            redis.decrby("18:00", 10_000)
            return "full"
        conn.execute("insert into orders values (1, 10000)")
        return "booked"

    def release(redis: redis_py.Redis) -> None:
        booked = int(redis.get("18:00"))  # type: ignore[arg-type]
        redis.set("18:00", booked - 10_000)

    found = lab.explore([book, release], setup=prepare)
    assert found.anomalous > 0
    assert len(found.counterexample.split()) <= 8  # type: ignore[union-attr]
    assert "orders: id=1, amount=10000" in str(found)


# -- what a session is not


def test_a_second_connection_is_refused(lab: Lab) -> None:
    """Also where the function swallows the error; the lab goes on."""

    def two(conn: psycopg.Connection) -> None:
        conn.execute("select 1")
        try:
            psycopg.connect("")
        except Exception:
            conn.execute("select 2")

    def two_of_a_pool(pool: ConnectionPool) -> None:
        with pool.connection(), pool.connection():
            pass

    for function in (two, two_of_a_pool):
        with pytest.raises(ScheduleError, match=r"session A \(two.*second connection"):
            lab.explore([function], setup=SLOTS)
    assert lab.explore([sync, sync], setup=SLOTS).anomalous == 12


def test_a_connection_that_the_lab_has_no_hold_on_is_refused(lab: Lab) -> None:
    """And functions that never ask a server the lab controls: nothing is called safe that was not run."""
    with lab.connect() as mine, pytest.raises(ScheduleError, match="opened before the exploration"):
        lab.explore([lambda: mine.execute("select 1")] * 2, setup=SLOTS)
    with pytest.raises(ScheduleError, match="nothing to order"):
        lab.explore([lambda conn: None] * 2, setup=SLOTS)


def test_one_connection_after_another_is_one_session(lab: Lab) -> None:
    """Each closes its transaction; who keeps the first has a closed one."""

    def twice() -> str:
        with psycopg.connect("") as first:
            first.execute("insert into orders values (1, 1)")
        second = psycopg.connect("")
        second.execute("insert into orders values (2, 2)")
        second.close()  # which rolls back
        return "closed" if first.closed and second.closed else "open"

    found = lab.explore([twice], setup=SLOTS)
    assert "A returned 'closed'; orders: id=1, amount=1; slots" in str(found)


def test_chance_is_named_where_it_is_noticed(lab: Lab) -> None:
    """In a value that only the tables show; and parameters that nobody can supply are refused."""
    ids = iter(range(1, 100))

    def insert(conn: psycopg.Connection) -> None:
        conn.execute("insert into orders values (%s, 1)", (next(ids),))

    def at_some_time(conn: psycopg.Connection) -> None:
        conn.execute("insert into orders values (1, extract(microseconds from clock_timestamp()))")

    with pytest.raises(Nondeterminism, match=r"round trip 1 .*values \(\d, 1\)' 1 row, and .*values \(\d, 1\)"):
        lab.explore([insert], setup=SLOTS)
    with pytest.raises(Nondeterminism, match=r"ignore=\['orders.amount'\]"):
        lab.explore([at_some_time], setup=SLOTS)
    assert lab.explore([at_some_time], setup=SLOTS, ignore=["orders.amount"]).anomalous == 0
    with pytest.raises(BadInput, match="parameter 'amount'"):
        lab.explore([lambda conn, amount: None])
    with pytest.raises(SetupFailed, match="setup <lambda>: UndefinedTable"):
        lab.explore([sync], setup=lambda conn: conn.execute("insert into nowhere values (1)"))


@pytest.mark.thorough
def test_numbers_that_a_sequence_has_skipped_are_no_anomaly(lab: Lab) -> None:
    """A refused attempt has taken one; what refers to it refers to the same row all the same."""
    setup = """
        create table orders (id serial primary key, amount int, at timestamptz default now());
        create table items (id bigint generated always as identity, order_id int references orders, pizza text);
        create table slots (slot text primary key, booked int not null); insert into slots values ('18:00', 90000);"""

    def order(amount: int) -> Callable[[psycopg.Connection], None]:
        def book(conn: psycopg.Connection) -> None:
            while True:
                try:
                    with conn.transaction():
                        (number,) = conn.execute(
                            "insert into orders (amount) values (%s) returning id, at", (amount,)
                        ).fetchone()[:1]  # type: ignore[index]
                        conn.execute("insert into items (order_id, pizza) values (%s, 'Quattro')", (number,))
                        return sync(conn)
                except SerializationFailure:
                    time.sleep(1)

        return book

    found = lab.explore([order(1), order(2)], setup=setup, isolation="repeatable read")
    assert (found.anomalous, found.run.undecided, found.complete) == (0, 0, True)
    assert "items: order_id=(amount=1), pizza=Quattro; order_id=(amount=2), pizza=Quattro" in str(found)


def test_who_returns_a_refusal_was_refused_and_who_hides_it_is_found_out(lab: Lab) -> None:
    """False after 40001 is an answer; 'booked' after 40001 is a lie."""

    def told(answer: Any) -> Callable[[psycopg.Connection], Any]:
        def book(conn: psycopg.Connection) -> Any:
            try:
                with conn.transaction():
                    sync(conn)
            except SerializationFailure:
                return answer
            return "booked"

        return book

    honest = lab.explore([told(False), told(False)], setup=SLOTS, isolation="serializable")
    assert honest.anomalous == 0
    assert honest.aborted > 0
    lying = lab.explore([told("booked"), told("booked")], setup=SLOTS, isolation="serializable")
    assert lying.anomalous > 0


def test_what_a_parameter_is_given_is_read_from_its_annotation_or_name() -> None:
    """Annotations win, defaults are left alone, and unknown names are connections."""

    def everything(a: psycopg.Connection, cache, pool, engine: Engine, session, retries=3) -> None: ...  # type: ignore[no-untyped-def]

    def quoted(db: AsyncSession, kv: redis_py.Redis) -> None: ...

    assert parameters_of(everything).kinds() == (Kind.CONNECTION, Kind.REDIS, Kind.POOL, Kind.ENGINE, Kind.ORM)
    assert parameters_of(quoted).kinds() == (Kind.ORM, Kind.REDIS)
    assert parameters_of(lambda x: None).kinds() == (Kind.CONNECTION,)


def test_a_statement_that_takes_the_snapshot_takes_a_turn(lab: Lab) -> None:
    """DEALLOCATE is such a one; sent without a turn, it would see nothing of what others commit before it."""

    def look(conn: psycopg.Connection) -> Any:
        conn.execute("deallocate all")
        return conn.execute(READ).fetchone()

    def book(conn: psycopg.Connection) -> None:
        conn.execute(WRITE, (5000,))

    found = lab.explore([look, book], setup=SLOTS, isolation="repeatable read")
    assert found.anomalous == 0
    assert len(found.outcomes) == 2
