"""Queue for a number that stands for the day's slots, then read and write back.

Guarantees: no slot above capacity at READ COMMITTED, where each statement takes a new snapshot. Above it the snapshot
was taken by the very statement that waited for the lock: what is read is old, and the write is refused with 40001.
Costs: all bookings of a day queue, for whatever slot; who writes without the lock is not held up.
"""

from uuid import UUID

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy, release_slot

LOCK = "select pg_advisory_xact_lock(hashtextextended('slots of ' || %s::text, 0))"
WRITE = "update slots set booked = %s where id = %s"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        await session.rows(LOCK, (window.day.isoformat(),), may_wait=True)
        found = await session.row(FIND_SLOT, wanted(order, window))
        if found is None:
            return None
        slot, booked = Slot(id=found[0], start=found[1]), found[2]
        await insert_order(session, order, slot, (WRITE, (booked + order.final_price, slot.id)))
    return slot


async def release(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """Behind the same lock: a booking that has read the counter before would write it back."""
    await session.rows(LOCK, (Slot.of_id(slot_id).day.isoformat(),), may_wait=True)
    await release_slot(session, order_id, slot_id, price)


STRATEGY = Strategy("advisory-lock", book, release=release)
