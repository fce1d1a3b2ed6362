"""Places in slots by order, in Redis: assign, release, query. Each is idempotent.

Redis only holds what the day's orders have taken: PostgreSQL's orders are the truth, and `reconcile` repairs Redis by
them. All keys of a day have its hash tag, so that a script that looks for a slot runs on a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import redis.exceptions

from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import InvalidOrder, ServiceUnavailable, SlotsFull
from zephyr_lab.orders.models import Slot, Window
from zephyr_lab.orders.session import Session, maybe_await

KEEP_DAYS = 2


@dataclass(frozen=True)
class SlotInfo:
    """The state of a slot; money in whole roubles."""

    slot: Slot
    booked: int
    capacity: int
    is_disabled: bool
    orders: int


@cache
def lua(name: str) -> str:
    """A script of orders/lua."""
    return (Path(__file__).with_name("lua") / f"{name}.lua").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Keys:
    """Names of a day's keys: `<prefix>{slots:2026-11-25}:orders` and `...:<unix start>`."""

    day: date
    prefix: str = ""

    @property
    def orders(self) -> str:
        return f"{self.prefix}{{slots:{self.day}}}:orders"

    def slot(self, slot: Slot) -> str:
        return f"{self.prefix}{{slots:{self.day}}}:{slot.id.partition(':')[2]}"

    @property
    def forgotten_at(self) -> int:
        """When a day's keys expire, as unix time: by the day, as an evening's slot may be booked last at noon."""
        return int((datetime.combine(self.day, time(), UTC) + timedelta(days=KEEP_DAYS)).timestamp())


def slot_of(key: str) -> Slot:
    """The slot that a key of `Keys.slot` names."""
    return Slot.of_id(f"slot:{key.rpartition(':')[2]}")


def is_retryable_assignment(error: BaseException) -> bool:
    """Whether Redis did not answer. It may have booked: a retry is harmless because `book.lua` is idempotent."""
    return isinstance(error, (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)) or retry.is_refused(
        error
    )


class RedisSlots:
    """Bookings in Redis or Valkey. `capacity` is that of slots without one of their own; see `publish`."""

    def __init__(self, client: Any, *, capacity: int = 100_000, prefix: str = "") -> None:
        self._redis, self._capacity, self._prefix = client, capacity, prefix

    def _keys(self, day: date) -> Keys:
        return Keys(day, self._prefix)

    async def assign_slot(self, order_id: UUID, price: int, window: Window, at: datetime) -> Slot:
        """The first slot with room, or the order's own if it has one. `at` is when it was ordered.

        Raises SlotsFull, InvalidOrder (booked before with another price), and redis-py's errors.
        """
        keys, slots = self._keys(window.day), window.slots()
        names = [keys.orders, *map(keys.slot, slots)]
        asked = (str(order_id), price, self._capacity, keys.forgotten_at, int(at.timestamp()))
        number, booked, _ = await maybe_await(self._redis.eval(lua("book"), len(names), *names, *asked))
        if number == 0:
            raise SlotsFull(
                f"no slot from {window.first:%H:%M} to {window.last:%H:%M} UTC has room for {price} roubles"
            )
        if booked != price:
            raise InvalidOrder("final_price", f"order {order_id} is booked with {booked} roubles, not {price}")
        if number == -1:
            return slot_of((await self._booking(order_id, window.day))[1])
        slot: Slot = slots[number - 1]
        return slot

    async def _booking(self, order_id: UUID, day: date) -> tuple[int, str]:
        known = await maybe_await(self._redis.hget(self._keys(day).orders, str(order_id)))
        price, key, *_ = _text(known).split() if known else ("0", "")
        return int(price), key

    async def assign_slot_with_retry(
        self, session: Session, order_id: UUID, price: int, window: Window, at: datetime
    ) -> Slot:
        """Three attempts, but one if all slots are full. Raises SlotsFull, ServiceUnavailable."""
        policy = retry.Policy(retry.ASSIGN.attempts, retry.ASSIGN.base, retry.ASSIGN.jitter, is_retryable_assignment)
        try:
            return await policy.retrying(session.sleep)(self.assign_slot, order_id, price, window, at)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            raise ServiceUnavailable(f"Redis did not answer ({type(error).__name__}); try again") from error

    async def release_slot(self, order_id: UUID, day: date) -> int:
        """Releases an order's place, once; returns the roubles that were freed, 0 if it had none."""
        _, key = await self._booking(order_id, day)
        if not key:
            return 0
        freed = await maybe_await(self._redis.eval(lua("release"), 2, self._keys(day).orders, key, str(order_id)))
        return max(int(freed), 0)

    async def slot_info(self, slot: Slot) -> SlotInfo:
        """The state of a slot in Redis."""
        keys = self._keys(slot.day)
        load, capacity, disabled = await maybe_await(
            self._redis.hmget(keys.slot(slot), ["load", "capacity", "disabled"])
        )
        bookings = await self.bookings(keys.day)
        mine = sum(one.slot == slot for one in bookings.values())
        return SlotInfo(slot, int(load or 0), int(capacity or self._capacity), _text(disabled or "") == "1", mine)

    async def booking(self, order_id: UUID, day: date) -> Booking | None:
        """An order's booking on a day."""
        known = await maybe_await(self._redis.hget(self._keys(day).orders, str(order_id)))
        return Booking.of(_text(known)) if known else None

    async def bookings(self, day: date) -> dict[UUID, Booking]:
        """Every booking of a day, by order."""
        known = await maybe_await(self._redis.hgetall(self._keys(day).orders))
        return {UUID(_text(order_id)): Booking.of(_text(text)) for order_id, text in known.items()}

    async def loads(self, slots: list[Slot]) -> dict[str, int]:
        """Roubles by slot id, for slots that have any."""
        found = {}
        for slot in slots:
            load = await maybe_await(self._redis.hget(self._keys(slot.day).slot(slot), "load"))
            if int(load or 0):
                found[slot.id] = int(load)
        return found

    async def restore(self, order_id: UUID, price: int, slot: Slot) -> bool:
        """Books a saved order into its slot, even if it does not fit; False if it is booked already."""
        keys = self._keys(slot.day)
        asked = (str(order_id), price, keys.forgotten_at)
        return bool(await maybe_await(self._redis.eval(lua("restore"), 2, keys.orders, keys.slot(slot), *asked)))

    async def recount(self, slot: Slot) -> tuple[int, int]:
        """Sets a slot's load to the sum of its orders in Redis; returns the load before and after."""
        keys = self._keys(slot.day)
        before, now = await maybe_await(self._redis.eval(lua("recount"), 2, keys.orders, keys.slot(slot)))
        return int(before), int(now)

    async def publish(self, session: Session, day: date) -> None:
        """Copies the capacities of a day's slots, and which are disabled, from PostgreSQL to Redis."""
        keys = self._keys(day)
        async with session.transaction():
            rows = await session.rows(
                "select start_time, capacity, is_disabled from slots where (start_time at time zone 'UTC')::date = %s",
                (day,),
            )
        for start, capacity, disabled in rows:
            name = keys.slot(Slot.at(start))
            await maybe_await(self._redis.hset(name, mapping={"capacity": capacity, "disabled": int(disabled)}))
            await maybe_await(self._redis.expireat(name, keys.forgotten_at))


@dataclass(frozen=True)
class Booking:
    """An order in Redis; `at` is its unix time, 0 if `reconcile` booked it."""

    slot: Slot
    price: int
    at: int

    @classmethod
    def of(cls, text: str) -> Booking:
        """From the form in Redis: price, key of the slot, time."""
        price, key, at = text.split()
        return cls(slot_of(key), int(price), int(at))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
