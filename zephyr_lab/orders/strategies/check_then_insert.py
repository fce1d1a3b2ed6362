"""Add up the slot's orders, and insert one more if it fits.

Guarantees: nothing below SERIALIZABLE. The check reads orders that are there; what two sessions insert at once neither
sees (write skew over a phantom). At SERIALIZABLE one of the two is refused with 40001.
Costs: a sum over the slot's orders with each booking. No counter that could be wrong.
"""

from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import insert_order, wanted
from zephyr_lab.orders.strategies.base import Load, Strategy, release_nothing

CHECK = """
select id, start_time from slots
where start_time between %(first)s and %(last)s and not is_disabled
  and %(price)s + (select coalesce(sum(final_price), 0) from orders
                   where target_slot_id = slots.id and cancelled_at is null) <= capacity
order by start_time limit 1"""


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        found = await session.row(CHECK, wanted(order, window))
        if found is None:
            return None
        slot = Slot(id=found[0], start=found[1])
        await insert_order(session, order, slot)
    return slot


STRATEGY = Strategy("check-then-insert", book, load=Load.ORDERS, release=release_nothing, promises=False)
