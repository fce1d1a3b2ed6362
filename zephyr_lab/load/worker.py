"""A process of a run: clients, or the service's gRPC face. JSON lines in and out.

Its standard input is a lifeline: a line `stop` ends the run early with what was counted, and when the pipe closes the
process ends at once. It has a session of its own, so that Ctrl-C reaches only whoever started the run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import date, datetime
from typing import Any

import psycopg
import psycopg_pool
import redis.exceptions

from zephyr_lab.load.client import Share, run_share
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Counts, Outcome
from zephyr_lab.load.service import Where, service
from zephyr_lab.orders.face import Serving


def run_with_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    """asyncio, faster where uvloop is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def tell(**said: Any) -> None:
    print(json.dumps(said), flush=True)


class Orders:
    """What comes on standard input, read by a thread."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.go: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True).start()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "go":
                loop.call_soon_threadsafe(self.go.set_result, float(rest))
            elif word == "stop":
                loop.call_soon_threadsafe(self._stop)
        os._exit(1)  # whoever started us is gone

    def _stop(self) -> None:
        self.stop.set()
        if not self.go.done():
            self.go.cancel()


async def clients(share: Share) -> None:
    """The role of a share of the clients."""
    orders = Orders()

    async def ready() -> float:
        tell(ready=True)
        return await orders.go

    def seen(counts: Counts) -> None:
        tell(
            sent=len(counts.outcomes), created=counts.of_outcome(Outcome.CREATED),
            errors=sum(counts.errors.values()), hits=counts.hits,
        )  # fmt: skip

    tell(counts=(await run_share(share, ready, seen, orders.stop)).to_dict())


async def face(share: Share) -> None:
    """The role of the service, until it is told to stop. Its clock moves on with the orders that come."""
    orders, counts, number = Orders(), Counts(), 0
    incident = share.incident

    def clock() -> datetime:
        nonlocal number
        number += 1
        return incident.moment(number - 1, (number - 1) % incident.slots, share.today)

    async with service(incident, share.where, share.pool, share.today, counts) as made:
        async with Serving(made, clock=clock) as serving:
            tell(ready=True, face=f"127.0.0.1:{serving.port}")
            waiting = asyncio.create_task(orders.stop.wait())
            while not waiting.done():
                await asyncio.wait([waiting], timeout=0.05)
                made.pool.look()
    tell(counts=counts.to_dict())


ROLES: dict[str, Callable[[Share], Coroutine[Any, Any, None]]] = {"clients": clients, "face": face}


def main() -> None:
    told = json.loads(sys.stdin.readline())
    share = Share(
        Incident.of(told["incident"]), told["number"], told["pool"], Where(**told["where"]),
        date.fromisoformat(told["today"]),
    )  # fmt: skip
    try:
        run_with_uvloop(ROLES[told["role"]](share))
    except asyncio.CancelledError:
        tell(counts=Counts(share=share.number).to_dict())  # stopped before it began
    except (psycopg.Error, psycopg_pool.PoolTimeout, redis.exceptions.RedisError, OSError) as error:
        tell(error=f"{type(error).__name__}: {error}")
    os._exit(0)  # the thread that reads must not hold us up


if __name__ == "__main__":
    main()
