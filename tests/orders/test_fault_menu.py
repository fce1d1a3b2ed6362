"""One fault after another while four clients order: nothing acknowledged is lost, nothing doubled, nothing oversold.

Sixty faults here, a thousand with `make thorough`, with kills of the servers among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import psycopg
import pytest

from tests.orders.conftest import NOON, Shop, fresh, order
from tests.orders.test_faults import reconciled
from zephyr_lab.load.injection import kill_and_start_again
from zephyr_lab.orders import clients, deadline
from zephyr_lab.orders.errors import OrderFailed
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.strategies import STRATEGIES, Load, strategy
from zephyr_lab.servers.embedded import start_postgres, start_valkey

CLIENTS, SECONDS = 4, 0.03
SESSIONS = "pg_stat_activity where application_name = 'menu'"

Fault = Callable[[Shop, random.Random], object]


def _backend(shop: Shop, chance: random.Random) -> None:
    """The session of an order ends, wherever it is."""
    shop.admin.execute(f"select pg_terminate_backend(pid) from {SESSIONS} order by random() limit 1")


def _statement(shop: Shop, chance: random.Random) -> None:
    shop.admin.execute(f"select pg_cancel_backend(pid) from {SESSIONS}")


def _lock(shop: Shop, chance: random.Random) -> None:
    table = chance.choice(["orders", "order_ids", "slots"])
    with shop.admin.transaction():
        shop.admin.execute(f"lock table {table} in access exclusive mode")
        threading.Event().wait(SECONDS)


def _read_only(shop: Shop, chance: random.Random) -> None:
    """As when a standby has taken over, and the other way round; sessions of before go."""
    shop.admin.execute("alter role menu set default_transaction_read_only = on")
    shop.admin.execute(f"select pg_terminate_backend(pid) from {SESSIONS}")
    threading.Event().wait(SECONDS)
    shop.admin.execute("alter role menu reset default_transaction_read_only")
    shop.admin.execute(f"select pg_terminate_backend(pid) from {SESSIONS}")


def _connections(shop: Shop, chance: random.Random) -> None:
    shop.redis.client_kill_filter(_type="normal", skipme=True)


def _forgotten(shop: Shop, chance: random.Random) -> None:
    shop.redis.flushall()


def _scripts(shop: Shop, chance: random.Random) -> None:
    shop.redis.script_flush()


def _paused(shop: Shop, chance: random.Random) -> None:
    shop.redis.client_pause(int(1000 * SECONDS), all=True)


MENU: tuple[Fault, ...] = (_backend, _statement, _lock, _read_only)
OF_REDIS: tuple[Fault, ...] = (_connections, _forgotten, _scripts, _paused)


def _postmaster(shop: Shop, chance: random.Random) -> None:
    pid = int((Path(_folder(shop)) / "data/postmaster.pid").read_text().split()[0])
    kill_and_start_again(Path(_folder(shop)), pid, lambda: psycopg.connect(shop.dsn).close() is None)
    shop.admin = psycopg.connect(shop.dsn, autocommit=True)


def _valkey(shop: Shop, chance: random.Random) -> None:
    folder = Path(unquote(urlsplit(shop.redis_url).path)).parent
    kill_and_start_again(folder, shop.redis.info("server")["process_id"], shop.redis.ping)


def _folder(shop: Shop) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(shop.dsn)["host"])


class Customers:
    """Order one after another, each with an id of its own, sent again until it is told, or given up.

    On asyncio, as orders are served, in a thread beside the faults.
    """

    def __init__(self, dsn: str, redis_url: str, name: str) -> None:
        self.told: dict[UUID, bool] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(dsn, redis_url, name),))

    async def _serve(self, dsn: str, redis_url: str, name: str) -> None:
        async with (
            clients.async_pool(dsn, min_size=CLIENTS, max_size=CLIENTS, timeout=1) as pool,
            clients.async_redis_client(redis_url, 0.2) as redis,
        ):
            service = OrderService(pool, strategy(name), redis)
            await asyncio.gather(*(self._order(service, number) for number in range(CLIENTS)))

    async def _order(self, service: OrderService, client: int) -> None:
        number = 10_000_000 * (client + 1)
        while not self._over.is_set():
            number += 1
            wanted = order(450, number=number)
            for _ in range(5):
                with contextlib.suppress(OrderFailed, psycopg.Error), deadline.within(5 if number % 2 else None):
                    self.told[wanted.id] = (await service.create(wanted)).order_id == wanted.id
                    break
                await asyncio.sleep(0.01)

    def __enter__(self) -> Customers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)


@contextmanager
def _as_menu(shop: Shop) -> Iterator[str]:
    """A role of the service's own, so that its sessions are told from others."""
    shop.admin.execute("create role menu superuser login password 'menu'")
    try:
        yield psycopg.conninfo.make_conninfo(shop.dsn, user="menu", password="menu", application_name="menu")
    finally:
        shop.admin.execute(f"select pg_terminate_backend(pid) from {SESSIONS}")
        shop.admin.execute("drop role menu")


CAPACITIES = """
update slots set capacity_override = case when start_time < %s then %s else 1000000000 end"""
SOLD = """
select slots.id, sum(final_price) > capacity from orders join slots on slots.id = target_slot_id group by slots.id"""
"""The slots of an hour are soon full, and no machine is so fast that the day is."""


def _survives(shop: Shop, name: str, menu: tuple[Fault, ...], faults: int) -> None:
    chance = random.Random(f"{name} {faults}")
    shop.admin.execute(CAPACITIES, [NOON + timedelta(hours=1), 200 * faults])
    with _as_menu(shop) as dsn, Customers(dsn, shop.redis_url, name) as customers:
        for _ in range(faults):
            before = len(customers.told)
            chance.choice(menu)(shop, chance)
            _until(lambda before=before: len(customers.told) > before)
    saved = {id for (id,) in shop.admin.execute("select id from orders").fetchall()}
    assert {id for id, is_its in customers.told.items() if is_its} <= saved, "acknowledged and lost"
    assert all(customers.told.values())
    assert len(saved) == shop.count(), "doubled"
    sold = shop.admin.execute(SOLD).fetchall()
    assert [id for id, is_over in sold if is_over] == [], "oversold"
    assert len(sold) > 1, "one at least is full"
    assert (reconciled(shop) if strategy(name).load is Load.REDIS else shop.wrong(name)) == []


def _until(true: Callable[[], bool], seconds: float = 30) -> None:
    """After each fault somebody is served again."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if true():
            return
        waited.wait(0.005)
    raise AssertionError(f"nobody was served for {seconds:g} s")


@pytest.mark.parametrize("name", ["one-statement", "redis-lua-idempotent"])
def test_thirty_faults(shop: Shop, name: str) -> None:
    """Of sessions, statements, locks and writing; and of all that Redis can do, its memory lost included."""
    _survives(shop, name, MENU + (OF_REDIS if strategy(name).load is Load.REDIS else ()), 30)


PROMISING = [name for name, one in STRATEGIES.items() if one.promises and one.idempotent and one.capacity is None]


@pytest.fixture(scope="module")
def own() -> Iterator[tuple[str, str]]:
    """Servers that may be killed."""
    postgres, dsn = start_postgres()
    valkey, url = start_valkey()
    yield dsn, url
    valkey.close()
    postgres.close()


@pytest.mark.server
@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PROMISING)
def test_a_thousand_faults(own: tuple[str, str], name: str) -> None:
    """Shared by all strategies that promise it; one in twelve kills a server, with a checkpoint long ago."""
    kills: tuple[Fault, ...] = (_postmaster,)
    menu = 3 * MENU
    if strategy(name).load is Load.REDIS:
        menu, kills = 2 * (MENU + OF_REDIS), (_postmaster, _valkey)
    with fresh(*own) as shop:
        _survives(shop, name, menu + kills, 1000 // len(PROMISING) + 1)
