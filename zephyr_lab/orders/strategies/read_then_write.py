"""Read the slot's load, write back the sum: the lost update.

Guarantees: nothing at READ COMMITTED; the later of two writes forgets the earlier one, and the counter then lets in
far more than fits. At REPEATABLE READ and SERIALIZABLE the later one is refused with 40001 instead.
Costs: three round trips and COMMIT.
"""

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy

WRITE = "update slots set booked = %s where id = %s"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        found = await session.row(FIND_SLOT, wanted(order, window))
        if found is None:
            return None
        slot, booked = Slot(id=found[0], start=found[1]), found[2]
        await insert_order(session, order, slot)
        await session.change(WRITE, (booked + order.final_price, slot.id), may_wait=True)
    return slot


STRATEGY = Strategy("read-then-write", book, promises=False)
