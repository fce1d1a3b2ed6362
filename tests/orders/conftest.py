"""Servers of the order service's own, a fresh schema for each test, and the statement that holds after each of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from zephyr_lab.orders import schema
from zephyr_lab.orders.days import open_day
from zephyr_lab.orders.models import Item, Order, menu
from zephyr_lab.orders.observer import Observer
from zephyr_lab.orders.reconcile import SlotMoney, money, wrong
from zephyr_lab.orders.service import POOL, OrderService
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import Load, strategy
from zephyr_lab.servers import keyvalue
from zephyr_lab.servers.embedded import start_postgres, start_valkey

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
"""Of today: partitions are made from this month on."""

_numbers = itertools.count(1)


def order(
    price: int = 450, *, number: int | None = None, now: datetime = NOON, pizza: str = "Margherita", **fields: Any
) -> Order:
    """An order of one pizza at that price, with an id of its own."""
    items = [Item.checked(pizza_name=pizza, quantity=1, price=price)]
    number = next(_numbers) if number is None else number
    return Order.of(items, id=UUID(int=number), now=now, **{"customer_id": 1, **fields})


@dataclass
class Shop:
    """PostgreSQL and Valkey with the service's schema in them; `admin` is an autocommit connection."""

    dsn: str
    redis_url: str
    admin: psycopg.Connection[Any]
    redis: Any

    def connect(self) -> psycopg.Connection[Any]:
        """An ordinary connection, autocommit off."""
        return psycopg.connect(self.dsn)

    @contextmanager
    def service(self, name: str, observer: Observer | None = None, **settings: Any) -> Iterator[OrderService]:
        """A synchronous service with the write-up's pool."""
        with ConnectionPool(self.dsn, **{**POOL, "min_size": 1, **settings}) as pool:
            yield OrderService(pool, strategy(name), self.redis, None, observer or Observer())

    def open_day(self) -> None:
        """Opens today in Valkey, as the first order does."""
        with self.connect() as connection:
            run_sync(open_day(Session(connection), RedisSlots(self.redis), NOON.date()))

    def money(self, load: Load = Load.SLOTS) -> list[SlotMoney]:
        """Today's slots by their accounts."""
        slots = RedisSlots(self.redis) if load is Load.REDIS else None
        with self.connect() as connection:
            return run_sync(money(Session(connection), NOON.date(), slots))

    def wrong(self, name: str) -> list[str]:
        """What of the money statement does not hold, under a strategy's own accounts."""
        load = strategy(name).load
        return wrong(self.money(load), load)

    def count(self, table: str = "orders") -> int:
        (found,) = self.admin.execute(f"select count(*) from {table}").fetchone() or (0,)
        return int(found)


@pytest.fixture(scope="session")
def servers() -> Iterator[tuple[str, str]]:
    """A PostgreSQL and a Valkey for this folder's tests: DSN and URL."""
    postgres, dsn = start_postgres()
    valkey, url = start_valkey()
    yield dsn, url
    valkey.close()
    postgres.close()


@pytest.fixture
def shop(servers: tuple[str, str]) -> Iterator[Shop]:
    """Of this folder's servers."""
    with fresh(*servers) as made:
        yield made


@contextmanager
def fresh(dsn: str, url: str) -> Iterator[Shop]:
    """A fresh schema, with this month's and the next month's partition, today's slots, and an empty Valkey."""
    redis = keyvalue.client(url)
    redis.flushall()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("drop schema public cascade; create schema public; set timezone = 'UTC'")
        if admin.execute("select from pg_roles where rolname = 'pizza_admin'").rowcount:
            admin.execute("drop owned by pizza_admin; drop role pizza_admin")
        schema.install(admin)
        admin.execute("select plan_slots(%s)", [NOON.date()])
        yield Shop(dsn, url, admin, redis)
    redis.close()


__all__ = ["NOON", "Shop", "menu", "order"]
