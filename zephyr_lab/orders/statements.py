"""The two statements that most strategies share, and their parameters."""

from __future__ import annotations

from typing import Any

from zephyr_lab.orders.errors import AlreadyCreated
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Params, Session

FIND_SLOT = """
select id, start_time, booked, version from slots
where start_time between %(first)s and %(last)s and not is_disabled and booked + %(price)s <= capacity
order by start_time limit 1"""
"""The first slot with room. Strategies differ in what of it they lock, and when."""

ORDER_COLUMNS = ", ".join(Order.model_fields)
ORDER_VALUES = ", ".join(f"%({name})s" for name in Order.model_fields)

# An id that is taken inserts nothing, whatever month its order is in.
INSERT_ORDER = f"""
with registered as (
    insert into order_ids (id, created_at, digest) values (%(id)s, %(created_at)s, %(digest)s)
    on conflict (id) do nothing returning id)
insert into orders ({ORDER_COLUMNS}) select {ORDER_VALUES} from registered"""

PLACE = """
select target_slot_id, final_price from orders join order_ids using (id, created_at)
where id = %s and cancelled_at is null"""
"""The place of a saved order, by its id: none where it is cancelled, or was voided."""


def wanted(order: Order, window: Window) -> dict[str, Any]:
    """The parameters of FIND_SLOT."""
    return {"first": window.first, "last": window.last, "price": order.final_price}


async def insert_order(session: Session, order: Order, slot: Slot, *before: tuple[str, Params]) -> None:
    """Saves an order in a slot, after other statements. Raises AlreadyCreated if its id is taken."""
    insert = INSERT_ORDER, {**order.placed(slot).row(), "digest": order.digest}
    if not (await session.changes(*before, insert, may_wait=True))[-1]:
        raise AlreadyCreated(f"the id {order.id} is taken")
