"""Redis stalls, forgets, or is asked to give back twice: of the documented design each fault first, then the remedy."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis

from tests.orders.conftest import NOON, Shop, order
from tests.orders.test_faults import SLOT, WINDOW, reconciled
from zephyr_lab.orders import clients, documented, schema
from zephyr_lab.orders.models import Slot
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import strategy

# -- a stall of Redis


HASTY, PATIENT = 0.2, 20.0  # seconds


def connection_of(client: redis.Redis) -> redis.connection.AbstractConnection:
    """The one that it uses; it is open then."""
    client.ping()
    connection = client.connection_pool.get_connection()
    client.connection_pool.release(connection)
    return connection


def stop(pid: int, connection: redis.connection.AbstractConnection) -> None:
    """Stops Valkey; from now on a client waits on its connection for a short time only."""
    os.kill(pid, signal.SIGSTOP)
    connection.socket_timeout = connection._parser._buffer.socket_timeout = HASTY
    connection._sock.settimeout(HASTY)


@contextlib.contextmanager
def stalled(shop: Shop, client: redis.Redis) -> Iterator[None]:
    """Valkey is stopped until the client has given up once; then it reads what has come meanwhile, and answers."""
    pid, connection = shop.redis.info("server")["process_id"], connection_of(client)
    real = connection.disconnect

    def give_up(*words: Any) -> None:
        real(*words)
        connection.disconnect, connection.socket_timeout = real, PATIENT
        os.kill(pid, signal.SIGCONT)

    connection.disconnect = give_up
    stop(pid, connection)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        client.close()
        shop.redis.ping()


@pytest.fixture
def hasty(shop: Shop) -> Iterator[redis.Redis]:
    """A client of the service's, which sends a command once."""
    with clients.redis_client(shop.redis_url, seconds=PATIENT) as client:
        yield client


def test_as_documented_a_stall_of_redis_books_an_order_twice(shop: Shop, hasty: redis.Redis) -> None:
    """The first attempt times out at the client, is carried out at the server, and the second is as well."""
    wanted = order(1_000)
    with shop.connect() as connection, stalled(shop, hasty):
        session, slots = Session(connection, hasty), documented.DocumentedSlots(hasty)
        run_sync(slots.assign_slot_with_retry(session, wanted.id, 1_000, WINDOW))
    assert int(shop.redis.get(SLOT.id)) == 2_000


def test_by_order_id_a_stall_of_redis_books_it_once(shop: Shop, hasty: redis.Redis) -> None:
    """The same stall, the same client, the same retries."""
    wanted = order(1_000)
    shop.open_day()
    with shop.connect() as connection, stalled(shop, hasty):
        assigned = RedisSlots(hasty).assign_slot_with_retry
        assert run_sync(assigned(Session(connection, hasty), wanted.id, 1_000, WINDOW, NOON)).slot == SLOT
    assert run_sync(RedisSlots(shop.redis).slot_info(SLOT)).booked == 1_000


def test_redis_pys_default_sends_a_command_again_by_itself(shop: Shop) -> None:
    """One call, one answer, and the counter has it twice."""
    where = shop.redis.connection_pool.connection_kwargs
    default = redis.Redis(unix_socket_path=where["path"], password=where["password"], socket_timeout=PATIENT)
    with stalled(shop, default):
        default.incrby("counter", 1_000)
    assert int(shop.redis.get("counter")) == 2_000


# -- time to live, release


def test_as_documented_a_slot_of_the_evening_is_forgotten(shop: Shop) -> None:
    """Two hours after its last booking; by the day, nothing is. Nobody waits here: the expiry is asked for."""
    late = Slot.at(NOON.replace(hour=21))
    window = WINDOW.model_copy(update={"first": late.start, "last": late.start})
    run_sync(documented.DocumentedSlots(shop.redis).assign_slot(order(1).id, 99_000, window))
    assert shop.redis.expiretime(late.id) <= time.time() + documented.SECONDS_TO_LIVE + 1
    shop.redis.expire(late.id, 0)
    run_sync(documented.DocumentedSlots(shop.redis).assign_slot(order(1).id, 99_000, window))  # sold a second time
    shop.open_day()
    run_sync(RedisSlots(shop.redis).assign_slot(order(1).id, 99_000, window, NOON))
    for name in shop.redis.keys("{slots*"):
        assert shop.redis.expiretime(name) >= (late.start + timedelta(hours=24)).timestamp()


def test_as_documented_two_releases_of_one_order_take_off_twice(shop: Shop) -> None:
    """Both read before either takes off; inside of Lua the second finds nothing."""
    slots = documented.DocumentedSlots(shop.redis)
    kept, gone = order(5_000), order(1_000)
    for one in (kept, gone):
        run_sync(slots.assign_slot(one.id, one.final_price, WINDOW))
    first, second = slots.release_slot(gone.id), slots.release_slot(gone.id)
    both_read: list[Any] = []
    real = shop.redis.hmget
    barrier = threading.Barrier(2)

    def read(*words: Any) -> Any:
        both_read.append(real(*words))
        barrier.wait(10)
        return both_read[-1]

    shop.redis.hmget = read
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run_sync, (first, second)))
    shop.redis.hmget = real
    assert int(shop.redis.get(SLOT.id)) == 4_000, "5,000 of the order that is kept, and 1,000 off twice"
    whole = RedisSlots(shop.redis)
    shop.open_day()
    for one in (kept, gone):
        run_sync(whole.assign_slot(one.id, one.final_price, WINDOW, NOON))
    with ThreadPoolExecutor(4) as threads:
        freed = threads.map(lambda _: run_sync(whole.release_slot(gone.id, NOON.date())), range(4))
    assert sorted(freed) == [0, 0, 0, 1_000]
    assert run_sync(whole.slot_info(SLOT)).booked == 5_000


def test_a_compensation_that_is_lost_leaks_until_it_is_reconciled(
    shop: Shop, hasty: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is refused, and Redis does not hear that its place is free: as documented for good, else until cron."""
    pid, wanted = shop.redis.info("server")["process_id"], order(1_000)
    shop.open_day()

    def lose(book: Callable[[Session], Any]) -> None:
        open_one = connection_of(hasty)

        def stopping_redis_first(real: Any) -> Any:
            async def call(self: Session, *words: Any, **named: Any) -> Any:
                stop(pid, open_one)
                return await real(self, *words, **named)

            return call

        try:
            with monkeypatch.context() as patch, shop.connect() as connection:
                for name in ("change", "row"):
                    patch.setattr(Session, name, stopping_redis_first(getattr(Session, name)))
                with pytest.raises(redis.TimeoutError):
                    run_sync(book(Session(connection, hasty)))
        finally:
            os.kill(pid, signal.SIGCONT)
            open_one.socket_timeout = PATIENT

    lose(lambda session: documented.create_order(session, wanted, WINDOW))
    with schema.missing_table(shop.admin):
        lose(lambda session: strategy("redis-lua-idempotent").book(session, wanted, WINDOW))
    assert shop.count() == 0
    assert int(shop.redis.get(SLOT.id)) == run_sync(RedisSlots(shop.redis).slot_info(SLOT)).booked == 1_000
    assert reconciled(shop) == []
    assert run_sync(RedisSlots(shop.redis).slot_info(SLOT)).booked == 0
