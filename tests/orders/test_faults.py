"""Faults for real, and the statement that holds after each: money and counts are one, nothing acknowledged is lost.

Of the documented design each fault is shown first, then the remedy beside it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from tests.orders.conftest import NOON, Shop, order
from tests.orders.restartable import RestartablePostgres
from zephyr_lab.orders import clients, documented, schema
from zephyr_lab.orders.errors import OrderFailed, ServiceUnavailable
from zephyr_lab.orders.models import Plan, Slot
from zephyr_lab.orders.reconcile import reconcile
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import Load, strategy
from zephyr_lab.servers.embedded import start_valkey

WINDOW = Plan().window(NOON)
SLOT = Slot.at(NOON)


def reconciled(shop: Shop, *, hours: int = 2) -> list[str]:
    """Repairs Redis, as cron would some time later; then says what of the money statement does not hold."""
    with shop.connect() as connection:
        slots, now = RedisSlots(shop.redis), NOON + timedelta(hours=hours)
        run_sync(reconcile(Session(connection), NOON.date(), slots, repair=True, now=now))
        assert run_sync(reconcile(Session(connection), NOON.date(), slots, now=now)) == []
    return shop.wrong("redis-lua-idempotent")


def create_until_told(service: OrderService, number: int, seconds: float = 60) -> UUID | None:
    """A client that sends its order again, with the same id, until it is told what became of it."""
    deadline = time.monotonic() + seconds
    wanted = order(3_000, number=number)
    while time.monotonic() < deadline:
        try:
            return run_sync(service.create(wanted)).order_id
        except (ServiceUnavailable, psycopg.errors.SerializationFailure):
            threading.Event().wait(0.05)
        except OrderFailed:
            return None
    raise AssertionError("not told in time")


# -- an answer that is lost at COMMIT


class LosesAnswer:
    """Stands before PostgreSQL, and drops the answer to the first COMMIT, with the connection."""

    def __init__(self, path: Path, upstream: str) -> None:
        self.lost, self._upstream = 0, upstream
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._upstream)
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(one, other, one is server), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                # CommandComplete of a COMMIT: it has happened, and nobody is told.
                if answers and not self.lost and b"COMMIT\x00" in data:
                    self.lost += 1
                    break
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def proxy(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LosesAnswer, str]]:
    """The proxy, and a DSN through it."""
    folder = Path(psycopg.conninfo.conninfo_to_dict(shop.dsn)["host"])
    here = Path("/tmp") if len(str(tmp_path_factory.getbasetemp())) > 70 else tmp_path_factory.getbasetemp()
    here = here / f"proxy{os.getpid()}"
    here.mkdir()
    proxy = LosesAnswer(here / ".s.PGSQL.5432", str(folder / ".s.PGSQL.5432"))
    yield proxy, psycopg.conninfo.make_conninfo(shop.dsn, host=str(here))
    proxy.close()
    (here / ".s.PGSQL.5432").unlink()
    here.rmdir()


def test_as_documented_an_answer_lost_at_commit_sells_the_slot_twice(
    shop: Shop, proxy: tuple[LosesAnswer, str]
) -> None:
    """The order is saved, its place is given back, and the next one takes it."""
    lost, dsn = proxy
    slots = documented.DocumentedSlots(shop.redis)
    saved, next_one = order(60_000), order(60_000)
    with ConnectionPool(dsn, min_size=1, max_size=2) as pool:
        with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
            # What the documented fix does, with a statement that can run.
            strategy("redis-lua-serializable").run(connection, saved, WINDOW, shop.redis)
        assert lost.lost == 1
        assert shop.count() == 1
        with pool.connection() as connection:
            assert strategy("redis-lua-serializable").run(connection, next_one, WINDOW, shop.redis) == SLOT
    assert [one.over for one in shop.money() if one.over] == [20_000]
    assert run_sync(slots.loads([SLOT])) == {SLOT.id: 60_000}
    # Redis can be put right, while nobody books; what was sold cannot.
    run_sync(slots.put_right({one.id: (SLOT, one.final_price) for one in (saved, next_one)}))
    assert (
        run_sync(slots.loads([SLOT]))
        == {SLOT.id: 120_000}
        == {one.slot.id: one.orders for one in shop.money() if one.orders}
    )


@pytest.mark.parametrize("name", ["one-statement", "select-for-update", "redis-lua-idempotent"])
def test_an_order_whose_answer_was_lost_is_found_by_its_id(
    shop: Shop, proxy: tuple[LosesAnswer, str], name: str
) -> None:
    """The service asks again by itself, and tells the client that it is there; it is there once."""
    lost, dsn = proxy
    with ConnectionPool(dsn, min_size=2, max_size=2) as pool:
        service = OrderService(pool, strategy(name), shop.redis, Plan(), opened={NOON.date()})
        # The first COMMIT is that of the order.
        shop.open_day()
        created = run_sync(service.create(order(60_000)))
        assert (lost.lost, created.is_new, created.slot) == (1, False, SLOT)
        assert run_sync(service.create(order(60_000))).slot != SLOT
    assert shop.count() == 2
    assert shop.wrong(name) == []


@pytest.mark.parametrize("name", ["one-statement", "select-for-update", "unique-constraint", "redis-lua-idempotent"])
def test_an_order_whose_answer_was_lost_is_not_told_that_its_own_place_is_taken(
    shop: Shop, proxy: tuple[LosesAnswer, str], name: str
) -> None:
    """In the day's last slot it has itself taken the last place: the second attempt finds the slot full."""
    lost, dsn = proxy
    evening = NOON.replace(hour=21, minute=46)
    with ConnectionPool(dsn, min_size=2, max_size=2) as pool:
        service = OrderService(pool, strategy(name), shop.redis, Plan(), opened={NOON.date()})
        shop.open_day()
        created = run_sync(service.create(order(60_000, now=evening)))
        assert (lost.lost, created.is_new, created.slot) == (1, False, Slot.at(NOON.replace(hour=21, minute=45)))
    assert shop.count() == 1
    assert shop.wrong(name) == []


# -- processes that die


CLIENT = """
import sys, uuid, os, signal
import psycopg
from datetime import datetime
from zephyr_lab.orders import clients
from zephyr_lab.orders.models import Item, Order, Plan
from zephyr_lab.orders.strategies import strategy
from zephyr_lab.orders.session import Session

dsn, url, now, first, last = sys.argv[1:]
now, redis = datetime.fromisoformat(now), clients.redis_client(url)
item = Item.checked(pizza_name="Margherita", quantity=1, price=1000)
real = Session.row

async def die(self, *args, **kwargs):
    # Redis has booked; nothing of the order is in PostgreSQL, or all but COMMIT.
    if number % 2:
        await real(self, *args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

Session.row = die
for number in range(int(first), int(last)):
    if not os.fork():
        order = Order.of([item], id=uuid.UUID(int=number), now=now, customer_id=1)
        with psycopg.connect(dsn) as connection:
            strategy("redis-lua-idempotent").run(connection, order, Plan().window(now), redis)
    if number % 20 == 19:
        for _ in range(20):
            assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL
"""


@pytest.mark.thorough
def test_sixty_clients_killed_between_redis_and_commit_leak_nothing_for_good(shop: Shop) -> None:
    """Sixty places without an order; `reconcile` voids their ids and frees them. Who orders again is served."""
    with shop.service("redis-lua-idempotent") as service:
        kept = [run_sync(service.create(order(1_000))) for _ in range(5)]
        words = [shop.dsn, shop.redis_url, NOON.isoformat(), "900000", "900060"]
        subprocess.run([sys.executable, "-c", CLIENT, *words], check=True, timeout=60)
        assert shop.count() == 5
        leaked = run_sync(RedisSlots(shop.redis).bookings(NOON.date()))
        assert len(leaked) == 65
        assert len(shop.wrong("redis-lua-idempotent")) == 1, "60,000 roubles are taken by nobody"
        assert reconciled(shop) == []
        assert shop.count("order_ids where voided") == 60
        assert [run_sync(service.create(order(1_000))).slot for _ in range(60)] == [SLOT] * 60
    assert shop.wrong("redis-lua-idempotent") == []
    assert {one.order_id for one in kept} <= {id for (id,) in shop.admin.execute("select id from orders").fetchall()}


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", ["one-statement", "redis-lua-idempotent"])
def test_postgresql_killed_during_bookings_loses_no_acknowledged_order(shop: Shop, name: str) -> None:
    """SIGKILL and started again, twice, in the midst of 90 orders of six clients; each asks until it is told."""
    server = RestartablePostgres()
    try:
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            schema.install(admin)
        shop.dsn = server.dsn
        with shop.service(name, max_size=6, timeout=10) as service, ThreadPoolExecutor(6) as threads:
            results = [threads.submit(create_until_told, service, number) for number in range(5_000, 5_090)]
            for share in (20, 50):
                _wait_for(lambda share=share: sum(one.done() for one in results) >= share)
                server.kill()
                server.start_again()
            told = [one.result() for one in results]
        with psycopg.connect(server.dsn, autocommit=True) as shop.admin:
            saved = [id for (id,) in shop.admin.execute("select id from orders").fetchall()]
            assert sorted(saved) == sorted(one for one in told if one), "none lost, none twice"
            assert len(saved) == 90
            if strategy(name).load is Load.REDIS:
                assert reconciled(shop) == []
            assert shop.wrong(name) == []
    finally:
        server.close()


def _wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        threading.Event().wait(0.01)


def test_valkey_killed_and_empty_again_is_filled_from_the_orders(shop: Shop) -> None:
    """What it forgot would be sold again; `reconcile` puts it back before anybody orders."""
    valkey, url = start_valkey()
    shop.redis, shop.redis_url = clients.redis_client(url), url
    with shop.service("redis-lua-idempotent") as service:
        first = [run_sync(service.create(order(30_000))) for _ in range(3)]
        os.kill(valkey.pid, signal.SIGKILL)
        lost = order(30_000)
        with pytest.raises(ServiceUnavailable):
            run_sync(service.create(lost))
        valkey.close()
        again, url = start_valkey()
        shop.redis = service.redis = clients.redis_client(url)
        assert shop.redis.dbsize() == 0
        assert reconciled(shop) == []
        assert run_sync(RedisSlots(shop.redis).slot_info(SLOT)).booked == 90_000
        assert run_sync(service.create(lost)).slot == Slot.at(NOON + timedelta(minutes=15))
    assert shop.wrong("redis-lua-idempotent") == []
    assert {one.slot for one in first} == {SLOT}
    again.close()
