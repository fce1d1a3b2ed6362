"""Check and book in one Lua script, then save the order: the documented script, and READ COMMITTED.

Guarantees: no slot above capacity at any level, because Redis runs one script at a time; the level of the insert has
no part in it. As long as nothing fails: see `orders.documented` for what happens when something does.
Costs: one EVAL and one INSERT.
"""

from zephyr_lab.orders.documented import CAPACITY, DocumentedSlots, release_as_documented
from zephyr_lab.orders.errors import SlotsFull
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import insert_order
from zephyr_lab.orders.strategies.base import Load, Strategy


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    slots = DocumentedSlots(session.redis)
    try:
        slot = await slots.assign_slot(order.id, order.final_price, window)
    except SlotsFull:
        return None
    try:
        async with session.transaction():
            await insert_order(session, order, slot)
    except Exception:
        await slots.release_slot(order.id)
        raise
    return slot


STRATEGY = Strategy(
    "redis-lua", book, load=Load.REDIS, release=release_as_documented, idempotent=False, capacity=CAPACITY
)
