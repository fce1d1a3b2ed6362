"""Queue for an advisory lock in a transaction of its own; begin the SERIALIZABLE one only when it is held.

Guarantees: no slot above capacity at any level, and nobody is refused, because no two bookings of a day overlap.
Costs: eight round trips, and the lock belongs to the session: it must be given back, on every way out.
"""

from contextlib import suppress

import psycopg
from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.strategies import read_then_write
from zephyr_lab.orders.strategies.base import Strategy

LOCK = "select pg_advisory_lock(hashtextextended('slots of ' || %s::text, 0))"
UNLOCK = "select pg_advisory_unlock(hashtextextended('slots of ' || %s::text, 0))"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    day = (window.day.isoformat(),)
    async with session.transaction():
        await session.rows(LOCK, day, may_wait=True)
    try:
        return await read_then_write.book(session, order, window)
    finally:
        with suppress(psycopg.OperationalError):  # a lost connection has let go of its locks
            async with session.transaction():
                await session.rows(UNLOCK, day)


STRATEGY = Strategy(
    "advisory-lock-before-snapshot", book, isolation=IsolationLevel.SERIALIZABLE, retry=retry.SAVE
)  # fmt: skip
