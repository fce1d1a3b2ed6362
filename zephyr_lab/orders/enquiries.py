"""What a client may ask of orders and slots: reads, by PostgreSQL's orders and no counter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from zephyr_lab.orders.days import ORDERS, bounds
from zephyr_lab.orders.session import Session

# The partition key with the id, or every partition would be looked at.
_ORDER = """
select id, display_id, status, target_slot_id, target_slot_start_time, created_at, final_price
from order_ids join orders using (id, created_at) where id = %s"""

_TAKEN = f"""
select slots.id, start_time, end_time, capacity, coalesce(sum(final_price) filter (where counts), 0)::int, is_disabled
from slots left join ({ORDERS}) as sold (order_id, slot_id, final_price, counts) on slot_id = slots.id
where start_time >= %(begins)s and start_time < %(ends)s group by slots.id order by start_time"""


@dataclass(frozen=True)
class OrderState:
    """What has become of an order; money in whole roubles. `slot_start` is None where it has no slot."""

    order_id: UUID
    display_id: str
    status: str
    slot_id: str
    slot_start: datetime | None
    created_at: datetime
    final_price: int


@dataclass(frozen=True)
class SlotState:
    """A slot, and how many roubles the orders in it that are not cancelled make."""

    slot_id: str
    start: datetime
    end: datetime
    capacity: int
    taken: int
    is_disabled: bool


async def find_order(session: Session, order_id: UUID) -> OrderState | None:
    """An order by its id; None where there is none, or it was voided."""
    async with session.transaction():
        found = await session.row(_ORDER, (order_id,))
    return OrderState(*found) if found else None


async def list_slots(session: Session, day: date) -> list[SlotState]:
    """The slots of a day (UTC) that are there, by their start."""
    async with session.transaction():
        return [SlotState(*row) for row in await session.rows(_TAKEN, bounds(day))]
