"""Write back only if the slot's version is still the one that was read; else run the whole transaction again.

Guarantees: no slot above capacity at any level.
Costs: optimistic, so on a hot slot most attempts fail as with REPEATABLE READ, and five attempts may not be enough.
"""

from uuid import UUID

from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import SlotChanged
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy

WRITE = "update slots set booked = %s, version = version + 1 where id = %s and version = %s"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        found = await session.row(FIND_SLOT, wanted(order, window))
        if found is None:
            return None
        id, start, booked, version = found
        if not await session.change(WRITE, (booked + order.final_price, id, version), may_wait=True):
            raise SlotChanged(f"{id} is not at version {version} any more")
        slot = Slot(id=id, start=start)
        await insert_order(session, order, slot)
    return slot


async def release(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """With a new version: a booking that has read the counter before would write it back."""
    freed = "update slots set booked = booked - %s, version = version + 1 where id = %s"
    await session.change(freed, (price, slot_id), may_wait=True)


STRATEGY = Strategy("version-column", book, retry=retry.SAVE, release=release)
