"""Find, lock, book and save in one statement.

Guarantees: no slot above capacity at READ COMMITTED, where the row is looked at again after the wait for it. Above it,
40001 after the wait.
Costs: one round trip, in which the server commits, so the row is held for the shortest time; the statement has to be
read twice.
"""

from zephyr_lab.orders.errors import AlreadyCreated
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import FIND_SLOT, wanted
from zephyr_lab.orders.strategies.base import Strategy

PLACE = ("target_slot_id", "target_slot_start_time", "visible_at")
COLUMNS = [name for name in Order.model_fields if name not in PLACE]

# The slot first: who finds none registers nothing, so that there is nothing to roll back.
STATEMENT = f"""
with slot as ({FIND_SLOT} for update),
registered as (
    insert into order_ids (id, created_at, digest) select %(id)s, %(created_at)s, %(digest)s from slot
    on conflict (id) do nothing returning id),
booked as (
    update slots set booked = slots.booked + %(price)s from slot, registered where slots.id = slot.id
    returning slots.id, slots.start_time),
saved as (
    insert into orders ({", ".join((*COLUMNS, *PLACE))})
    select {", ".join(f"%({name})s" for name in COLUMNS)}, booked.id, start_time,
           case when start_time - interval '30 minutes' > %(created_at)s
                then start_time - interval '30 minutes' else start_time end
    from booked returning target_slot_id, target_slot_start_time)
select target_slot_id, target_slot_start_time from slot left join saved on true"""


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    asked = {**order.row(), **wanted(order, window), "digest": order.digest}
    found = await session.at_once(STATEMENT, asked, may_wait=True)
    if found is None:
        return None
    id, start = found
    if id is None:
        raise AlreadyCreated(f"the id {order.id} is taken")
    return Slot(id=id, start=start)


STRATEGY = Strategy("one-statement", book)
