"""A strategy's function under load without the order service around it (`through="bare"`).

That is one transaction on a connection, as pgbench runs it: `make bench` compares the two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg

from zephyr_lab.load.conditions import Blocks, Incident
from zephyr_lab.load.counts import Counts
from zephyr_lab.load.service import CountingObserver, Where, redis_for
from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import SlotsFull
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session


@asynccontextmanager
async def strategy_only(
    incident: Incident, where: Where, connections: int, counts: Counts
) -> AsyncIterator[Callable[[Order], Awaitable[object]]]:
    """Calls the strategy with its own retry, each on one of so many connections."""
    strategy = incident.as_strategy()
    policy = strategy.retry or retry.Policy(1, 0, 0)
    observer = CountingObserver(counts)
    free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            made = await psycopg.AsyncConnection.connect(where.dsn)
            free.put_nowait(await stack.enter_async_context(made))
        redis = await redis_for(strategy, where, stack)

        async def attempt(session: Session, order: Order, window: Window) -> Slot | None:
            observer.attempt_began()
            return await strategy.book(session, order, window)

        async def send(order: Order) -> None:
            connection = await free.get()
            began = time.perf_counter()
            session = Session(connection, redis, strategy.isolation)
            window = Blocks().window(order.created_at)
            try:
                slot = await policy.call(attempt, session, order, window, sleep=session.sleep, refused=observer.refused)
            finally:
                counts.transaction.record(time.perf_counter() - began)
                free.put_nowait(connection)
            if slot is None:
                raise SlotsFull("no slot of the order's block has room")

        yield send
