"""The order service under load: with a pool that measures waits, over the incident's slots."""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any
from uuid import uuid4

import grpc
import psycopg
import psycopg_pool

from zephyr_lab.errors import SERIALIZATION_FAILURE
from zephyr_lab.load.arrivals import asks
from zephyr_lab.load.conditions import Blocks, Incident
from zephyr_lab.load.counts import MOST_RETRIES, Counts, Outcome
from zephyr_lab.orders import clients
from zephyr_lab.orders.admission import Admission
from zephyr_lab.orders.days import insert_booked
from zephyr_lab.orders.errors import DayNotOpen, OrderFailed, ServiceUnavailable, SlotsFull
from zephyr_lab.orders.failures import is_lost
from zephyr_lab.orders.models import Order, Window
from zephyr_lab.orders.observer import Observer
from zephyr_lab.orders.retry import is_refused
from zephyr_lab.orders.service import POOL, OrderService
from zephyr_lab.orders.session import Params, Row, Session
from zephyr_lab.orders.slots import Place
from zephyr_lab.orders.statements import insert_order
from zephyr_lab.orders.strategies import Load, Strategy


@dataclass(frozen=True)
class Where:
    """The addresses of the servers: a DSN with its settings, a Redis URL, or the service's own address."""

    dsn: str = field(repr=False)
    redis_url: str | None = field(default=None, repr=False)
    address: str | None = None


class TimedPool(psycopg_pool.AsyncConnectionPool):
    """A pool that measures how long callers wait for a connection, and how long they hold it."""

    def __init__(self, dsn: str, size: int, counts: Counts, configure: Any = None) -> None:
        settings = {**POOL, "min_size": size, "max_size": size}
        super().__init__(dsn, open=False, configure=configure, **settings)
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
        """Records how many callers wait for a connection now."""
        waiting = self.get_stats().get("requests_waiting", 0)
        self.counts.most_waiting = max(self.counts.most_waiting, waiting)


class CountingObserver(Observer):
    """Counts the service's events in `Counts`."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def attempt_began(self) -> None:
        self._counts.attempts += 1

    def waited(self, seconds: float) -> None:
        self._counts.lock_wait.record(seconds)

    def refused(self, code: str) -> None:
        self._counts.refusals[code] += 1

    def order_tried(self, retries: int) -> None:
        self._counts.retries[min(retries, MOST_RETRIES)] += 1


@asynccontextmanager
async def service(
    incident: Incident, where: Where, pool_size: int, today: date, counts: Counts
) -> AsyncIterator[OrderService]:
    """An order service whose connections are all open before the first order; it counts in `counts`."""
    strategy = incident.as_strategy()
    async with AsyncExitStack() as stack:
        first = next(asks(incident)).order(incident, today)
        pool = TimedPool(where.dsn, pool_size, counts, partial(_rehearse, strategy, first))
        await stack.enter_async_context(pool)
        await pool.wait()
        redis = await redis_for(strategy, where, stack)
        opened = set(incident.opened(today))  # by the process that runs the load
        admission = Admission(pool) if incident.through == "grpc" and incident.shed else None
        yield OrderService(pool, strategy, redis, Blocks(), CountingObserver(counts), opened, admission)


class Rehearsal(Session):
    """Whose transactions are rolled back at their end."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        with suppress(_Over):
            async with super().transaction():
                yield
                raise _Over

    async def at_once(self, sql: str, params: Params = None, *, may_wait: bool = False) -> Row | None:
        async with self.transaction():
            return await self.row(sql, params, may_wait=may_wait)


class _Over(Exception):
    """A rehearsed transaction has come to its end."""


REHEARSALS = 6
"""PostgreSQL plans a prepared statement anew five times before it keeps a plan."""


async def _rehearse(strategy: Strategy, order: Order, connection: psycopg.AsyncConnection[Any]) -> None:
    """Books on a new connection, and takes it back: a run is to show the service as it is when it has been running.

    The first order of a connection takes PostgreSQL ten times as long as a later one. Of a run's 8,000 orders, 25 such
    within the first tenth of a second were most of the slowest hundredth.
    """
    session, window = Rehearsal(connection, isolation=strategy.isolation), Blocks().window(order.created_at)
    with suppress(Exception):  # what fails here, fails in the run
        for _ in range(REHEARSALS):
            await _rehearse_one(strategy, session, order.model_copy(update={"id": uuid4()}), window)


async def _rehearse_one(strategy: Strategy, session: Session, order: Order, window: Window) -> None:
    if strategy.load is not Load.REDIS:
        await strategy.book(session, order, window)
        return
    slot = window.slots()[0]  # nothing is booked in Redis, which has nothing to get ready
    async with session.transaction():
        await insert_order(session, order, slot)
    with suppress(DayNotOpen):
        await insert_booked(session, order, Place(slot, str(order.id)))


async def redis_for(strategy: Strategy, where: Where, stack: AsyncExitStack) -> Any:
    """A connected Redis client, until `stack` is closed; None if the strategy needs no Redis."""
    if strategy.load is not Load.REDIS or not where.redis_url:
        return None
    client = await stack.enter_async_context(clients.async_redis_client(where.redis_url))
    await client.ping()
    return client


def outcome_of(error: BaseException) -> tuple[Outcome, str]:
    """The outcome of an order for its customer by its error, and the error's SQLSTATE, status or name."""
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
    # A server that cannot write has answered: the order is not saved.
    answered = isinstance(cause, psycopg.Error) and not is_lost(cause)
    unknown = isinstance(error, ServiceUnavailable) and not answered
    return (Outcome.UNANSWERED if unknown else Outcome.FAILED), label
