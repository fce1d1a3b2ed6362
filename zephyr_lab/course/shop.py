"""The order service in a notebook: on a lab's servers and a fixed day, its accounts as a table and a picture."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pandas as pd
import psycopg
from psycopg_pool import ConnectionPool

from zephyr_lab.orders import schema
from zephyr_lab.orders.days import open_day
from zephyr_lab.orders.documented import DocumentedSlots
from zephyr_lab.orders.example import NOW
from zephyr_lab.orders.models import Item, Order, Plan, Window
from zephyr_lab.orders.reconcile import Difference, SlotMoney, money, reconcile
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.session import Session, run_sync
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.strategies import strategy
from zephyr_lab.views.figure import Picture
from zephyr_lab.views.slots import slot_chart


class Shop:
    """It is Monday, 17:00 UTC, in the far future: orders go into the slots from then on, of 100,000 roubles each.

    `lab` is a `Lab` of its own, whose schema gets the service's tables. `db` is an autocommit connection for queries.
    """

    def __init__(self, lab: Any, now: datetime = NOW) -> None:
        self.lab, self.now, self.plan = lab, now, Plan()
        self.db: psycopg.Connection[Any] = lab.connect()
        with self.db.transaction():
            self.db.execute(schema.schema())
            self.db.execute(schema.WORKING_HOURS.format(capacity=self.plan.capacity).encode())
            self.db.execute("select ensure_orders_partitions(1, %s)", [now])
            self.db.execute("select plan_slots(%s)", [now.date()])
        self.redis = lab.redis
        self._pool = ConnectionPool(lab.conninfo(), min_size=1, max_size=25)
        self._numbers = itertools.count(1)

    @property
    def window(self) -> Window:
        """The slots that an order may be booked in now."""
        return self.plan.window(self.now)

    def order(self, price: int, number: int | None = None, **fields: Any) -> Order:
        """An order of one pizza at this price; its id is `number`, or the next one."""
        items = [Item.checked(pizza_name="Margherita", quantity=1, price=price)]
        number = next(self._numbers) if number is None else number
        return Order.of(items, id=UUID(int=number), now=self.now, **{"customer_id": 1, **fields})

    def service(self, name: str) -> OrderService:
        """The service with a strategy."""
        return OrderService(self._pool, strategy(name), self.redis, self.plan)

    def create(self, name: str, order: Order) -> Any:
        """Creates an order by the service; returns its answer to the client."""
        return run_sync(self.service(name).create(order))

    def connection(self) -> contextlib.AbstractContextManager[psycopg.Connection[Any]]:
        """A connection of the pool, autocommit off."""
        return self._pool.connection()

    @contextlib.contextmanager
    def connection_that_loses_an_answer(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that breaks after its COMMIT is carried out. (A test does the same by a proxy.)"""
        connection = self._pool.getconn()

        def commit() -> None:
            psycopg.Connection.commit(connection)
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        connection.commit = commit  # type: ignore[method-assign]
        pool_log = logging.getLogger("psycopg.pool")
        pool_log.disabled = True  # that a broken connection comes back is the point
        try:
            yield connection
        finally:
            self._pool.putconn(connection)
            pool_log.disabled = False

    def at_once(self, do: Callable[[Order], Any], orders: Iterable[Order], clients: int = 25) -> list[Any]:
        """Calls `do` with every order, from many threads; returns results and errors in the order of `orders`."""

        def caught(order: Order) -> Any:
            try:
                return do(order)
            except Exception as error:
                return error

        with ThreadPoolExecutor(clients) as threads:
            return list(threads.map(caught, orders))

    def reconcile(self, *, repair: bool = False, hours: int = 2) -> list[Difference]:
        """The differences of Redis from the orders, some hours later."""
        with self.connection() as connection:
            later = self.now + timedelta(hours=hours)
            slots = RedisSlots(self.redis)
            return run_sync(reconcile(Session(connection), self.now.date(), slots, repair=repair, now=later))

    def money(self, *, documented: bool = False) -> pd.DataFrame:
        """The slots with money in any account, in roubles; with `documented`, Redis by the documented keys."""
        slots: Any = DocumentedSlots(self.redis) if documented else RedisSlots(self.redis)
        with self.connection() as connection:
            accounts: list[SlotMoney] = run_sync(money(Session(connection), self.now.date(), slots))
        rows = [
            {
                "slot": f"{one.slot.start:%H:%M}",
                "orders": one.orders,
                "booked": one.booked,
                "redis": one.redis or 0,
                "capacity": one.capacity,
                "over": one.over,
            }
            for one in accounts
            if one.orders or one.booked or one.redis
        ]
        return pd.DataFrame(rows, columns=["slot", "orders", "booked", "redis", "capacity", "over"]).set_index("slot")

    def picture(self, *accounts: str, documented: bool = False) -> Picture:
        """The same as bars, for some accounts: orders, booked, redis."""
        table = self.money(documented=documented)
        chosen = {name: [int(one) for one in table[name]] for name in accounts or ("orders", "booked")}
        return slot_chart(list(table.index), chosen, [int(one) for one in table["capacity"]], table.to_string())

    def rows(self, query: str, *params: Any) -> pd.DataFrame:
        """The rows of a query, as a table."""
        cursor = self.db.execute(query.encode(), params or None)
        return pd.DataFrame(cursor.fetchall(), columns=[one.name for one in cursor.description or ()])

    def sqlstate(self, statement: str, params: Any = None) -> str:
        """The SQLSTATE of a statement's error, and its name; 'ok' if it succeeds."""
        try:
            self.db.execute(statement.encode(), params)
        except psycopg.Error as error:
            return f"{error.sqlstate} {type(error).__name__}: {error.diag.message_primary}"
        return "ok"

    def empty(self) -> None:
        """Deletes all orders and bookings, and opens the day in Redis."""
        self.db.execute("truncate orders, order_ids, slot_ledger, slot_bookings; update slots set booked = 0")
        self.redis.flushdb()
        with self.connection() as connection:
            run_sync(open_day(Session(connection), RedisSlots(self.redis), self.now.date()))

    def close(self) -> None:
        self._pool.close()
        self.db.close()
        self.lab.close()


def told(call: Callable[[], Any]) -> str:
    """The result of a call, or the error that it raises, with the SQLSTATE of its cause."""
    try:
        return str(call())
    except Exception as error:
        state = getattr(error.__cause__, "sqlstate", None)
        return f"{type(error).__name__}: {error}" + (f" (from {state})" if state else "")
