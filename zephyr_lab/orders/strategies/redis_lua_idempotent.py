"""Check and book in one Lua script that knows the order's id, then save the order; what a crash leaves is reconciled.

Guarantees: no slot above capacity at any level, and an order that is sent again, after whatever error, has one place. A
crash between Redis and COMMIT leaves a place without an order, until `reconcile` voids the id and frees the place.
Costs: one EVAL and one INSERT; a job that reconciles.
"""

from uuid import UUID

import psycopg

from zephyr_lab.orders.errors import SlotsFull
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.slots import RedisSlots
from zephyr_lab.orders.statements import insert_order
from zephyr_lab.orders.strategies.base import Load, Strategy


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    slots = RedisSlots(session.redis)
    try:
        slot = await slots.assign_slot_with_retry(session, order.id, order.final_price, window, order.created_at)
    except SlotsFull:
        return None
    try:
        async with session.transaction():
            await insert_order(session, order, slot)
    except (psycopg.errors.IntegrityError, psycopg.errors.ProgrammingError, psycopg.errors.DataError):
        # The server has said no, so the order is not there and will not be. After any other error it may be.
        await slots.release_slot(order.id, window.day)
        raise
    return slot


async def release(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """After the COMMIT that cancels the order; if it does not come to that, `reconcile` does it."""
    await RedisSlots(session.redis).release_slot(order_id, Slot.of_id(slot_id).day)


STRATEGY = Strategy("redis-lua-idempotent", book, load=Load.REDIS, release=release)
