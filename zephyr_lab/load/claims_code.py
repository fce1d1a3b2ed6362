"""Claims about the service's code: decided by running it on real servers, a few orders at a time."""

from __future__ import annotations

import os
import signal
import types
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import redis
from psycopg import IsolationLevel

from zephyr_lab.load.finding import Bench, Chapter, Finding, Verdict, either
from zephyr_lab.load.scratch_database import NOON, SLOT, WINDOW, ScratchDatabase, order, scratch_database
from zephyr_lab.orders import clients, documented, schema
from zephyr_lab.orders.days import open_day
from zephyr_lab.orders.errors import ServiceUnavailable, SlotsFull
from zephyr_lab.orders.models import Order
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import strategy
from zephyr_lab.servers.fault_injection import lost_on_the_way_back

STRESS = 100  # orders of the write-up's own test, which has 1000
HASTY_SECONDS = 0.2  # a client's patience with Redis

FIX = "redis-lua-serializable"
"""The documented fix with a statement that can run: slot by Lua, order at SERIALIZABLE, release after any error."""

CODE = Chapter()


# -- levels


@CODE.claim("READ COMMITTED allows non-repeatable and phantom reads, SERIALIZABLE does not")
def reads(bench: Bench) -> Finding:
    """A reads a slot and counts orders, B writes both, A reads again."""
    changed = {}
    look = "select (select booked from slots where id = %s), (select count(*) from orders)"
    with scratch_database(bench) as here:
        here.admin.execute("select plan_slots(%s)", [NOON.date()])
        for number, level in enumerate((IsolationLevel.READ_COMMITTED, IsolationLevel.SERIALIZABLE), 1):
            reader = here.booking()
            reader.isolation_level = level
            before = reader.execute(look, [SLOT.id]).fetchone()
            strategy("one-statement").run(here.booking(), order(number), WINDOW)
            after = reader.execute(look, [SLOT.id]).fetchone()
            assert before is not None
            assert after is not None
            changed[level] = [one != other for one, other in zip(before, after, strict=True)]
    said = "; ".join(
        f"{level.name.replace('_', ' ')}: a slot read twice {_is(slot)}, orders counted twice {_is(count)}"
        for level, (slot, count) in changed.items()
    )
    good = all(changed[IsolationLevel.READ_COMMITTED]) and not any(changed[IsolationLevel.SERIALIZABLE])
    return Finding(either(good), said)


def _is(changed: bool) -> str:
    return "differs" if changed else "is the same"


# -- saving an order


def _save(here: ScratchDatabase, number: int) -> BaseException | None:
    wanted, connection = order(number).placed(SLOT), here.booking()
    saving = documented.save_order_with_transaction(Session(connection), wanted, IsolationLevel.SERIALIZABLE)
    try:
        run_sync(saving)
    except documented.SaveFailed as error:
        return error
    finally:
        connection.close()
    return None


@CODE.claim("SaveOrder's upsert ON CONFLICT (id) saves an order, once")
def upsert(bench: Bench) -> Finding:
    with scratch_database(bench) as here:
        error = _save(here, 1)
    code = getattr(error.__cause__, "sqlstate", "") if error else ""
    measured = f"{code}: a key of a partitioned table must hold created_at" if error else "one order saved"
    return Finding(either(error is None), measured)


@CODE.claim("the upsert is idempotent: an order that is sent again is the same order")
def idempotent(bench: Bench) -> Finding:
    """With the key that the table can have; and, as it is written, on a table that is not partitioned."""
    written = schema.statement("as-documented/upsert")
    with scratch_database(bench) as here:
        keyed = written.replace("on conflict (id)", "on conflict (id, created_at)")
        for _ in range(2):  # CreateOrder uses now() each time
            moment = here.one("select clock_timestamp()")
            here.admin.execute(keyed, {**order(1).row(), "created_at": moment})
        rows = here.one("select count(*) from orders")
        here.admin.execute("create schema plain; set search_path = plain")
        here.admin.execute(schema.tables(partitioned=False))
        here.admin.execute(written, order(1).row())
        here.admin.execute("update orders set status = 'delivered', completed_at = now()")
        here.admin.execute(written, {**order(1).row(), "final_price": 900})
        status, price = here.one("select array[status, final_price::text] from orders")
    measured = (
        f"key (id, created_at): an order sent twice is {rows} rows; plain table: a delivered order whose CreateOrder "
        f"comes again is {status}, and of its new price, 900, there is {'no trace' if price != '900' else 'a trace'}"
    )
    return Finding(either((rows, status) == (1, "delivered")), measured)


@CODE.claim("the stress test of 1000 concurrent orders proves the fix (at most 50 serialization failures)")
def stress_test(bench: Bench) -> Finding:
    with scratch_database(bench) as here, ThreadPoolExecutor(8) as threads:
        errors = [one for one in threads.map(lambda number: _save(here, number), range(1, STRESS + 1)) if one]
    counted = sum(map(documented.is_serialization_failure, errors))
    passes = counted <= STRESS * 0.05
    measured = f"of {STRESS} orders {len(errors)} fail, {counted} of them as it counts, and it "
    measured += "passes" if passes else "fails"
    return Finding(either(not (passes and errors)), measured)


@CODE.claim("isSerializationFailure recognises what is to be retried")
def recognised(bench: Bench) -> Finding:
    """The server's own SQLSTATE under texts of other languages, wrapped as the service wraps it."""
    texts = ("could not serialize access due to concurrent update", "не удалось сериализовать доступ")
    seen = []
    with scratch_database(bench) as here:
        for text in texts:
            try:
                here.admin.execute(f"do $$ begin raise exception '{text}' using errcode = '40001'; end $$")
            except psycopg.errors.SerializationFailure as error:
                wrapped = documented.SaveFailed(f"error executing INSERT: {error}")
                wrapped.__cause__ = error
                seen.append(documented.is_serialization_failure(wrapped))
    measured = f"40001 in English: {_yes(seen[0])}, in Russian: {_yes(seen[1])}"
    if all(seen):
        return Finding(Verdict.HOLDS, measured)
    return Finding(Verdict.HOLDS_WHEN, measured, "the server speaks English" if seen[0] else "")


def _yes(it: bool) -> str:
    return "recognised" if it else "not recognised"


# -- the slot in Redis


@contextmanager
def _emptied(bench: Bench, seconds: float = clients.REDIS_SECONDS) -> Iterator[redis.Redis]:
    """A client of the lab's Valkey, which is emptied before and after."""
    with clients.redis_client(bench.valkey().url, seconds=seconds) as client:
        client.flushall()
        try:
            yield client
        finally:
            client.flushall()


class _Impatient(Session):
    """A session that calls `resume` when it pauses, after its first attempt has timed out."""

    resume: Callable[[], None]

    async def sleep(self, seconds: float) -> None:
        self.resume()


def _booked_in_a_stall(bench: Bench, here: ScratchDatabase, book: Callable[[Session], Any]) -> None:
    """Valkey stops, and goes on after the client has timed out once; then it reads what it was sent."""
    with clients.redis_client(bench.valkey().url, seconds=HASTY_SECONDS) as hasty:
        pid = hasty.info("server")["process_id"]
        session = _Impatient(here.booking(), hasty)
        session.resume = lambda: os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGSTOP)
        try:
            run_sync(book(session))
        finally:
            os.kill(pid, signal.SIGCONT)


@CODE.claim("AssignSlotWithRetry books a slot safely (three attempts after any error)")
def assign_with_retry(bench: Bench) -> Finding:
    """A time-out at the client that the server carries out all the same; with the code that knows the order beside."""
    wanted, price = order(1).id, 1_000
    with scratch_database(bench) as here, _emptied(bench) as client:
        as_written, by_id = documented.DocumentedSlots, RedisSlots
        _booked_in_a_stall(
            bench, here, lambda its: as_written(its.redis).assign_slot_with_retry(its, wanted, price, WINDOW)
        )
        booked = run_sync(as_written(client).loads([SLOT])).get(SLOT.id, 0)
        run_sync(open_day(Session(here.booking()), by_id(client), NOON.date()))
        _booked_in_a_stall(
            bench, here, lambda its: by_id(its.redis).assign_slot_with_retry(its, wanted, price, WINDOW, NOON)
        )
        once = run_sync(by_id(client).slot_info(SLOT)).booked
    measured = f"a time-out that was carried out: an order of {price:,} roubles is booked as {booked:,}; where the "
    measured += f"script looks for the order's id first, as {once:,}"
    return Finding(either(booked == price), measured)


@CODE.claim("any error of AssignSlot is RESOURCE_EXHAUSTED")
def any_error(bench: Bench) -> Finding:
    """Redis is not there; the slot has all its room."""
    nowhere = clients.redis_client("unix:///nowhere.sock")
    said = []
    with scratch_database(bench) as here:
        session = Session(here.booking(), nowhere)
        for ask in (
            documented.create_order(session, order(1), WINDOW),
            RedisSlots(nowhere).assign_slot_with_retry(session, order(1).id, 450, WINDOW, NOON),
        ):
            try:
                run_sync(ask)
            except SlotsFull:
                said.append("RESOURCE_EXHAUSTED")
            except ServiceUnavailable:
                said.append("UNAVAILABLE")
    measured = f"with Redis down and every slot empty the customer is told {said[0]}, do not try again; "
    measured += f"{said[1]} is what has happened"
    return Finding(either(said[0] == said[1]), measured)


@CODE.claim("the load of a slot is known by its counter in Redis")
def counter(bench: Bench) -> Finding:
    """A full slot, and a Redis that starts again without its memory."""
    with scratch_database(bench) as here, _emptied(bench) as client:
        for number in (1, 2):
            strategy(FIX).run(here.booking(), order(number, 100_000), WINDOW, client)
            client.flushall()
        sold = _most_sold(here)
    return Finding(either(sold <= 100_000), f"full, then FLUSHALL: {sold:,} roubles sold of 100,000")


def _most_sold(here: ScratchDatabase) -> int:
    """The roubles of the fullest slot, by its orders."""
    return int(
        here.one(
            "select coalesce(max(sold), 0) from "
            "(select sum(final_price) as sold from orders group by target_slot_id) as slots"
        )
    )


# -- compensation


class _LosesAnswer(psycopg.Connection[Any]):
    """A session whose COMMIT is carried out, and whose connection is lost before the answer is read."""

    def wait(self, gen: Any, *words: Any, **named: Any) -> Any:
        if gen.__name__ == "_commit_gen":
            gen = lost_on_the_way_back(self, gen)
        return super().wait(gen, *words, **named)


@types.coroutine
def _pause() -> Generator[None, None, None]:
    yield


class _ReadsAhead:
    """A client after whose HMGET another one acts first."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    async def hmget(self, *words: Any) -> Any:
        found = self._client.hmget(*words)
        await _pause()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _refused(here: ScratchDatabase, client: redis.Redis, one: Order) -> int:
    """The slot's load after the server has refused the order."""
    with schema.missing_table(here.admin), suppress(Exception):
        strategy(FIX).run(here.booking(), one, WINDOW, client)
    return run_sync(documented.DocumentedSlots(client).loads([SLOT])).get(SLOT.id, 0)


@CODE.claim("ReleaseSlot after a failed SaveOrder compensates")
def release(bench: Bench) -> Finding:
    """SaveOrder refused by the server; COMMIT carried out and its answer lost; two releases of one order at once."""
    with scratch_database(bench) as here, _emptied(bench) as client:
        left = _refused(here, client, order(1, 60_000))
        with suppress(psycopg.OperationalError):
            strategy(FIX).run(here.booking(_LosesAnswer), order(2, 60_000), WINDOW, client)
        strategy(FIX).run(here.booking(), order(3, 60_000), WINDOW, client)
        sold = _most_sold(here)

        client.flushall()
        slots = documented.DocumentedSlots(_ReadsAhead(client))
        for number, price in ((4, 5_000), (5, 1_000)):
            run_sync(documented.DocumentedSlots(client).assign_slot(order(number).id, price, WINDOW))
        both = [slots.release_slot(order(5).id) for _ in range(2)]
        for one in [*both, *both]:
            with suppress(StopIteration):
                one.send(None)
        after = run_sync(documented.DocumentedSlots(client).loads([SLOT])).get(SLOT.id, 0)
    measured = (
        f"order refused by the server: {left} roubles left behind; COMMIT whose answer was lost: {sold:,} roubles sold "
        f"of 100,000; two releases of one order of 1,000 at once: {6_000 - after:,} taken off"
    )
    if (left, after) == (0, 5_000) and sold <= 100_000:
        return Finding(Verdict.HOLDS, measured)
    if left == 0:
        return Finding(
            Verdict.HOLDS_WHEN, measured, "the server itself has refused the order, and it is asked for once"
        )
    return Finding(Verdict.DOES_NOT_HOLD, measured)
