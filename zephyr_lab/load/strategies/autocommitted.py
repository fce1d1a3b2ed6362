"""`server-side-function` as a transaction of its own: one message, and the server commits before it answers.

With BEGIN and COMMIT as messages of their own the slot's row is held while the client's answer is on its way, and a
client that is busy answers late; at a rate near one by that time the queue grows without end.
"""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg.types.json import Jsonb

from zephyr_lab.orders.errors import AlreadyCreated
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session, maybe_await
from zephyr_lab.orders.strategies.base import Strategy
from zephyr_lab.orders.strategies.server_side_function import CALL


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    sent = Jsonb(order.model_dump(mode="json"))
    asked = {"order": sent, "digest": order.digest, "first": window.first, "last": window.last}
    await maybe_await(session.connection.set_autocommit(True))  # nothing is sent
    try:
        id, is_new = await session.row(CALL, asked, may_wait=True) or (None, True)
    finally:
        with suppress(psycopg.Error):  # a connection that broke, or is given up in the middle, is not used again
            await maybe_await(session.connection.set_autocommit(False))
    if not is_new:
        raise AlreadyCreated(f"the id {order.id} is taken")
    return None if id is None else Slot.of_id(id)


STRATEGY = Strategy("server-side-function-alone", book)
