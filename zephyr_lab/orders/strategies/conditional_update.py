"""Let the UPDATE ask again: `where booked + price <= capacity`. No row updated means full, and the next slot is tried.

Guarantees: no slot above capacity at any level. At READ COMMITTED the condition is checked on the row as the last
transaction left it, after the wait for it (manual, 13.2.1), and nobody is refused.
Costs: the slots found with room are only a guess, so an order may knock at several; above READ COMMITTED 40001.
"""

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy

WITH_ROOM = FIND_SLOT.removesuffix(" limit 1")
UPDATE = "update slots set booked = booked + %(price)s where id = %(id)s and booked + %(price)s <= capacity"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        for id, start, *_ in await session.rows(WITH_ROOM, wanted(order, window)):
            if await session.change(UPDATE, {"price": order.final_price, "id": id}, may_wait=True):
                slot = Slot(id=id, start=start)
                await insert_order(session, order, slot)
                return slot
    return None


STRATEGY = Strategy("conditional-update", book)
