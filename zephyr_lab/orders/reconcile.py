"""Compares orders, slots' counters and Redis, reports what differs, and repairs it.

The orders are the truth. A place in Redis whose order is not saved may belong to an order under way, or to a service
that died. Waiting cannot distinguish them, so its id is *voided* in PostgreSQL first: if the order does come, it finds
its id taken, and is refused. Only then the place is freed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from uuid import UUID

from zephyr_lab.orders.days import ORDERS, bounds, open_day, placed, settings
from zephyr_lab.orders.models import Slot
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.slots import Booking, RedisSlots, Setting
from zephyr_lab.orders.statements import PLACE
from zephyr_lab.orders.strategies.base import Load

GRACE_SECONDS = 60
"""The age at which a place without an order counts as leaked; saving an order takes far less."""

# One statement, so that both accounts are of one moment at READ COMMITTED too.
_MONEY = f"""
select slots.id, start_time, capacity, coalesce(sum(final_price) filter (where counts), 0)::int, booked
from slots left join ({ORDERS}) as sold (order_id, slot_id, final_price, counts) on slot_id = slots.id
where start_time >= %(begins)s and start_time < %(ends)s group by slots.id order by start_time"""

_VOID = """
insert into order_ids (id, created_at, voided) values (%s, %s, true) on conflict (id) do nothing returning id"""


@dataclass(frozen=True)
class SlotMoney:
    """A slot by each of its accounts, in whole roubles; `redis` is None if Redis was not asked."""

    slot: Slot
    capacity: int
    orders: int
    booked: int
    redis: int | None = None

    @property
    def over(self) -> int:
        """Roubles sold above capacity."""
        return max(self.orders - self.capacity, 0)


@dataclass(frozen=True)
class Difference:
    """One difference from the orders, or from the slots' settings, and what was or would be done.

    `slot` is None where it concerns the whole day.
    """

    slot: Slot | None
    said: str
    remedy: str
    order_id: UUID | None = None

    def to_dict(self) -> dict[str, str | None]:
        """For JSON: the slot by id and by start (UTC), the order by id."""
        return {
            "slot": self.slot.id if self.slot else None,
            "start": self.slot.start.astimezone(UTC).isoformat() if self.slot else None,
            "order": str(self.order_id) if self.order_id else None,
            "said": self.said,
            "remedy": self.remedy,
        }

    def __str__(self) -> str:
        where = f"{self.slot.id} ({self.slot.start.astimezone(UTC):%H:%M} UTC): " if self.slot else ""
        return f"{where}{self.said}; {self.remedy}"


async def money(session: Session, day: date, slots: RedisSlots | None = None) -> list[SlotMoney]:
    """Every slot of a day by its accounts: the sum of its orders, its counter, and its load in Redis."""
    async with session.transaction():
        rows = await session.rows(_MONEY, bounds(day))
    loads = await slots.loads([Slot(id=id, start=start) for id, start, *_ in rows]) if slots else {}
    return [
        SlotMoney(Slot(id=id, start=start), capacity, orders, booked, loads.get(id, 0) if slots else None)
        for id, start, capacity, orders, booked in rows
    ]


def wrong(accounts: Iterable[SlotMoney], load: Load, *, may_oversell: bool = False) -> list[str]:
    """The violations of the money statement, in words: all accounts are equal, and none is over capacity."""
    found = []
    for one in accounts:
        kept = {Load.ORDERS: one.orders, Load.SLOTS: one.booked, Load.REDIS: one.redis}[load]
        if kept != one.orders:
            found.append(f"{one.slot.id}: {load} has {kept} roubles, the orders are {one.orders}")
        if one.over and not may_oversell:
            found.append(f"{one.slot.id}: {one.over} roubles above its capacity of {one.capacity}")
    return found


async def reconcile(
    session: Session,
    day: date,
    slots: RedisSlots | None,
    *,
    repair: bool = False,
    now: datetime | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> list[Difference]:
    """The differences of a day from the orders; with `repair` they are repaired, beside running traffic.

    With `slots` the account in question is Redis, without it slots.booked. Places without an order that are younger
    than `grace_seconds` are left alone.
    """
    if slots is None:
        return await _reconcile_counters(session, day, repair)
    older_than = (now or datetime.now(UTC)).timestamp() - grace_seconds
    found = await _reconcile_day(session, slots, day, repair)
    found += await _reconcile_places(session, slots, day, repair, older_than)
    async with session.transaction():
        every = await settings(session, day)
    found += await _reconcile_settings(session, slots, day, repair, every)
    of = [one.slot for one in every]
    return found + await (_recounted(slots, of) if repair else _miscounted(slots, of, await slots.bookings(day)))


async def _reconcile_day(session: Session, slots: RedisSlots, day: date, repair: bool) -> list[Difference]:
    """Whether Redis has the day at all, under PostgreSQL's epoch."""
    async with session.transaction():
        row = await session.row("select epoch from slot_epochs where day = %s", (day,))
    if row is None or await slots.epoch(day) == str(row[0]):
        return []  # without a row nothing has been sold on that day by Redis
    remedy = "would be opened anew, from the orders"
    if repair:
        put_back = await open_day(session, slots, day)
        remedy = "opened by another meanwhile" if put_back is None else f"opened anew, and {put_back} orders put back"
    return [Difference(None, f"Redis has lost {day}, or has an older state of it", remedy)]


async def _reconcile_places(
    session: Session, slots: RedisSlots, day: date, repair: bool, older_than: float
) -> list[Difference]:
    """Places whose order is not saved, and orders that have no place."""
    # Redis first: a place that is in here, and whose order is not saved afterwards, has no order yet.
    places = await slots.bookings(day)
    async with session.transaction():
        orders = await placed(session, day)
    found: list[Difference] = []
    for order_id, place in places.items():
        if orders.get(order_id) == (place.slot, place.price):
            continue
        if order_id not in orders and place.at > older_than:
            continue
        what = f"Redis has {place.price} roubles for order {order_id}, which PostgreSQL "
        what += "has otherwise" if order_id in orders else "does not have"
        done = "would be freed"
        if repair:
            freed = await _free(session, slots, order_id, place)
            done = "freed" if freed else "saved meanwhile, and left alone"
        found.append(Difference(place.slot, what, done, order_id))
    for order_id, (slot, price) in orders.items():
        # It may have been placed, and saved, since Redis was asked.
        booked = places.get(order_id) or await slots.booking(order_id, day)
        if booked is not None and (booked.slot, booked.price) == (slot, price):
            continue
        done = "would be put back"
        if repair:
            done = "put back" if await _put_back(session, slots, order_id, slot, price) else "cancelled meanwhile"
        found.append(Difference(slot, f"Redis does not have order {order_id} of {price} roubles", done, order_id))
    return found


async def _put_back(session: Session, slots: RedisSlots, order_id: UUID, slot: Slot, price: int) -> bool:
    """Books a saved order in Redis. False if it was cancelled; who cancels it now waits, and then frees the place."""
    async with session.transaction():
        saved = await session.row(f"{PLACE} for share of orders", (order_id,), may_wait=True)
        if saved != (slot.id, price):
            return False
        await slots.restore(order_id, price, slot)
    return True


async def _reconcile_settings(
    session: Session, slots: RedisSlots, day: date, repair: bool, every: list[Setting]
) -> list[Difference]:
    """Capacities, and which slots are disabled: PostgreSQL's are right."""
    there = await slots.settings([one.slot for one in every])
    different = [one for one in every if there[one.slot] != (one.capacity, one.is_disabled)]
    if not different or all(known is None for known in there.values()):
        return []  # a day that Redis does not have is told of as such
    if repair:
        async with session.transaction():
            # Of two at once the later one writes what it has read after the earlier one; orders do not wait.
            await session.rows("select from slot_epochs where day = %s for no key update", (day,), may_wait=True)
            fresh = {one.slot: one for one in await settings(session, day)}
            for one in different:
                if one.slot in fresh:
                    await slots.set(fresh[one.slot])
    remedy = "set to PostgreSQL's" if repair else "would be set to PostgreSQL's"
    return [Difference(one.slot, f"Redis {_setting(there[one.slot])}, {_wanted(one)}", remedy) for one in different]


def _setting(known: tuple[int, bool] | None) -> str:
    if known is None:
        return "does not have the slot"
    return f"has a capacity of {known[0]} roubles" + (", disabled" if known[1] else "")


def _wanted(one: Setting) -> str:
    return f"PostgreSQL {_setting((one.capacity, one.is_disabled))}"


async def _recounted(slots: RedisSlots, every: Iterable[Slot]) -> list[Difference]:
    """Sets each load to the sum of its orders in Redis; returns those that were different."""
    found = []
    for slot in every:
        before, after = await slots.recount(slot)
        if before != after:
            found.append(Difference(slot, f"Redis counted {before} roubles, its orders are {after}", "counted anew"))
    return found


async def _miscounted(slots: RedisSlots, every: list[Slot], places: Mapping[UUID, Booking]) -> list[Difference]:
    """Loads that are not the sum of the slot's orders in Redis."""
    found, loads = [], await slots.loads(every)
    for slot in every:
        load, counted = loads.get(slot.id, 0), sum(one.price for one in places.values() if one.slot == slot)
        if load != counted:
            what = f"Redis counted {load} roubles, its orders are {counted}"
            found.append(Difference(slot, what, "would be counted anew"))
    return found


async def _free(session: Session, slots: RedisSlots, order_id: UUID, place: Booking) -> bool:
    """Voids an id, unless its order is saved, and frees its place. False if the order exists after all."""
    async with session.transaction():
        # Waits for a transaction that is saving the order, and then finds it.
        await session.rows(_VOID, (order_id, datetime.combine(place.slot.day, time(), UTC)), may_wait=True)
    async with session.transaction():
        saved = await session.row(PLACE, (order_id,))
    if saved == (place.slot.id, place.price):
        return False
    await slots.release_slot(order_id, place.slot.day)
    return True


async def _reconcile_counters(session: Session, day: date, repair: bool) -> list[Difference]:
    found = []
    for one in await money(session, day):
        if one.booked == one.orders:
            continue
        done = "would be counted anew"
        if repair:
            async with session.transaction():
                # A booking holds this row until its order can be counted.
                await session.rows("select from slots where id = %s for update", (one.slot.id,), may_wait=True)
                await session.change(
                    "update slots set booked = (select coalesce(sum(final_price), 0) from orders "
                    "where target_slot_id = slots.id and cancelled_at is null) where id = %s",
                    (one.slot.id,),
                )
            done = "counted anew"
        found.append(Difference(one.slot, f"booked is {one.booked} roubles, the orders are {one.orders}", done))
    return found
