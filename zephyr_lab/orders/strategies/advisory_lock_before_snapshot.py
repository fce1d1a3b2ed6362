"""Queue for an advisory lock first; begin the SERIALIZABLE transaction only when it is held.

Guarantees: no slot above capacity at any level, and nobody is refused, because no two bookings of a day overlap.
Costs: two round trips more, and the lock belongs to the session: it must be given back, on every way out.
"""

import psycopg
from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session, maybe_await
from zephyr_lab.orders.strategies import read_then_write
from zephyr_lab.orders.strategies.base import Strategy

LOCK = "select pg_advisory_lock(hashtextextended('slots of ' || %s::text, 0))"
UNLOCK = "select pg_advisory_unlock(hashtextextended('slots of ' || %s::text, 0))"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    day = (window.day.isoformat(),)
    try:
        await session.alone(LOCK, day, may_wait=True)
    except BaseException:
        await maybe_await(session.connection.close())  # cancelled, say: whether the lock is held is not known
        raise
    try:
        return await read_then_write.book(session, order, window)
    finally:
        try:
            await session.alone(UNLOCK, day)
        except BaseException as error:  # lost, out of time, cancelled: a closed connection has let go of its locks
            await maybe_await(session.connection.close())
            if not isinstance(error, psycopg.OperationalError):
                raise


STRATEGY = Strategy(
    "advisory-lock-before-snapshot",
    book,
    isolation=IsolationLevel.SERIALIZABLE,
    retry=retry.SAVE,
    needs_session=True,
)
