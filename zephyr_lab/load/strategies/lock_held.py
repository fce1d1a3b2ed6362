"""`select-for-update` that keeps the slot's row for a while before it commits: what a wait costs, as a condition.

The pause is where a service does something else while it holds a row: a call to a payment service, a slow insert, a
garbage collection. It is part of what is measured; nothing is synchronised by it.
"""

from __future__ import annotations

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy
from zephyr_lab.orders.strategies.select_for_update import LOCK, WRITE

PAUSES = (0, 1, 2, 5, 20)
"""Milliseconds between taking the row and COMMIT, added to what the booking takes by itself."""


def held(milliseconds: int) -> Strategy:
    """`held-5ms`; with 0 the pause is a statement that returns at once, so that all send the same messages."""

    async def book(session: Session, order: Order, window: Window) -> Slot | None:
        async with session.transaction():
            found = await session.row(LOCK, wanted(order, window), may_wait=True)
            if found is None:
                return None
            slot, booked = Slot(id=found[0], start=found[1]), found[2]
            await session.rows("select pg_sleep(%s)", (milliseconds / 1000,))
            await session.change(WRITE, (booked + order.final_price, slot.id))
            await insert_order(session, order, slot)
        return slot

    return Strategy(f"held-{milliseconds}ms", book)


HELD: dict[str, Strategy] = {one.name: one for one in map(held, PAUSES)}
"""By name; `zephyr-lab incident --strategy` takes them, `--strategy all` leaves them out."""
