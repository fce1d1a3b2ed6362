"""Places in slots by order, in Redis: assign, release, query. Each is idempotent.

Redis only holds what the day's orders have taken: PostgreSQL's orders are the truth, and `reconcile` repairs Redis by
them. All keys of a day have its hash tag, so that a script that looks for a slot runs on a cluster. A day is opened by
`days.open_day`, under an epoch: nothing is booked in a Redis that has lost it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import redis.exceptions

from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import DayNotOpen, InvalidOrder, ServiceUnavailable, SlotsFull
from zephyr_lab.orders.models import Slot, Window
from zephyr_lab.orders.session import Session, maybe_await

KEEP_DAYS = 2


@dataclass(frozen=True)
class Setting:
    """What PostgreSQL says of a slot: its capacity in whole roubles, and whether it is disabled."""

    slot: Slot
    capacity: int
    is_disabled: bool


@dataclass(frozen=True)
class Place:
    """A slot that an order has been given in Redis, and the day's epoch at that moment."""

    slot: Slot
    epoch: str


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
class Script:
    """A script, and the name that the server has for it."""

    text: str
    sha: str


@lru_cache(maxsize=16)
def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True)
class Keys:
    """Names of a day's keys: `<prefix>{slots:2026-11-25}:orders` and `...:<unix start>`."""

    day: date
    prefix: str = ""

    @property
    def orders(self) -> str:
        return f"{self.prefix}{{slots:{self.day}}}:orders"

    @property
    def epoch(self) -> str:
        return f"{self.prefix}{{slots:{self.day}}}:epoch"

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
    """Bookings in Redis or Valkey. A slot that is not PostgreSQL's, and so has no capacity here, is never booked."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        self._redis, self._prefix = client, prefix

    def _keys(self, day: date) -> Keys:
        return Keys(day, self._prefix)

    def _book(self, day: date) -> Script:
        """The script that books on a day, loaded where the day is opened, and nowhere else.

        A server that was started again, or a replica that took over, has no scripts (from Redis 7 on; Valkey). It may
        lack the last bookings too, while it has the day's epoch.
        """
        return _script(f"{lua('book')}-- {self._keys(day).epoch}\n")

    async def assign_slot(self, order_id: UUID, price: int, window: Window, at: datetime) -> Place:
        """The first slot with room, or the order's own if it has one. `at` is when it was ordered.

        Raises DayNotOpen, SlotsFull, InvalidOrder (booked before with another price), and redis-py's errors.
        """
        keys = self._keys(window.day)
        names = [keys.orders, keys.epoch, *map(keys.slot, window.slots())]
        asked = (str(order_id), price, keys.forgotten_at, int(at.timestamp()))
        try:
            told = await maybe_await(self._redis.evalsha(self._book(window.day).sha, len(names), *names, *asked))
        except redis.exceptions.NoScriptError:
            told = ("", "", 0)
        epoch, key, booked = told
        if not epoch:
            raise DayNotOpen(f"Redis does not have {window.day}: it is not open yet, or Redis has lost it")
        if not key:
            raise SlotsFull(
                f"no slot from {window.first:%H:%M} to {window.last:%H:%M} UTC has room for {price} roubles"
            )
        if booked != price:
            raise InvalidOrder("final_price", f"order {order_id} is booked with {booked} roubles, not {price}")
        return Place(slot_of(_text(key)), _text(epoch))

    async def _booking(self, order_id: UUID, day: date) -> tuple[int, str]:
        known = await maybe_await(self._redis.hget(self._keys(day).orders, str(order_id)))
        price, key, *_ = _text(known).split() if known else ("0", "")
        return int(price), key

    async def assign_slot_with_retry(
        self, session: Session, order_id: UUID, price: int, window: Window, at: datetime
    ) -> Place:
        """Three attempts, but one if all slots are full. Raises DayNotOpen, SlotsFull, ServiceUnavailable."""
        policy = retry.Policy(retry.ASSIGN.attempts, retry.ASSIGN.base, retry.ASSIGN.jitter, is_retryable_assignment)
        try:
            return await policy.call(self.assign_slot, order_id, price, window, at, sleep=session.sleep)
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
        """The state of a slot in Redis; its capacity is 0 where Redis does not have it."""
        keys = self._keys(slot.day)
        load, capacity, disabled = await maybe_await(
            self._redis.hmget(keys.slot(slot), ["load", "capacity", "disabled"])
        )
        bookings = await self.bookings(keys.day)
        mine = sum(one.slot == slot for one in bookings.values())
        return SlotInfo(slot, int(load or 0), int(capacity or 0), _text(disabled or "") == "1", mine)

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

    async def epoch(self, day: date) -> str:
        """The epoch under which a day is open; '' where it is not, or Redis was started again since."""
        if not any(await maybe_await(self._redis.script_exists(self._book(day).sha))):
            return ""
        return _text(await maybe_await(self._redis.get(self._keys(day).epoch)) or "")

    async def open(
        self, day: date, epoch: str, settings: Sequence[Setting], orders: Mapping[UUID, tuple[Slot, int]]
    ) -> None:
        """Makes a day consist of these slots and these orders (slot and roubles by id), under a new epoch."""
        keys = self._keys(day)
        numbers = {one.slot: number for number, one in enumerate(settings, 1)}
        words: list[str | int] = [epoch, keys.forgotten_at]
        for one in settings:
            words += [one.capacity, int(one.is_disabled)]
        for order_id, (slot, price) in orders.items():
            if slot in numbers:  # of a slot that was deleted, nothing can be sold
                words += [str(order_id), price, numbers[slot]]
        names = [keys.orders, keys.epoch, *(keys.slot(one.slot) for one in settings)]
        await maybe_await(self._redis.eval(lua("open"), len(names), *names, *words))
        await maybe_await(self._redis.script_load(self._book(day).text))

    async def settings(self, slots: Sequence[Slot]) -> dict[Slot, tuple[int, bool] | None]:
        """Capacity and whether it is disabled, of each slot; None where Redis does not have it."""
        found: dict[Slot, tuple[int, bool] | None] = {}
        for slot in slots:
            name = self._keys(slot.day).slot(slot)
            capacity, disabled = await maybe_await(self._redis.hmget(name, ["capacity", "disabled"]))
            found[slot] = None if capacity is None else (int(capacity), _text(disabled or "") == "1")
        return found

    async def set(self, one: Setting) -> None:
        """Sets the capacity of a slot, and whether it is disabled."""
        keys = self._keys(one.slot.day)
        name, said = keys.slot(one.slot), {"capacity": one.capacity, "disabled": int(one.is_disabled)}
        await maybe_await(self._redis.hset(name, mapping=said))
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
