"""What a strategy is: a way to find a slot with room, book it, and save the order in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session, run_sync

Book = Callable[[Session, Order, Window], Awaitable[Slot | None]]
Release = Callable[[Session, UUID, str, int], Awaitable[None]]
Prepare = Callable[[Session, date], Awaitable[object]]


class Load(StrEnum):
    """Where a strategy keeps how many roubles a slot has taken."""

    ORDERS = "orders"  # nowhere else: the sum of the orders
    SLOTS = "slots"  # the column slots.booked
    REDIS = "redis"


async def release_slot(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """Subtracts a cancelled order's roubles from slots.booked, in the transaction that cancels it."""
    await session.change("update slots set booked = booked - %s where id = %s", (price, slot_id), may_wait=True)


async def release_nothing(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """Does nothing: the load is the sum of the orders."""


@dataclass(frozen=True)
class Strategy:
    """`book` runs one transaction on a session, and gives the slot, or None where all are full.

    It raises AlreadyCreated where the order's id is taken, and lets the server's errors through. `isolation` is the
    level it is meant for, None the server's own. `retry` says how often a refused transaction is run again.
    `release` gives an order's place back: inside the transaction that cancels it; where the load is in Redis, after.
    `prepare` is called before a day's first order, by one for all.
    `promises`: no slot above its capacity at that level. `idempotent`: an order that comes twice is booked once.
    `needs_session`: it keeps something in its session between transactions, so a pooler must not come between.
    `capacity`: what it takes every slot to have, whatever the table says. `documentation` is the docstring of its file.
    """

    name: str
    book: Book
    isolation: IsolationLevel | None = None
    retry: retry.Policy | None = None
    load: Load = Load.SLOTS
    release: Release = release_slot
    prepare: Prepare | None = None
    promises: bool = True
    idempotent: bool = True
    capacity: int | None = None
    needs_session: bool = False
    documentation: str = ""

    async def attempt(self, session: Session, order: Order, window: Window) -> Slot | None:
        """Books with the strategy's own retries, on one connection."""
        if self.retry is None:
            return await self.book(session, order, window)
        return await self.retry.call(self.book, session, order, window, sleep=session.sleep)

    def run(
        self, connection: Any, order: Order, window: Window, redis: Any = None, isolation: IsolationLevel | None = None
    ) -> Slot | None:
        """`attempt` on synchronous connections, at `isolation`, or at the connection's own level."""
        return run_sync(self.attempt(Session(connection, redis, isolation), order, window))
