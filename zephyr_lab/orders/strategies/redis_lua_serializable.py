"""Check and book in one Lua script, then save the order at SERIALIZABLE with five attempts: the documented fix.

Guarantees: no slot above capacity, thanks to Lua. SERIALIZABLE has nothing to do here: orders with different ids do not
meet, and the slots are not in PostgreSQL.
Costs: as `redis-lua`, and a transaction that is never refused.
"""

from psycopg import IsolationLevel

from zephyr_lab.orders import retry
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

    async def save() -> None:
        async with session.transaction():
            await insert_order(session, order, slot)

    try:
        await retry.SAVE.call(save, sleep=session.sleep)
    except Exception:
        await slots.release_slot(order.id)
        raise
    return slot


STRATEGY = Strategy(
    "redis-lua-serializable",
    book,
    isolation=IsolationLevel.SERIALIZABLE,
    load=Load.REDIS,
    release=release_as_documented,
    idempotent=False,
    capacity=CAPACITY,
)
