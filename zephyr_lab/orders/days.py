"""A day in Redis is opened from PostgreSQL's slots and orders, under an epoch that both keep.

Redis may lose what it holds: emptied, started again with an older file, replaced by a replica that lags. A place in it
carries the epoch that it has, and the order is saved only while `slot_epochs` has the same (`insert_booked`): what a
Redis that has forgotten others gives away is not sold. Who finds the epochs different opens the day anew: alone, since
the row is locked; after the orders that are just being saved, since they hold it too; with all that PostgreSQL has.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from psycopg import IsolationLevel

from zephyr_lab.orders.errors import AlreadyCreated, DayNotOpen
from zephyr_lab.orders.models import Order, Slot
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.slots import Place, RedisSlots, Setting
from zephyr_lab.orders.statements import ORDER_COLUMNS, ORDER_VALUES

# By the slot's day; the partition key is given a day around it, since an order is for the day on which it is made.
ORDERS = """
select id, target_slot_id, final_price, cancelled_at is null from orders
where target_slot_start_time >= %(begins)s and target_slot_start_time < %(ends)s
  and created_at >= %(begins)s - interval '1 day' and created_at < %(ends)s + interval '1 day'"""

SLOTS = """
select id, start_time, end_time, capacity, is_disabled from slots
where start_time >= %(begins)s and start_time < %(ends)s order by start_time"""

# The lock is compatible with itself, and not with FOR UPDATE: an order is saved before the day is opened anew, or sees
# that it was.
_INSERT = f"""
with epoch as (select from slot_epochs where day = %(day)s and epoch = %(epoch)s for key share),
registered as (
    insert into order_ids (id, created_at, digest) select %(id)s, %(created_at)s, %(digest)s
    where exists (select from epoch) on conflict (id) do nothing returning id),
saved as (insert into orders ({ORDER_COLUMNS}) select {ORDER_VALUES} from registered returning id)
select exists (select from epoch), exists (select from saved)"""


def bounds(day: date) -> dict[str, Any]:
    """The parameters of ORDERS and SLOTS: a day in UTC."""
    begins = datetime.combine(day, time(), UTC)
    return {"begins": begins, "ends": begins + timedelta(days=1)}


async def settings(session: Session, day: date) -> list[Setting]:
    """The day's slots as PostgreSQL has them, inside the caller's transaction."""
    rows = await session.rows(SLOTS, bounds(day))
    return [Setting(Slot(id=id, start=start), capacity, disabled) for id, start, _, capacity, disabled in rows]


async def placed(session: Session, day: date) -> dict[UUID, tuple[Slot, int]]:
    """Slot and roubles of the day's orders that are not cancelled, by id, inside the caller's transaction."""
    rows = await session.rows(ORDERS, bounds(day))
    return {id: (Slot.of_id(slot_id), price) for id, slot_id, price, counts in rows if counts}


async def open_day(session: Session, slots: RedisSlots, day: date) -> int | None:
    """Opens a day in Redis, with its orders; returns how many there are, None if it was open already.

    Raises psycopg's and redis-py's errors. No transaction may be open.
    """
    # At this level each statement sees what was committed before it, and so what the lock has waited for.
    session = Session(session.connection, session.redis, IsolationLevel.READ_COMMITTED)
    async with session.transaction():
        await session.rows("select plan_slots(%s)", (day,))
        await session.change("insert into slot_epochs (day) values (%s) on conflict (day) do nothing", (day,))
        locked = await session.row("select epoch from slot_epochs where day = %s for update", (day,), may_wait=True)
        if locked and await slots.epoch(day) == str(locked[0]):
            return None
        fresh = await session.row(
            "update slot_epochs set epoch = gen_random_uuid() where day = %s returning epoch", (day,)
        )
        assert fresh
        every, orders = await settings(session, day), await placed(session, day)
        await slots.open(day, str(fresh[0]), every, orders)
    return len(orders)


async def insert_booked(session: Session, order: Order, place: Place) -> None:
    """Saves an order in the place that Redis gave it, in a transaction of its own, which saves nothing otherwise.

    Raises AlreadyCreated; DayNotOpen if the epoch is over.
    """
    values = {**order.placed(place.slot).row(), "digest": order.digest, "day": place.slot.day, "epoch": place.epoch}
    is_current, is_saved = await session.at_once(_INSERT, values, may_wait=True) or (False, False)
    if not is_current:
        raise DayNotOpen(f"Redis lost {place.slot.day} after it had given order {order.id} a place")
    if not is_saved:
        raise AlreadyCreated(f"the id {order.id} is taken")
