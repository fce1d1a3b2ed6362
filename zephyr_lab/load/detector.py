"""The detector that counted "5 race conditions", and the true one beside it.

A stress client polled the load of all slots now and then. A worker remembered a slot's load from the last poll, sent an
order, and afterwards counted a race condition if the polled load was larger than remembered, and not by exactly its own
price. Any other booking meanwhile causes that: two reads of one value at two moments, with others' commits in between.
The non-repeatable read is in the measuring tool.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import date

import psycopg
import redis.asyncio
import redis.exceptions

from zephyr_lab.load.arrivals import Ask
from zephyr_lab.load.conditions import Blocks, Incident
from zephyr_lab.load.service import Where
from zephyr_lab.orders import clients
from zephyr_lab.orders.models import Slot
from zephyr_lab.orders.strategies import Load

POLL_SECONDS = 0.5

_BOOKED = "select id, booked from slots where booked > 0"
_ORDERED = """
select target_slot_id, sum(final_price)::int from orders where status <> 'cancelled' group by target_slot_id"""


class ClientDetector:
    """Polls loads on connections of its own, and compares. It sees what the stress client saw, and nothing else."""

    def __init__(self, incident: Incident, where: Where, today: date) -> None:
        self._incident, self._where, self._today = incident, where, today
        self._polled: dict[str, int] = {}
        self._load = incident.as_strategy().load
        self._polling = asyncio.create_task(self._keep_polling())

    def _slots(self, ask: Ask) -> list[Slot]:
        return Blocks().window(self._incident.moment(ask.number, ask.lane, self._today)).slots()

    def before(self, ask: Ask) -> tuple[str, int]:
        """The slot that the order will be booked in, by the last poll, and its load then."""
        slots = self._slots(ask)
        for slot in slots:
            if self._polled.get(slot.id, 0) + ask.item.total <= self._incident.capacity:
                return slot.id, self._polled.get(slot.id, 0)
        return slots[-1].id, self._polled.get(slots[-1].id, 0)

    def after(self, ask: Ask, seen: tuple[str, int]) -> bool:
        """Whether it counts as a race condition."""
        slot, before = seen
        now = self._polled.get(slot, 0)
        return now > before and now != before + ask.item.total

    async def _keep_polling(self) -> None:
        client = clients.async_redis_client(self._where.redis_url) if self._where.redis_url else None
        try:
            while True:
                with suppress(psycopg.Error, redis.exceptions.RedisError):  # a poll less
                    if self._load is Load.REDIS and client:
                        await self._poll_redis(client)
                    else:
                        await self._poll_postgres()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if client:
                await client.aclose()

    async def _poll_postgres(self) -> None:
        async with await psycopg.AsyncConnection.connect(self._where.dsn, autocommit=True) as connection:
            while True:
                rows = await connection.execute(_BOOKED if self._load is Load.SLOTS else _ORDERED)
                self._polled = dict(await rows.fetchall())
                await asyncio.sleep(POLL_SECONDS)

    async def _poll_redis(self, client: redis.asyncio.Redis) -> None:
        keys = [key async for key in client.scan_iter("*slot*", count=5000)]
        plain = [key for key in keys if key.startswith("slot:") and key.count(":") == 1]
        hashes = [key for key in keys if "{slots:" in key and not key.endswith(":orders")]
        loads = await client.mget(plain) if plain else []
        async with client.pipeline(transaction=False) as asked:
            for key in hashes:
                asked.hget(key, "load")
            loads += await asked.execute()
        ids = plain + [f"slot:{key.rpartition(':')[2]}" for key in hashes]
        found = {id: int(load) for id, load in zip(ids, loads, strict=True) if load}
        self._polled = found

    async def close(self) -> None:
        self._polling.cancel()
        with suppress(asyncio.CancelledError):
            await self._polling
