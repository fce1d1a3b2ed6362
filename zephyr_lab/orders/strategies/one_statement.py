"""Find, lock, book and save in one statement.

Guarantees: no slot above capacity at READ COMMITTED, where the row is looked at again after the wait for it. Above it,
40001 after the wait.
Costs: one round trip and COMMIT, so the row is held for the shortest time; the statement has to be read twice.
"""

from zephyr_lab.orders.errors import AlreadyCreated
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, wanted
from zephyr_lab.orders.strategies.base import Strategy

PLACE = ("target_slot_id", "target_slot_start_time", "visible_at")
COLUMNS = [name for name in Order.model_fields if name not in PLACE]

STATEMENT = f"""
with registered as (
    insert into order_ids (id, created_at, digest) values (%(id)s, %(created_at)s, %(digest)s)
    on conflict (id) do nothing returning id),
slot as (
    select * from ({FIND_SLOT} for update) as found where exists (select from registered)),
booked as (
    update slots set booked = slots.booked + %(price)s from slot where slots.id = slot.id
    returning slots.id, slots.start_time),
saved as (
    insert into orders ({", ".join((*COLUMNS, *PLACE))})
    select {", ".join(f"%({name})s" for name in COLUMNS)}, booked.id, start_time,
           case when start_time - interval '30 minutes' > %(created_at)s
                then start_time - interval '30 minutes' else start_time end
    from booked returning target_slot_id, target_slot_start_time)
select exists (select from registered), target_slot_id, target_slot_start_time
from (select) as once left join saved on true"""


class _Full(Exception):
    """Rolls back what was registered."""


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    asked = {**order.row(), **wanted(order, window), "digest": order.digest}
    try:
        async with session.transaction():
            answer = await session.row(STATEMENT, asked, may_wait=True)
            if answer is None:
                raise _Full
            is_new, id, start = answer
            if not is_new:
                raise AlreadyCreated(f"the id {order.id} is taken")
            if id is None:
                raise _Full
    except _Full:
        return None
    return Slot(id=id, start=start)


STRATEGY = Strategy("one-statement", book)
