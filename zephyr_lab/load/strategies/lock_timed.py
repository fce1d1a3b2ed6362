"""`select-for-update` by a function that times its own wait for the lock: a second opinion on what sampling says."""

from __future__ import annotations

from typing import Any

import psycopg

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import insert_order
from zephyr_lab.orders.strategies.base import Strategy
from zephyr_lab.orders.strategies.select_for_update import WRITE
from zephyr_lab.shipped import shipped

LOCK = "select * from lock_slot_timed(%s, %s, %s, %s)"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        asked = (order.id, window.first, window.last, order.final_price)
        found = await session.row(LOCK, asked, may_wait=True)
        if found is None:
            return None
        slot, booked = Slot(id=found[0], start=found[1]), found[2]
        await session.change(WRITE, (booked + order.final_price, slot.id))
        await insert_order(session, order, slot)
    return slot


STRATEGY = Strategy("select-for-update-timed", book)


def install(connection: psycopg.Connection[Any]) -> None:
    """Creates the function and its table in the connection's schema."""
    connection.execute(shipped("sql", "load", "lock_slot_timed.sql").read_bytes())
