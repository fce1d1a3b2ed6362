"""Lock the slot's row as it is read; then nobody can change what the decision rests on.

Guarantees: no slot above capacity at READ COMMITTED, where a locked row is read as its last writer left it, and checked
again. Inside REPEATABLE READ or SERIALIZABLE the snapshot is older than the lock: after the wait comes 40001.
Costs: all orders of a slot queue for its row, and a waiter may starve; nobody is refused.
"""

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy

LOCK = FIND_SLOT + " for update"
WRITE = "update slots set booked = %s where id = %s"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        found = await session.row(LOCK, wanted(order, window), may_wait=True)
        if found is None:
            return None
        slot, booked = Slot(id=found[0], start=found[1]), found[2]
        await insert_order(session, order, slot, (WRITE, (booked + order.final_price, slot.id)))
    return slot


STRATEGY = Strategy("select-for-update", book)
