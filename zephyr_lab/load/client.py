"""One process of clients: sends its share of the orders at their times, and counts their outcomes.

An order's latency begins at its intended time. A client that measures from the actual sending leaves out exactly
the orders that had to wait (coordinated omission, Gil Tene).
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import date
from itertools import chain, islice
from typing import Any

import grpc

from zephyr_lab.load.arrivals import Ask, share_of
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import PERIOD, Counts, Outcome
from zephyr_lab.load.detector import ClientDetector
from zephyr_lab.load.service import TimedPool, Where, outcome_of, service
from zephyr_lab.load.strategy_only import strategy_only
from zephyr_lab.orders.grpc import PizzaOrderRequest, create_order_stub
from zephyr_lab.orders.grpc.status import PUSHBACK
from zephyr_lab.orders.models import Order

DRAIN_SECONDS = 15.0
"""Seconds for which a run waits for answers after its end."""

STOPPED_DRAIN_SECONDS = 2.0
LOOK_SECONDS = 0.05

MADE_AHEAD = 15_000

Send = Callable[[Ask], Awaitable[object]]


@dataclass(frozen=True)
class Share:
    """A part of a run, as plain data. `pool` connections are this part's own."""

    incident: Incident
    number: int
    pool: int
    where: Where
    today: date


@asynccontextmanager
async def sending(share: Share, counts: Counts, ahead: Ahead) -> AsyncIterator[tuple[Send, TimedPool | None]]:
    """How an order is sent: to the strategy alone, to a service in this process, or over gRPC."""
    if share.incident.through == "bare":
        async with strategy_only(share.incident, share.where, share.pool, counts) as book:
            yield (lambda ask: book(ahead.order(ask))), None
        return
    if share.where.address is None:
        async with service(share.incident, share.where, share.pool, share.today, counts) as made:
            yield (lambda ask: made.create(ahead.order(ask))), made.pool
        return
    async with grpc.aio.insecure_channel(share.where.address, options=CHANNEL) as channel:
        await channel.channel_ready()
        stub, incident = create_order_stub(channel), share.incident

        async def send(ask: Ask) -> Any:
            key = (("idempotency-key", str(ask.id)),)
            request = PizzaOrderRequest(**ask.request())
            for before in range(incident.tries):
                try:
                    return await stub(request, metadata=key, timeout=incident.deadline)
                except grpc.aio.AioRpcError as error:
                    if before + 1 == incident.tries or outcome_of(error)[0] not in SENT_AGAIN:
                        raise
                    await asyncio.sleep(_pause(error))
            raise AssertionError("a client tries at least once")

        yield send, None


CHANNEL = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
SENT_AGAIN = (Outcome.UNANSWERED, Outcome.GIVEN_UP)


def _pause(error: grpc.aio.AioRpcError) -> float:
    """As the service says; else next to none, as most clients have it."""
    told = dict(tuple(error.trailing_metadata() or ())).get(PUSHBACK)
    return int(told) / 1000 if told else random.uniform(0, 0.1)


class Ahead:
    """Orders that are made before the clock starts, so that making them is not measured."""

    def __init__(self, share: Share) -> None:
        self._incident, self._today = share.incident, share.today
        # Of a closed loop half of the most: two cores book less.
        expected = share.incident.expected // (2 if share.incident.is_closed else 1)
        most = min(MADE_AHEAD, expected // share.incident.processes)
        rest = share_of(share.incident, share.number)
        ready = list(islice(rest, most))
        self.asks: Iterator[Ask] = chain(ready, rest)
        direct = share.where.address is None
        self._made = {ask.number: ask.order(share.incident, share.today) for ask in (ready if direct else ())}

    def order(self, ask: Ask) -> Order:
        return self._made.pop(ask.number, None) or ask.order(self._incident, self._today)


class Client:
    """The loop that sends orders, and its counts."""

    def __init__(
        self, share: Share, send: Send, counts: Counts, stop: asyncio.Event, asks: Iterator[Ask], began: float
    ) -> None:
        self.incident, self._send, self.counts, self._stop, self._began = share.incident, send, counts, stop, began
        self._asks = asks
        self._limits = [asyncio.Semaphore(share.incident.per_slot or 1) for _ in range(share.incident.slots)]
        self.detector: ClientDetector | None = None

    async def one(self, ask: Ask, place: int, intended: float) -> None:
        """Sends an order, and counts its outcome."""
        counts = self.counts
        seen = self.detector.before(ask) if self.detector else None
        outcome = Outcome.UNANSWERED
        counts.begun[place] = self._now()
        try:
            async with self._limits[ask.lane] if self.incident.per_slot else nullcontext():
                await self._send(ask)
            outcome = Outcome.CREATED
        except asyncio.CancelledError:
            counts.errors["not waited for"] += 1
            raise
        except Exception as error:
            outcome, label = outcome_of(error)
            if outcome is not Outcome.FULL:
                counts.errors[label] += 1
        finally:
            end = time.monotonic()
            counts.outcomes[place] = outcome
            counts.ended[place] = max(self._now(), counts.begun[place])
            counts.last_end = end - self._began
            if outcome is Outcome.CREATED:
                counts.latency.record(end - intended)
                counts.created[int((end - self._began) / PERIOD)] += 1
        if seen is not None and self.detector:
            counts.hits += self.detector.after(ask, seen)

    def _now(self) -> int:
        """Microseconds from the start."""
        return max(0, int(1e6 * (time.monotonic() - self._began)))

    def _next(self) -> tuple[Ask, int] | None:
        ask = next(self._asks, None)
        if ask is None:
            return None
        self.counts.outcomes.append(Outcome.UNSENT)
        self.counts.begun.append(0)
        self.counts.ended.append(0)
        return ask, len(self.counts.outcomes) - 1

    async def open_loop(self) -> None:
        """Sends every order at its time, independent of the others."""
        under_way: set[asyncio.Task[None]] = set()
        stopping = asyncio.create_task(self._stop.wait())
        while not self._stop.is_set() and (due := self._next()):
            ask, place = due
            intended = self._began + ask.at
            if (delay := intended - time.monotonic()) > 0:
                await asyncio.wait([stopping], timeout=delay) if delay > 0.1 else await asyncio.sleep(delay)
                if self._stop.is_set():
                    break
            self.counts.offered[int(ask.at / PERIOD)] += 1
            self.counts.seconds_behind = max(self.counts.seconds_behind, time.monotonic() - intended)
            task = asyncio.create_task(self.one(ask, place, intended))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        stopping.cancel()
        await self._drain(under_way)

    async def _drain(self, under_way: set[asyncio.Task[None]]) -> None:
        left = STOPPED_DRAIN_SECONDS if self._stop.is_set() else DRAIN_SECONDS
        stopping = asyncio.create_task(self._stop.wait())
        while under_way and left > 0:
            began = time.monotonic()
            await asyncio.wait({*under_way}, timeout=min(left, 0.25))
            left -= time.monotonic() - began
            if stopping.done():
                left = min(left, STOPPED_DRAIN_SECONDS)
        stopping.cancel()
        await _cancel(under_way)

    async def closed_loop(self, clients: int) -> None:
        """So many clients, each with one order under way."""
        until = self._began + self.incident.seconds
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, self._began - time.monotonic()))

        async def client() -> None:
            while not self._stop.is_set() and (now := time.monotonic()) < until and (due := self._next()):
                self.counts.offered[int((now - self._began) / PERIOD)] += 1
                await self.one(*due, now)

        tasks = {asyncio.create_task(client()) for _ in range(clients)}
        await asyncio.wait(tasks, timeout=self.incident.seconds + DRAIN_SECONDS)
        await _cancel({task for task in tasks if not task.done()})


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5)


async def run_share(
    share: Share,
    ready: Callable[[], Awaitable[float]],
    on_progress: Callable[[Counts], object],
    stop: asyncio.Event,
) -> Counts:
    """Carries out a share. `ready` is awaited when all is prepared, and returns the start by the machine's monotonic
    clock; `on_progress` is called with the counts now and then; `stop` ends it early.
    """
    incident = share.incident
    counts = Counts(share=share.number)
    ahead = Ahead(share)
    async with sending(share, counts, ahead) as (send, pool):
        gc.collect()
        gc.freeze()
        client = Client(share, send, counts, stop, ahead.asks, await ready())
        if incident.detector:
            client.detector = ClientDetector(incident, share.where, share.today)
        looking = asyncio.create_task(_look(client, pool, on_progress))
        try:
            if incident.is_closed:
                clients = len(range(share.number, incident.connections, incident.processes))
                await client.closed_loop(clients)
            else:
                await client.open_loop()
        finally:
            looking.cancel()
            if client.detector:
                await client.detector.close()
            gc.unfreeze()
    return counts


async def _look(client: Client, pool: TimedPool | None, on_progress: Callable[[Counts], object]) -> None:
    last = 0.0
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if pool:
            pool.look()
        if time.monotonic() - last > PERIOD:
            last = time.monotonic()
            on_progress(client.counts)


def run_with_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine on uvloop's event loop if that is installed, else on asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
