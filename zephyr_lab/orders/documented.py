"""CreateOrder as the write-up documents it, ported as it stands: to be run, not to be used.

Where it goes wrong: its statement cannot run on the partitioned table (42P10); a time-out of Redis books twice; the
release is read outside of Lua, and is blind to a COMMIT whose answer was lost; the counter is forgotten two hours after
its last booking; every error of a slot is called "full"; what is retried is told by the text of a message. Each has its
remedy in `slots`, `service` and `strategies`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import psycopg
import redis.exceptions
from psycopg import IsolationLevel

from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import SlotsFull
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.schema import statement
from zephyr_lab.orders.session import Session, maybe_await
from zephyr_lab.orders.slots import lua

SECONDS_TO_LIVE = 7_200
CAPACITY = 100_000


class DocumentedSlots:
    """The SlotService: keys `slot:<id>`, `slot:<id>:info`, `slot:<id>:orders`, `order:slot:<order>`."""

    def __init__(self, client: Any, capacity: int = CAPACITY) -> None:
        self._redis, self._capacity = client, capacity

    async def assign_slot(self, order_id: UUID, price: int, window: Window) -> Slot:
        """The id of the first slot with room, even if the order has one already. Raises SlotsFull."""
        for slot in window.slots():
            booked, _ = await maybe_await(
                self._redis.eval(
                    lua("documented_book"),
                    2,
                    slot.id,
                    f"{slot.id}:info",
                    str(order_id),
                    price,
                    self._capacity,
                    slot.id,
                    SECONDS_TO_LIVE,
                )
            )
            if booked:
                return slot
        raise SlotsFull(f"no slot from {window.first:%H:%M} to {window.last:%H:%M} UTC has room for {price} roubles")

    async def assign_slot_with_retry(self, session: Session, order_id: UUID, price: int, window: Window) -> Slot:
        """Three attempts, after any error but a full slot; after a time-out the booking may exist, too."""
        policy = retry.Policy(
            retry.ASSIGN.attempts,
            retry.ASSIGN.base,
            retry.ASSIGN.jitter,
            wanted=lambda error: isinstance(error, redis.exceptions.RedisError),
        )
        return await policy.call(self.assign_slot, order_id, price, window, sleep=session.sleep)

    async def release_slot(self, order_id: UUID) -> None:
        """Reads the order's slot, then subtracts the price: two calls that read at once both subtract it."""
        known = await maybe_await(self._redis.hmget(f"order:slot:{order_id}", ["slot_id", "price"]))
        slot_id, price = (one.decode() if isinstance(one, bytes) else one for one in known)
        if slot_id is None:
            return
        keys = (slot_id, f"{slot_id}:orders", f"order:slot:{order_id}")
        await maybe_await(self._redis.eval(lua("documented_release"), 3, *keys, str(order_id), price))

    async def put_right(self, orders: dict[UUID, tuple[Slot, int]]) -> None:
        """Sets Redis to these orders. Safe only while there are no bookings: those under way are lost."""
        stale = [key async for key in _keys(self._redis, "slot:*")] + [
            key async for key in _keys(self._redis, "order:slot:*")
        ]
        if stale:
            await maybe_await(self._redis.delete(*stale))
        for order_id, (slot, price) in orders.items():
            await maybe_await(self._redis.incrby(slot.id, price))
            await maybe_await(self._redis.sadd(f"{slot.id}:orders", str(order_id)))
            await maybe_await(self._redis.hset(f"order:slot:{order_id}", mapping={"slot_id": slot.id, "price": price}))

    async def loads(self, slots: list[Slot]) -> dict[str, int]:
        """Roubles by slot id, for slots that have any."""
        found = {slot.id: int(await maybe_await(self._redis.get(slot.id)) or 0) for slot in slots}
        return {id: load for id, load in found.items() if load}


async def _keys(client: Any, pattern: str) -> AsyncIterator[str]:
    cursor = 0
    while True:
        cursor, keys = await maybe_await(client.scan(cursor, match=pattern, count=1000))
        for key in keys:
            yield key
        if int(cursor) == 0:
            return


async def release_as_documented(session: Session, order_id: UUID, slot_id: str, price: int) -> None:
    """The release of strategies whose load is in these keys."""
    await DocumentedSlots(session.redis).release_slot(order_id)


def is_serialization_failure(error: BaseException) -> bool:
    """The write-up's isSerializationFailure: by the type of the outermost error, else by words of its message.

    Every error arrives wrapped, so the words decide: with a server in another language nothing is retried, and an error
    of a constraint with such a name is.
    """
    if isinstance(error, psycopg.Error) and error.sqlstate:
        return error.sqlstate in ("40001", "40P01")
    return any(word in str(error) for word in ("serialization", "deadlock", "could not serialize"))


class SaveFailed(Exception):
    """The write-up's fmt.Errorf("...: %w", err): another error's text with words before it."""


async def save_order_with_transaction(
    session: Session, order: Order, isolation: IsolationLevel | None = IsolationLevel.SERIALIZABLE
) -> None:
    """The write-up's upsert in a transaction of its own, with five attempts. Raises SaveFailed."""

    async def save() -> None:
        try:
            async with Session(session.connection, isolation=isolation).transaction():
                await session.change(statement("as-documented/upsert"), order.row())
        except psycopg.Error as error:
            raise SaveFailed(f"error executing INSERT: {error}") from error

    policy = retry.Policy(5, 0.010, 0.010, wanted=is_serialization_failure)
    await policy.call(save, sleep=session.sleep)


async def create_order(session: Session, order: Order, window: Window) -> Slot:
    """The write-up's CreateOrder. Raises SlotsFull for whatever goes wrong with Redis, SaveFailed for the rest."""
    slots = DocumentedSlots(session.redis)
    try:
        slot = await slots.assign_slot_with_retry(session, order.id, order.final_price, window)
    except Exception as error:
        raise SlotsFull(f"could not assign a slot: {error}") from error
    try:
        await save_order_with_transaction(session, order.placed(slot))
    except Exception:
        await slots.release_slot(order.id)
        raise
    return slot
