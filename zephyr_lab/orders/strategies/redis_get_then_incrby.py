"""Ask Redis for the load, and add to it if it fits: check, then act, in two commands.

Guarantees: nothing, at any isolation level: PostgreSQL sees orders with different ids, which are independent.
Costs: two commands and an insert; a crash between them leaks capacity.
"""

from zephyr_lab.orders.documented import CAPACITY
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session, maybe_await
from zephyr_lab.orders.statements import insert_order
from zephyr_lab.orders.strategies.base import Load, Strategy, release_nothing


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    for slot in window.slots():
        load = int(await maybe_await(session.redis.get(slot.id)) or 0)
        if load + order.final_price <= CAPACITY:
            await maybe_await(session.redis.incrby(slot.id, order.final_price))
            async with session.transaction():
                await insert_order(session, order, slot)
            return slot
    return None


STRATEGY = Strategy(
    "redis-get-then-incrby",
    book,
    load=Load.REDIS,
    release=release_nothing,
    promises=False,
    idempotent=False,
    capacity=CAPACITY,
)
