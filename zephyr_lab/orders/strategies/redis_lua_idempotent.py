"""Check and book in one Lua script that knows the order's id, then save the order; what a crash leaves is reconciled.

Guarantees: no slot above capacity at any level, and an order that is sent again, after whatever error, has one place. A
crash between Redis and COMMIT leaves a place without an order, until `reconcile` voids the id and frees the place. A
Redis that has lost its data sells nothing: the day is opened anew, from PostgreSQL's orders.
Costs: one EVAL and one INSERT; a job that reconciles.
"""

from datetime import date
from uuid import UUID

import psycopg

from zephyr_lab.orders.days import insert_booked, open_day
from zephyr_lab.orders.errors import AlreadyCreated, DayNotOpen, ServiceUnavailable, SlotsFull
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.slots import Place, RedisSlots
from zephyr_lab.orders.statements import PLACE
from zephyr_lab.orders.strategies.base import Load, Strategy

OPENINGS = 3
"""How often a day is opened for an order, before it is told to come later."""


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    slots = RedisSlots(session.redis)
    for _ in range(OPENINGS):
        try:
            return await _book(session, slots, order, window)
        except DayNotOpen:
            await open_day(session, slots, window.day)
    raise ServiceUnavailable(f"Redis has lost {window.day} {OPENINGS} times; send the order again with the same id")


async def _book(session: Session, slots: RedisSlots, order: Order, window: Window) -> Slot | None:
    try:
        place = await slots.assign_slot_with_retry(session, order.id, order.final_price, window, order.created_at)
    except SlotsFull:
        return None
    try:
        await insert_booked(session, order, place)
    except AlreadyCreated:
        await _release_second(session, slots, order, place)
        raise
    except (psycopg.errors.IntegrityError, psycopg.errors.ProgrammingError, psycopg.errors.DataError):
        # The server has said no, so the order is not there and will not be. After any other error it may be.
        await slots.release_slot(order.id, place.slot.day)
        raise
    return place.slot


async def _release_second(session: Session, slots: RedisSlots, order: Order, place: Place) -> None:
    """The order was saved on another day, or is cancelled, or voided: it will never be saved in this place."""
    async with session.transaction():
        saved = await session.row(PLACE, (order.id,))
    if saved is None or saved[0] != place.slot.id:
        await slots.release_slot(order.id, place.slot.day)


async def release(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """After the COMMIT that cancels the order; if it does not come to that, `reconcile` does it."""
    await RedisSlots(session.redis).release_slot(order_id, Slot.of_id(slot_id).day)


async def prepare(session: Session, day: date) -> None:
    await open_day(session, RedisSlots(session.redis), day)


STRATEGY = Strategy("redis-lua-idempotent", book, load=Load.REDIS, release=release, prepare=prepare)
