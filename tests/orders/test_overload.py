"""Overload ends when its cause ends: a queue that ends, deadlines that are carried, callers told when to come back.

An order takes 30 ms in the database, where one waits for another, so that no machine is too fast for this; on a slow
one it takes longer there, and all times are in what it takes.
"""

from __future__ import annotations

import asyncio
import time
from datetime import date
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import pytest
from psycopg import IsolationLevel

from tests.orders.conftest import NOON, Shop, order
from zephyr_lab.orders import clients, deadline
from zephyr_lab.orders.admission import Admission
from zephyr_lab.orders.errors import TooLate
from zephyr_lab.orders.grpc import PizzaOrderRequest, Server, create_order_stub
from zephyr_lab.orders.grpc.status import PUSHBACK
from zephyr_lab.orders.models import Day
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.strategies import strategy

REQUEST = PizzaOrderRequest(customer_id=1, pizza_name="Margherita", quantity=1)

SLOW = """
create function take_a_while() returns trigger language plpgsql as
    $$ begin perform pg_sleep({}); return new; end $$;
create trigger take_a_while before insert on order_ids for each row execute function take_a_while()"""

TRIES = 5
SHARE, DEADLINE, BEFORE, LOCKED, AFTER, LAST = 0.8, 20, 10, 60, 100, 50
"""Of what the service can do; and times, in what it takes for an order. The last of these are looked at."""

LEAST, TIMES = 0.03, 6
"""An order takes so many seconds in the database, or so many times what all else of it takes."""

Stub = grpc.aio.UnaryUnaryMultiCallable


async def _order(stub: Stub, key: str, seconds: float) -> None:
    await stub(REQUEST, timeout=seconds, metadata=(("idempotency-key", key),))


async def _customer(stub: Stub, seconds: float, done: list[float]) -> None:
    """Sends an order until it is acknowledged, five times at most, as clients with a retry policy do."""
    key = str(uuid4())
    for _ in range(TRIES):
        try:
            await _order(stub, key, seconds)
        except grpc.aio.AioRpcError as error:
            told = dict(tuple(error.trailing_metadata() or ())).get(PUSHBACK, 0)
            await asyncio.sleep(int(told) / 1000)
            continue
        done.append(time.monotonic())
        return


async def _seconds_an_order(stub: Stub, number: int = 40) -> float:
    """With always somebody waiting for a connection."""
    orders, began = iter(range(number)), time.monotonic()

    async def customer() -> None:
        for _ in orders:
            await _order(stub, str(uuid4()), 60)

    await asyncio.gather(*(customer() for _ in range(8)))
    return (time.monotonic() - began) / number


async def _lock(dsn: str, unit: float) -> None:
    await asyncio.sleep(BEFORE * unit)
    async with await psycopg.AsyncConnection.connect(dsn) as holder:
        await holder.execute("lock table orders in access exclusive mode")
        await asyncio.sleep(LOCKED * unit)


async def _acknowledged(shop: Shop, *, cured: bool) -> tuple[int, int, int]:
    """Of a run with a lock on orders in it: who was acknowledged; of its last part who was, and who came."""
    async with clients.async_pool(shop.dsn, min_size=2, max_size=2) as pool:
        service = OrderService(pool, strategy("one-statement"))
        server = Server(service, clock=lambda: NOON, health_seconds=60, carries_deadlines=cured)
        async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = create_order_stub(channel)
            await _order(stub, str(uuid4()), 60)  # what is opened and prepared once
            seconds = max(LEAST, TIMES * await _seconds_an_order(stub))
            shop.admin.execute(SLOW.format(seconds))
            unit = await _seconds_an_order(stub)
            service.admission = Admission(pool) if cured else None
            lock, began = asyncio.create_task(_lock(shop.dsn, unit)), time.monotonic()
            customers, came, done = [], list[float](), list[float]()
            for number in range(int(SHARE * (BEFORE + LOCKED + AFTER))):
                await asyncio.sleep(max(0.0, began + number * unit / SHARE - time.monotonic()))
                customers.append(asyncio.create_task(_customer(stub, DEADLINE * unit, done)))
                came.append(time.monotonic())
            found = [sum(at > came[-1] - LAST * unit for at in times) for times in (done, came)]
            for one in customers:
                one.cancel()
            await asyncio.gather(lock, *customers, return_exceptions=True)
    return len(done), *found


@pytest.mark.thorough_but("with a queue that ends")
@pytest.mark.parametrize("cured", [True, False], ids=["with a queue that ends", "with an endless one"])
def test_it_is_over_when_the_lock_is(shop: Shop, cured: bool) -> None:
    """At four fifths of what the service can do. With an endless queue and no deadlines carried, orders are made for
    those who have gone, they are sent again, and few are served any more: 7 to 19 of 40, and 50 with the cure, who come
    back, also on one core and with twenty processes that want it. Runs of `incident` are held to 0.95.
    """
    shop.admin.execute("update slots set capacity_override = 1000000000")
    acknowledged, last, came = asyncio.run(_acknowledged(shop, cured=cured))
    assert (last >= 0.75 * came) is cured, (acknowledged, last, came)
    (saved,) = shop.admin.execute("select count(*) from orders").fetchone() or (0,)
    assert saved >= acknowledged
    assert shop.wrong("one-statement") == []


def test_who_is_turned_away_is_told_when_to_come_back(shop: Shop) -> None:
    """UNAVAILABLE with gRPC's own trailer; nothing was started, and what is running ends as it would."""

    async def scenario() -> None:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1) as pool:
            service = OrderService(pool, strategy("one-statement"))
            service.admission = Admission(pool, most=1, seconds=5)
            server = Server(service, clock=lambda: NOON, health_seconds=60)
            async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub = create_order_stub(channel)
                await stub(REQUEST, timeout=5)
                async with service.session():
                    waits = asyncio.ensure_future(stub(REQUEST, timeout=5))
                    while not service.admission.waiting:
                        await asyncio.sleep(0)
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await stub(REQUEST, timeout=5)
                    assert (refused.value.code(), service.admission.shed) == (grpc.StatusCode.UNAVAILABLE, 1)
                    assert 500 <= int(dict(tuple(refused.value.trailing_metadata() or ()))[PUSHBACK]) <= 1500
                assert (await waits).status == "pending"
                assert (service.admission.waiting, service.admission.busy) == (0, 0)

    asyncio.run(scenario())
    assert shop.count() == 2


def test_what_is_left_of_a_deadline_is_the_statements_time(shop: Shop) -> None:
    """The server ends it, so that no connection is lost to a cancellation; nothing is begun for who has gone."""

    async def scenario() -> None:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1) as pool:
            service = OrderService(pool, strategy("serializable-retry"))
            service.admission = Admission(pool)
            async with service.session(IsolationLevel.SERIALIZABLE) as session:
                with deadline.within(20.0):
                    before = deadline.left() or 0
                    async with session.transaction():
                        (limit,) = await session.row(
                            "select setting::int from pg_settings where name = 'statement_timeout'"
                        )
                        after = deadline.left() or 0
                        assert await session.row("show transaction_isolation") == ("serializable",)
                    assert 0.9 * after < limit / 1000 < before
                async with session.transaction():
                    assert await session.row("show statement_timeout") == ("0",), "the next one has its own"
            with deadline.within(0.0), pytest.raises(TooLate):
                async with service.session():
                    raise AssertionError("it was begun")
            service.admission = Admission(pool)  # one that does not know how slow this machine has been
            async with service.session() as session:
                with pytest.raises(psycopg.errors.QueryCanceled), deadline.within(0.1):
                    async with session.transaction():
                        await session.row("select pg_sleep(60)")
            with deadline.within(20):
                assert (await service.create(order())).is_new
            assert pool.get_stats().get("connections_lost", 0) == 0

    asyncio.run(scenario())


def test_an_order_of_one_statement_is_one_message_also_within_a_deadline(shop: Shop) -> None:
    """The limit is the connection's: sent again only where another deadline is asked for, or none."""
    sent: list[str] = []

    class Watched(psycopg.AsyncConnection[Any]):
        async def wait(self, gen: Any, *args: Any, **settings: Any) -> Any:
            before = self.pgconn.transaction_status
            told = await super().wait(gen, *args, **settings)
            if gen.__name__ == "_execute_gen" or self.pgconn.transaction_status != before:
                sent.append(gen.__name__)
            return told

    async def messages(service: OrderService, seconds: float | None) -> list[str]:
        sent.clear()
        with deadline.within(seconds):
            assert (await service.create(order())).is_new
        return list(sent)

    async def scenario(name: str) -> None:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1, connection_class=Watched) as pool:
            service = OrderService(pool, strategy(name))
            assert (await service.create(order())).is_new
            assert await messages(service, None) == ["_execute_gen"]
            assert await messages(service, 300) == 2 * ["_execute_gen"]
            assert await messages(service, 290) == ["_execute_gen"], "about the same"
            assert await messages(service, 50) == 2 * ["_execute_gen"]
            assert await messages(service, None) == 2 * ["_execute_gen"]

    for name in ("one-statement", "server-side-function"):
        asyncio.run(scenario(name))


class CancelledAt:
    """Awaits a coroutine, and cancels its own task where that suspends for the n-th time."""

    def __init__(self, work: Any, place: int) -> None:
        self._work, self._place, self.suspended = work.__await__(), place, 0

    def __await__(self) -> Any:
        thrown: BaseException | None = None
        while True:
            try:
                waits_for = self._work.throw(thrown) if thrown else self._work.send(None)
            except StopIteration as end:
                return end.value
            self.suspended, thrown = self.suspended + 1, None
            if self.suspended == self._place and (task := asyncio.current_task()):
                task.cancel()
            try:
                yield waits_for
            except BaseException as error:
                thrown = error


@pytest.mark.parametrize("name", ["one-statement", "select-for-update", "advisory-lock-before-snapshot"])
def test_who_is_cancelled_leaves_a_connection_for_the_next_one(
    shop: Shop, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it happens, with a deadline too: no other mode, level, limit or lock, and the pool has it back."""
    monkeypatch.setattr(psycopg.waiting, "MAX_BUSY_TIME", 0)  # psycopg suspends each call, also one that sends nothing

    async def cancelled(service: OrderService, place: int) -> bool:
        """Whether an order was cancelled at this place; False if it has fewer."""
        at = CancelledAt(service.create(order()), place)

        async def create() -> None:
            with deadline.within(None if place % 2 else 30):
                await at

        await asyncio.gather(asyncio.create_task(create()), return_exceptions=True)
        return at.suspended >= place

    async def scenario() -> int:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1, timeout=5) as pool:
            service, place = OrderService(pool, strategy(name)), 0
            while place == 0 or await cancelled(service, place):
                assert (await service.create(order())).is_new, place
                place += 1
            return place

    assert asyncio.run(scenario()) > 5
    assert shop.admin.execute("select from pg_locks where locktype = 'advisory'").fetchall() == []


def test_changes_that_go_together_are_counted_apart_and_fail_as_one(shop: Shop) -> None:
    """The second is sent before the first is answered, and what is refused is what the server has refused."""
    first = "create temporary table seen on commit drop as values (1), (2)", None
    second = "insert into seen select * from generate_series(1, %s)", (3,)

    async def scenario() -> None:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1) as pool, pool.connection() as connection:
            session = Session(connection)
            async with session.transaction():
                assert await session.changes(first, second) == [2, 3]
            with pytest.raises(psycopg.errors.UndefinedTable):
                async with session.transaction():
                    await session.changes(second, first)
            async with session.transaction():
                assert await session.changes(first, second) == [2, 3]

    asyncio.run(scenario())


def test_one_order_reads_the_day_and_the_others_wait_for_it(shop: Shop) -> None:
    """Fifty first orders at once: the day is opened once, in Redis too."""
    before = shop.redis.info("commandstats").get("cmdstat_hset", {"calls": 0})["calls"]

    async def scenario() -> None:
        async with (
            clients.async_pool(shop.dsn, min_size=4, max_size=4) as pool,
            clients.async_redis_client(shop.redis_url) as redis,
        ):
            service = OrderService(pool, strategy("redis-lua-idempotent"), redis)
            real, loads = service._load, []

            async def load(day: date) -> Day:
                loads.append(day)
                return await real(day)

            service._load = load
            told = await asyncio.gather(*(service.create(order()) for _ in range(50)))
            assert all(one.is_new for one in told)
            assert loads == [NOON.date()]

    asyncio.run(scenario())
    assert shop.count() == 50
    assert shop.wrong("redis-lua-idempotent") == []
    opened = shop.redis.info("commandstats")["cmdstat_hset"]["calls"] - before
    assert opened <= 48 + 2 * 50, "slots, and two an order"
