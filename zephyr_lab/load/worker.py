"""A process that takes part in runs, as clients or as the gRPC server; it is controlled by lines of JSON.

Its standard input is a lifeline: a line `stop` ends a run early with what was counted, and when the pipe closes the
process ends at once. It has a session of its own, so that Ctrl-C reaches only whoever started the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import date, datetime
from typing import Any, ClassVar

import psycopg
import psycopg_pool
import redis.exceptions
from psycopg.conninfo import conninfo_to_dict

from zephyr_lab.load.client import Share, run_share, run_with_uvloop
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Counts, Outcome
from zephyr_lab.load.line import BadLine
from zephyr_lab.load.service import Where, service
from zephyr_lab.orders.grpc import Server


def tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


class Orders:
    """The messages about the run under way."""

    current: ClassVar[Orders | None] = None

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.go: asyncio.Future[float] = self._loop.create_future()
        Orders.current = self

    def take(self, line: str) -> None:
        """Takes a message; called in the thread that reads."""
        word, _, rest = line.partition(" ")
        with contextlib.suppress(RuntimeError):  # that run is over
            self._loop.call_soon_threadsafe(self._go if word == "go" else self._stop, rest)

    def _go(self, when: str) -> None:
        if not self.go.done():
            self.go.set_result(float(when))

    def _stop(self, _: str) -> None:
        self.stop.set()
        if not self.go.done():
            self.go.cancel()


def read(runs: queue.Queue[dict[str, Any]]) -> None:
    """Passes on lines from standard input, until it closes because the owner has ended."""
    for line in sys.stdin:
        if line.startswith("{"):
            runs.put(json.loads(line))
        elif Orders.current:
            Orders.current.take(line.strip())
    os._exit(1)


async def clients(share: Share) -> None:
    """The role of a share of the clients."""
    orders = Orders()

    async def ready() -> float:
        tell(ready=True)
        return await orders.go

    def seen(counts: Counts) -> None:
        tell(
            sent=len(counts.outcomes),
            created=counts.of_outcome(Outcome.CREATED),
            errors=sum(counts.errors.values()),
            hits=counts.hits,
        )

    tell(counts=(await run_share(share, ready, seen, orders.stop)).to_dict())


async def server(share: Share) -> None:
    """The role of the service, until `stop`. Its clock follows the orders."""
    orders, counts, number = Orders(), Counts(), 0
    incident = share.incident
    if incident.stall and share.where.address is None:
        _die_with_owner()

    def clock() -> datetime:
        nonlocal number
        number += 1
        return incident.moment(number - 1, (number - 1) % incident.slots, share.today)

    async with (
        service(incident, share.where, share.pool, share.today, counts) as made,
        Server(made, port=_port(share.where.address), clock=clock, carries_deadlines=incident.shed) as serving,
    ):
        tell(ready=True, address=f"127.0.0.1:{serving.port}")
        waiting = asyncio.create_task(orders.stop.wait())
        while not waiting.done():
            await asyncio.wait([waiting], timeout=0.05)
            made.pool.look()
    tell(counts=counts.to_dict())


def _die_with_owner() -> None:
    """On Linux: while it is stopped it cannot see that its lifeline closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


def _port(address: str | None) -> int:
    """That of a service that was killed, which this one takes over; else any."""
    return int(address.rpartition(":")[2]) if address else 0


async def line(share: Share) -> None:
    """The role of the way to PostgreSQL, until `stop`."""
    orders, parts = Orders(), conninfo_to_dict(share.where.dsn)
    wanted = share.incident.line
    assert wanted
    async with BadLine(wanted, f"{parts['host']}/.s.PGSQL.{parts['port']}", share.incident.seed) as bad:
        tell(port=bad.port)
        await orders.stop.wait()
    tell(counts=Counts().to_dict())


ROLES: dict[str, Callable[[Share], Coroutine[Any, Any, None]]] = {"clients": clients, "server": server, "line": line}


def main() -> None:
    for name in ("psycopg.pool", "grpc._cython.cygrpc", "zephyr_lab"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is counted
    runs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=read, args=(runs,), daemon=True).start()
    while True:
        carry_out(runs.get())


def carry_out(told: dict[str, Any]) -> None:
    """One run."""
    share = Share(
        Incident.of(told["incident"]),
        told["number"],
        told["pool"],
        Where(**told["where"]),
        date.fromisoformat(told["today"]),
    )
    try:
        run_with_uvloop(ROLES[told["role"]](share))
    except asyncio.CancelledError:
        tell(counts=Counts(share=share.number).to_dict())  # stopped before it began
    except (psycopg.Error, psycopg_pool.PoolTimeout, redis.exceptions.RedisError, OSError, RuntimeError) as error:
        tell(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
