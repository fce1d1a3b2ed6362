"""Write each booking under its number in the slot, and let a unique key refuse the second of two that are equal.

Guarantees: no slot above capacity at any level: number n is decided by whoever has seen all bookings before it.
Costs: a row of slot_ledger a booking; the one who is late learns it by 23505 after a wait, and runs again.
"""

from uuid import UUID

from psycopg.errors import UniqueViolation

from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import SlotChanged
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.statements import insert_order, wanted
from zephyr_lab.orders.strategies.base import Strategy

LAST_ENTRY = """
select id, start_time, coalesce(seq, 0), coalesce(load, 0)
from slots left join lateral
     (select seq, load from slot_ledger where slot_id = slots.id order by seq desc limit 1) as last on true
where start_time between %(first)s and %(last)s and not is_disabled and coalesce(load, 0) + %(price)s <= capacity
order by start_time limit 1"""
ENTER = "insert into slot_ledger (slot_id, seq, order_id, price, load) values (%s, %s, %s, %s, %s)"
COUNT = "update slots set booked = booked + %s where id = %s"


async def book(session: Session, order: Order, window: Window) -> Slot | None:
    async with session.transaction():
        found = await session.row(LAST_ENTRY, wanted(order, window))
        if found is None:
            return None
        id, start, seq, load = found
        entry = (id, seq + 1, order.id, order.final_price, load + order.final_price)
        try:
            await session.change(ENTER, entry, may_wait=True)
        except UniqueViolation as error:
            raise SlotChanged(f"booking {seq + 1} of {id} is somebody else's") from error
        await session.change(COUNT, (order.final_price, id))
        slot = Slot(id=id, start=start)
        await insert_order(session, order, slot)
    return slot


async def release(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """The next entry, with a negative price. Raises SlotChanged where somebody else's booking takes its number."""
    last = await session.row(
        "select seq, load from slot_ledger where slot_id = %s order by seq desc limit 1", (slot_id,)
    )
    seq, load = last or (0, 0)
    try:
        await session.change(ENTER, (slot_id, seq + 1, order_id, -price, load - price), may_wait=True)
    except UniqueViolation as error:
        raise SlotChanged(f"entry {seq + 1} of {slot_id} is somebody else's") from error
    await session.change(COUNT, (-price, slot_id))


STRATEGY = Strategy("unique-constraint", book, retry=retry.SAVE, release=release)
