"""Take the first slot with room that nobody holds right now; wait only where every such slot is held.

Guarantees: no slot above capacity at READ COMMITTED, and nobody is told "full" while there is room.
Costs: slots fill side by side, so an order may get a later one than it could have; above READ COMMITTED 40001.
"""

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy

FREE = FIND_SLOT + " for update skip locked"
ANY = FIND_SLOT + " for update"
WRITE = "update slots set booked = %s where id = %s"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        asked = wanted(order, window)
        found = await session.row(FREE, asked) or await session.row(ANY, asked, may_wait=True)
        if found is None:
            return None
        slot, booked = Slot(id=found[0], start=found[1]), found[2]
        await insert_order(session, order, slot, (WRITE, (booked + order.final_price, slot.id)))
    return slot


STRATEGY = Strategy("skip-locked", book)
