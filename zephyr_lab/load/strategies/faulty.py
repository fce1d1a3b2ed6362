"""Services with a mistake in them, for the report to find. Each was seen in the wild; none is to be used.

`no-capacity-check` forgets the condition. `retry-around-the-write` runs only the writing transaction again, with the
load that it had read before. `swallowed-40001` tells the customer that all is well.
"""

from __future__ import annotations

import psycopg
from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, insert_order, wanted
from zephyr_lab.orders.strategies import read_then_write
from zephyr_lab.orders.strategies.base import Strategy

ADD = "update slots set booked = booked + %s where id = %s"
WRITE = "update slots set booked = %s where id = %s"


async def without_check(session: Session, order: Order, window: Window) -> Slot | None:
    """Books the first slot, full or not."""
    slot = window.slots()[0]
    async with session.transaction():
        await session.change(ADD, (order.final_price, slot.id), may_wait=True)
        await insert_order(session, order, slot)
    return slot


async def retry_around_the_write(session: Session, order: Order, window: Window) -> Slot | None:
    """Decides once, outside of the part that is run again."""
    async with session.transaction():
        found = await session.row(FIND_SLOT, wanted(order, window))
    if found is None:
        return None
    slot, booked = Slot(id=found[0], start=found[1]), found[2]

    async def write() -> None:
        async with session.transaction():
            await insert_order(session, order, slot)
            await session.change(WRITE, (booked + order.final_price, slot.id), may_wait=True)

    await retry.SAVE.call(write, sleep=session.sleep)
    return slot


async def swallowed(session: Session, order: Order, window: Window) -> Slot | None:
    """Catches the refusal, and reports success."""
    try:
        return await read_then_write.book(session, order, window)
    except psycopg.errors.SerializationFailure:
        return window.slots()[0]


WRONG: dict[str, Strategy] = {
    one.name: one
    for one in (
        Strategy("no-capacity-check", without_check, promises=False),
        Strategy(
            "retry-around-the-write", retry_around_the_write, isolation=IsolationLevel.SERIALIZABLE, promises=False
        ),
        Strategy("swallowed-40001", swallowed, isolation=IsolationLevel.SERIALIZABLE, promises=False),
    )
}
"""By name; `zephyr-lab incident --strategy` takes them, `--strategy all` leaves them out."""
