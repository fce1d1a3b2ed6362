"""Send the order to a function that finds, locks, books and saves (sql/orders/create_order.sql).

Guarantees: no slot above capacity at READ COMMITTED, where each statement of the function takes a new snapshot. Above
it, 40001 after the wait.
Costs: one round trip, in which the server commits; part of the service lives in the database, and is deployed there.
"""

from zephyr_lab.orders.errors import AlreadyCreated
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.strategies.base import Strategy

CALL = """
select slot_id, is_new from create_order(
    jsonb_populate_record(null::orders, %(order)s), %(digest)s, %(first)s, %(last)s)"""


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    asked = {"order": order.as_json(), "digest": order.digest, "first": window.first, "last": window.last}
    id, is_new = await session.at_once(CALL, asked, may_wait=True) or (None, True)
    if not is_new:
        raise AlreadyCreated(f"the id {order.id} is taken")
    return None if id is None else Slot.of_id(id)


STRATEGY = Strategy("server-side-function", book)
