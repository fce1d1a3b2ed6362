"""The order service as the load meets it: with a pool that times itself, over the incident's slots."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import grpc
import psycopg
import psycopg_pool
from prometheus_client import Histogram
from tenacity import RetryCallState

from zephyr_lab.errors import SERIALIZATION_FAILURE
from zephyr_lab.load.conditions import Blocks, Incident
from zephyr_lab.load.counts import Counts, Outcome
from zephyr_lab.orders import clients, retry
from zephyr_lab.orders.errors import OrderFailed, ServiceUnavailable, SlotsFull
from zephyr_lab.orders.metrics import Metrics
from zephyr_lab.orders.models import Order
from zephyr_lab.orders.retry import is_refused
from zephyr_lab.orders.service import POOL, OrderService
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.strategies import Load


@dataclass(frozen=True)
class Where:
    """Where a process finds the servers: a DSN with its settings, a Redis URL, or the service's own address."""

    dsn: str = field(repr=False)
    redis_url: str | None = field(default=None, repr=False)
    address: str | None = None


class TimedPool(psycopg_pool.AsyncConnectionPool):
    """A pool that knows how long it was waited for, and how long its connections were held."""

    def __init__(self, dsn: str, size: int, counts: Counts) -> None:
        super().__init__(dsn, open=False, min_size=size, max_size=size, timeout=POOL["timeout"])
        self.counts = counts
        self._held_since: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()

    async def getconn(self, timeout: float | None = None) -> Any:
        began = time.perf_counter()
        try:
            connection = await super().getconn(timeout)
        finally:
            took = time.perf_counter()
            self.counts.pool_wait.record(took - began)
        self._held_since[connection] = took
        return connection

    async def putconn(self, conn: Any) -> None:
        self.counts.transaction.record(time.perf_counter() - self._held_since[conn])
        await super().putconn(conn)

    def look(self) -> None:
        """Notes how many wait for a connection right now."""
        waiting = self.get_stats().get("requests_waiting", 0)
        self.counts.most_waiting = max(self.counts.most_waiting, waiting)


@asynccontextmanager
async def service(
    incident: Incident, where: Where, pool_size: int, today: date, counts: Counts
) -> AsyncIterator[OrderService]:
    """With all connections open before the first order comes; what it counted is in `counts` in the end."""
    strategy = incident.as_strategy()
    async with AsyncExitStack() as stack:
        pool = TimedPool(where.dsn, pool_size, counts)
        await stack.enter_async_context(pool)
        await pool.wait()
        redis = None
        if strategy.load is Load.REDIS and where.redis_url:
            redis = await stack.enter_async_context(clients.async_redis_client(where.redis_url))
            await redis.ping()
        metrics = Metrics()
        metrics.lock_wait_seconds = _Recorded(metrics.lock_wait_seconds, counts)  # type: ignore[assignment]
        made = OrderService(pool, strategy, redis, Blocks(), metrics)
        made._days.update(incident.opened(today))  # whoever runs the load has opened them
        yield made
        _take(metrics, counts)


class _Recorded:
    """Prometheus' histogram has buckets; ours wants the values."""

    def __init__(self, histogram: Histogram, counts: Counts) -> None:
        self._histogram, self._counts = histogram, counts

    def observe(self, seconds: float) -> None:
        self._histogram.observe(seconds)
        self._counts.lock_wait.record(seconds)


@asynccontextmanager
async def bare(
    incident: Incident, where: Where, connections: int, today: date, counts: Counts
) -> AsyncIterator[Callable[[Order], Awaitable[object]]]:
    """The strategy's function with its own retry, on connections that are handed round."""
    strategy = incident.as_strategy()
    policy = strategy.retry or retry.Policy(1, 0, 0)
    free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            made = await psycopg.AsyncConnection.connect(where.dsn)
            free.put_nowait(await stack.enter_async_context(made))
        redis = None
        if strategy.load is Load.REDIS and where.redis_url:
            redis = await stack.enter_async_context(clients.async_redis_client(where.redis_url))

        def refused(state: RetryCallState) -> None:
            counts.attempts += 1
            error = state.outcome.exception() if state.outcome else None
            counts.refusals[getattr(error, "sqlstate", None) or type(error).__name__] += 1

        async def send(order: Order) -> None:
            connection = await free.get()
            began = time.perf_counter()
            counts.attempts += 1
            session = Session(connection, redis, strategy.isolation)
            window = Blocks().window(order.created_at)
            try:
                if policy.attempts == 1:
                    slot = await strategy.book(session, order, window)
                else:
                    slot = await policy.retrying(session.sleep, refused)(strategy.book, session, order, window)
            finally:
                counts.transaction.record(time.perf_counter() - began)
                free.put_nowait(connection)
            if slot is None:
                raise SlotsFull("no slot of the order's block has room")

        yield send


def _take(metrics: Metrics, counts: Counts) -> None:
    counts.attempts += int(metrics.value("orders_attempts_total"))
    buckets = {}
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "orders_serialization_failures_total":
                counts.refusals[sample.labels["sqlstate"]] += int(sample.value)
            elif sample.name == "orders_retries_bucket":
                buckets[float(sample.labels["le"])] = int(sample.value)
    before = 0
    for place, bucket in enumerate(sorted(buckets)):
        if buckets[bucket] > before:
            counts.retries[place] += buckets[bucket] - before
        before = buckets[bucket]


def outcome_of(error: BaseException) -> tuple[Outcome, str]:
    """What an order's error means to its customer, and the error's SQLSTATE, status or name."""
    if isinstance(error, grpc.aio.AioRpcError):
        code = error.code()
        kinds = {
            grpc.StatusCode.RESOURCE_EXHAUSTED: Outcome.FULL,
            grpc.StatusCode.ABORTED: Outcome.GIVEN_UP,
            grpc.StatusCode.UNAVAILABLE: Outcome.UNANSWERED,
            grpc.StatusCode.DEADLINE_EXCEEDED: Outcome.UNANSWERED,
            grpc.StatusCode.CANCELLED: Outcome.UNANSWERED,
        }
        return kinds.get(code, Outcome.FAILED), code.name
    if isinstance(error, SlotsFull):
        return Outcome.FULL, "full"
    if is_refused(error):
        return Outcome.GIVEN_UP, getattr(error, "sqlstate", None) or SERIALIZATION_FAILURE
    cause = error.__cause__ if isinstance(error, OrderFailed) else error
    if isinstance(cause, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests):
        return Outcome.NO_CONNECTION, "no connection"
    label = getattr(cause, "sqlstate", None) or type(cause or error).__name__
    return (Outcome.UNANSWERED if isinstance(error, ServiceUnavailable) else Outcome.FAILED), label
