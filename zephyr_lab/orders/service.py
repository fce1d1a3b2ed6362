"""OrderService: creates, saves, cancels and moves on orders, over a pool of connections.

What makes it whole, beside the documented one: an order's id is registered in the transaction that saves it, so that
whatever is sent again, by a client or by ourselves after an answer was lost, finds what is there. Nothing is released
but on the server's word that the order was not saved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date
from functools import cached_property
from typing import Any
from uuid import UUID

import psycopg
import psycopg_pool
from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.admission import Admission
from zephyr_lab.orders.days import SLOTS, bounds
from zephyr_lab.orders.enquiries import OrderState, SlotState, find_order, list_slots
from zephyr_lab.orders.errors import (
    AlreadyCreated,
    Closed,
    InvalidOrder,
    OrderUnknown,
    OrderVoided,
    SettingsRefused,
    SlotsFull,
    StatusRefused,
)
from zephyr_lab.orders.failures import is_lost, is_retryable_by_id, outcome_of, translating_errors
from zephyr_lab.orders.models import Day, Order, Plan, Slot, Status, Window
from zephyr_lab.orders.observer import Observer
from zephyr_lab.orders.session import Row, Session, maybe_await
from zephyr_lab.orders.statements import insert_order
from zephyr_lab.orders.strategies.base import Load, Strategy

POOL: dict[str, Any] = {"min_size": 10, "max_size": 25, "timeout": 5.0, "kwargs": {"prepare_threshold": 0}}
"""The write-up's pool: 25 connections, 10 of them kept idle; a statement is prepared when it is first sent."""

_REGISTERED = """
select orders.target_slot_id, orders.target_slot_start_time, orders.status, order_ids.digest, order_ids.voided
from order_ids left join orders on orders.id = order_ids.id and orders.created_at = order_ids.created_at
where order_ids.id = %s"""

_WRITE = "insert into readiness (at) values (clock_timestamp()) on conflict (id) do update set at = excluded.at"

SLOTS_SECONDS = 30.0
"""How long a service does not notice that a slot was added or removed; a capacity is looked at for each order."""

# The partition key with the id, or every partition would be looked at.
_LOCK_ORDER = """
select orders.status, orders.target_slot_id, orders.final_price, orders.created_at
from order_ids join orders on orders.id = order_ids.id and orders.created_at = order_ids.created_at
where order_ids.id = %s for update of orders"""


@dataclass(frozen=True)
class Created:
    """What a client is told. `is_new`: this call has saved it; otherwise an earlier one had."""

    order_id: UUID
    display_id: str
    status: Status
    slot: Slot
    is_new: bool


def _given_up(order: Order) -> OrderVoided:
    return OrderVoided(f"order {order.id} was given up; order again with another id")


@asynccontextmanager
async def _connection(pool: psycopg_pool.AsyncConnectionPool[Any], seconds: float | None = None) -> AsyncIterator[Any]:
    """A connection of the pool, which has it back as it was, or closed, wherever this task is cancelled.

    The pool's own context loses a connection if it is cancelled while it gives it back (psycopg_pool 3.3).
    """
    connection = await pool.getconn(seconds)
    level = connection.isolation_level
    try:
        async with connection:
            yield connection
    finally:
        if connection.autocommit or connection.pgconn.pipeline_status or connection.isolation_level != level:
            await connection.close()
        await asyncio.shield(pool.putconn(connection))


@dataclass
class OrderService:
    """Over a psycopg pool, synchronous or asyncio, and a redis-py client of the same kind where the strategy needs one.

    Its coroutines are awaited on asyncio; over synchronous connections they go through `session.run_sync`. A day's
    slots are those of the table `slots`, which `slot_plans` fills; with a `plan`, those of the plan, and `opened` are
    the days known to have them in the table. `admission` is the queue before an asyncio pool; without it the pool's
    own, which is endless.
    """

    pool: Any
    strategy: Strategy
    redis: Any = None
    plan: Plan | None = None
    observer: Observer = field(default_factory=Observer)
    opened: set[date] = field(default_factory=set)
    admission: Admission | None = None
    _days: dict[date, tuple[float, Day]] = field(default_factory=dict, repr=False)
    _loading: dict[date, asyncio.Lock] = field(default_factory=dict, repr=False)

    @asynccontextmanager
    async def session(self, isolation: IsolationLevel | None = None) -> AsyncIterator[Session]:
        """A session on a connection of the pool, for a `with` block. Raises Overloaded, TooLate."""
        wait = self.observer.waited
        if isinstance(self.pool, psycopg_pool.AsyncConnectionPool):
            if self.admission is None:
                async with _connection(self.pool) as connection:
                    yield Session(connection, self.redis, isolation, wait)
                return
            async with (
                self.admission.turn() as seconds,
                _connection(self.pool, seconds) as connection,
                self.admission.work(),
            ):
                yield Session(connection, self.redis, isolation, wait)
        else:
            with self.pool.connection() as connection:
                yield Session(connection, self.redis, isolation, wait)

    # -- create

    async def create(self, order: Order) -> Created:
        """Books a slot and saves the order, once, however often it is asked.

        Raises Closed, SlotsFull, InvalidOrder (an id that is taken by another order), OrderVoided, SettingsRefused,
        NotInstalled, ServiceUnavailable, TimedOut, and psycopg's SerializationFailure where all attempts were refused.
        """
        try:
            created: Created = await self._create(order)
        except BaseException as error:
            self.observer.order_ended(outcome_of(error))
            raise
        self.observer.order_ended("created" if created.is_new else "repeated")
        return created

    @translating_errors
    async def _create(self, order: Order) -> Created:
        try:
            window = await self._window(order)
        except Closed:
            if before := await self._registered(order):
                return before
            raise
        tries, was_lost = 0, False

        async def attempt() -> Slot | None:
            nonlocal tries, was_lost
            tries += 1
            self.observer.attempt_began()
            began = time.perf_counter()
            try:
                with self.observer.span("attempt", strategy=self.strategy.name, number=tries):
                    return await self._attempt(order, window, was_lost)
            except psycopg.OperationalError as error:
                was_lost = was_lost or is_lost(error)
                raise
            finally:
                self.observer.attempt_ended(time.perf_counter() - began)

        try:
            slot = await self._policy.call(attempt, sleep=self._sleep, refused=self.observer.refused)
        except AlreadyCreated:
            return await self._created_before(order)
        finally:
            self.observer.order_tried(tries - 1)
        if slot is None:
            # It may be this very order, sent before, that has filled the slot.
            if before := await self._registered(order):
                return before
            raise SlotsFull(f"no slot from {window.first:%H:%M} UTC on has room for {order.final_price} roubles today")
        return Created(order.id, order.display_id, order.status, slot, is_new=True)

    async def _attempt(self, order: Order, window: Window, was_lost: bool) -> Slot | None:
        async with self.session(self.strategy.isolation) as session:
            # What an attempt has saved may itself be why the next one finds the slot full, or changed.
            if was_lost and await self._is_known(session, order):
                raise AlreadyCreated(f"order {order.id} was saved by an attempt whose answer was lost")
            return await self.strategy.book(session, order, window)

    async def _is_known(self, session: Session, order: Order) -> bool:
        async with session.transaction():
            return await session.row("select 1 from order_ids where id = %s", (order.id,)) is not None

    @cached_property
    def _policy(self) -> retry.Policy:
        return replace(self.strategy.retry or retry.SAVE, wanted=is_retryable_by_id)

    async def _sleep(self, seconds: float) -> None:
        if isinstance(self.pool, psycopg_pool.AsyncConnectionPool):
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)

    async def _window(self, order: Order) -> Window:
        """The slots that are left for an order. Raises Closed, SettingsRefused."""
        if self.plan is None:
            return (await self._day(order.created_at.astimezone(UTC).date())).window(order.created_at)
        window = self.plan.window(order.created_at)
        if window.day not in self.opened:
            await self._day(window.day)
        return window

    async def _day(self, day: date) -> Day:
        """A day's slots, made when its first order comes, and read again from time to time.

        On asyncio one order reads them, and the others wait for it without a connection.
        """
        if found := self._fresh(day):
            return found
        if not isinstance(self.pool, psycopg_pool.AsyncConnectionPool):
            return await self._load(day)
        async with self._loading.setdefault(day, asyncio.Lock()):
            return self._fresh(day) or await self._load(day)

    def _fresh(self, day: date) -> Day | None:
        known = self._days.get(day)
        return known[1] if known and time.monotonic() - known[0] < SLOTS_SECONDS else None

    async def _load(self, day: date) -> Day:
        is_first = day not in self._days
        async with self.session() as session:
            async with session.transaction():
                await session.rows("select plan_slots(%s)", (day,))
                rows = await session.rows(SLOTS, bounds(day))
            self._check_settings(rows)
            if is_first and self.strategy.prepare:
                await self.strategy.prepare(session, day)
        slots = tuple((start, end) for _, start, end, *_ in rows)
        self._days[day] = time.monotonic(), Day(day=day, slots=slots)
        self.opened.add(day)
        return self._days[day][1]

    def _check_settings(self, rows: list[Row]) -> None:
        """Raises SettingsRefused."""
        for _, start, _, capacity, disabled in rows if self.strategy.capacity is not None else ():
            if disabled or capacity != self.strategy.capacity:
                raise SettingsRefused(
                    f"{self.strategy.name} has a capacity of {self.strategy.capacity} roubles in its code, and knows "
                    f"no disabled slot; the slot of {start.astimezone(UTC):%Y-%m-%d %H:%M} UTC is otherwise"
                )

    async def _created_before(self, order: Order) -> Created:
        if before := await self._registered(order):
            return before
        raise _given_up(order)

    async def _registered(self, order: Order) -> Created | None:
        """What is there under the order's id. Raises OrderVoided, InvalidOrder."""
        async with self.session() as session, session.transaction():
            known = await session.row(_REGISTERED, (order.id,))
        if known is None:
            return None
        slot_id, start, status, digest, voided = known
        if voided or slot_id is None:
            raise _given_up(order)
        if digest != order.digest:
            raise InvalidOrder("id", f"{order.id} is taken by an order with another content")
        return Created(order.id, order.display_id, Status(status), Slot(id=slot_id, start=start), is_new=False)

    # -- save

    @translating_errors
    async def save_order(self, order: Order, slot: Slot, isolation: IsolationLevel | None = None) -> None:
        """Saves an order in a slot that it has, at a level. Raises AlreadyCreated and psycopg's errors."""
        async with self.session(isolation) as session, session.transaction():
            await insert_order(session, order, slot)

    # -- what becomes of it

    @translating_errors
    async def set_status(self, order_id: UUID, status: Status) -> Status:
        """Moves an order on; gives the status that it had. Raises OrderUnknown, StatusRefused (never back)."""
        released: tuple[str, int] | None = None
        async with self.session() as session:
            async with session.transaction():
                found = await session.row(_LOCK_ORDER, (order_id,), may_wait=True)
                if found is None:
                    raise OrderUnknown(f"there is no order {order_id}")
                before, slot_id, price, created_at = found
                if before == status:
                    return Status(before)
                if before not in status.before:
                    raise StatusRefused(f"order {order_id} is {before}, and cannot become {status}")
                when = {"delivered": ", completed_at = now()", "cancelled": ", cancelled_at = now()"}.get(status, "")
                await session.change(
                    f"update orders set status = %s{when} where id = %s and created_at = %s",
                    (str(status), order_id, created_at),
                )
                if status is Status.CANCELLED and slot_id:
                    released = slot_id, price
                    if self.strategy.load is not Load.REDIS:
                        await self.strategy.release(session, order_id, slot_id, price)
            if released and self.strategy.load is Load.REDIS:
                await self.strategy.release(session, order_id, *released)
        return Status(before)

    async def cancel(self, order_id: UUID) -> bool:
        """Cancels an order and gives its place back, once; False if it was cancelled already."""
        return (
            await retry.SAVE.call(
                self.set_status, order_id, Status.CANCELLED, sleep=self._sleep, refused=self.observer.refused
            )
            is not Status.CANCELLED
        )

    @translating_errors
    async def order(self, order_id: UUID) -> OrderState:
        """What has become of an order. Raises OrderUnknown."""
        async with self.session() as session:
            found = await find_order(session, order_id)
        if found is None:
            raise OrderUnknown(f"there is no order {order_id}")
        return found

    @translating_errors
    async def slots(self, day: date) -> list[SlotState]:
        """The slots of a day (UTC) that are there."""
        async with self.session() as session:
            return await list_slots(session, day)

    async def ping(self) -> None:
        """Writes to PostgreSQL, and to Redis where the strategy needs it. Raises psycopg's and redis-py's errors."""
        async with self.session() as session, session.transaction():
            await session.change(_WRITE)
        if self.strategy.load is Load.REDIS:
            await maybe_await(self.redis.set("slots:ready", 1, ex=60))
