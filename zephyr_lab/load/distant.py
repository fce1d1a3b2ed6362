"""Clients of a run on the workers of a Dask cluster, each with its share of the orders, all from one instant on.

Each is told the instant by its own clock, whose offset is measured beforehand: half of the shortest way there and back
is what the offset may be wrong by. A latency has a beginning and an end on one clock, so an offset is no part of it;
clients begin apart by as much as their offsets are wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import threading
import time
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.load.client import Share, run_share, run_with_uvloop
from zephyr_lab.load.counts import Counts, Outcome
from zephyr_lab.workers.cluster import dask_client

LEAD_SECONDS = 5.0  # from the word to the start: for pools to be filled
ASKED = 20  # times for its clock; the shortest way counts


@dataclass(frozen=True)
class Clock:
    """A worker's clock: how many seconds it is ahead of this machine's, give or take `error`."""

    worker: str
    ahead: float
    error: float


class Distant:
    """One client on a worker, as `processes.Process` is one in a process."""

    pid = 0
    is_alive = True

    def __init__(self, cluster: Cluster, share: Share, clock: Clock) -> None:
        self._cluster, self.share, self.clock = cluster, share, clock
        self.said: dict[str, Any] = {}

    def tell(self, line: str) -> None:
        word, _, when = line.partition(" ")
        if word == "go":
            self._cluster.begin(self, float(when))
        else:
            self._cluster.stop()

    @property
    def counts(self) -> Counts | None:
        return Counts.of(self.said["counts"]) if "counts" in self.said else None


@dataclass
class Cluster:
    """The workers behind an executor of Dask's, for one run. Raises BadInput for another executor."""

    executor: Any
    clients: list[Distant] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        client = dask_client(self.executor)
        if client is None:
            raise BadInput(
                f"clients begin at one instant, each on a worker of its own, which {type(self.executor).__name__} "
                "cannot promise: give the executor of a Dask client, or leave it out"
            )
        self._dask: Any = client  # its types say that each answer may have to be awaited
        self._topic = f"zephyr-lab-{uuid.uuid4().hex}"
        self._running: dict[Future[dict[str, Any]], Distant] = {}
        self.workers = sorted(self._dask.nthreads())

    def check_reach(self, what: str) -> None:
        """Raises BadInput if a worker is on another machine, from where `what`, the lab's own, is not reached."""
        here = _machine()
        for worker, name in self._dask.run(platform.node).items():
            if name != here:
                raise BadInput(
                    f"{what} is reached from this machine only, and the worker {worker} is on {name}: set "
                    "ZEPHYR_LAB_PG_DSN to a server that all of them reach, and say --yes-load-this-database"
                )

    def start(self, shares: list[Share]) -> list[Distant]:
        """A client for each share, with the offset of its clock."""
        from distributed import Event

        self._stop = Event(f"{self._topic}-stop", client=self._dask)
        self._dask.subscribe_topic(self._topic, self._heard)
        for worker, share in zip(self.workers, shares, strict=False):
            self._dask.submit(warm, workers=[worker], allow_other_workers=False, pure=False).result()
            self.clients.append(Distant(self, share, self._clock(worker)))
        return self.clients

    def _clock(self, worker: str) -> Clock:
        found: list[tuple[float, float]] = []
        for _ in range(ASKED):
            sent = time.time()
            there = self._dask.run(time.time, workers=[worker])[worker]
            back = time.time()
            found.append(((back - sent) / 2, there - (sent + back) / 2))
        error, ahead = min(found)
        return Clock(worker, ahead, error)

    def begin(self, one: Distant, began: float) -> None:
        """Sends its share to a worker; `began` is by this machine's monotonic clock."""
        starts = time.time() + began - time.monotonic() + one.clock.ahead
        future = self.executor.submit(
            run_there, one.share, starts, self._topic, f"{self._topic}-stop",
            workers=[one.clock.worker], allow_other_workers=False, pure=False,
        )  # fmt: skip
        self._running[future] = one

    def stop(self) -> None:
        self._stop.set()

    def listen(self, seconds: float) -> None:
        """Waits at most so many seconds for clients to end. Raises ServerUnavailable for one that could not begin."""
        for future in wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done:
            client = self._running.pop(future)
            if future.cancelled() or future.exception():  # its worker has ended: its counts are lost, and that is said
                continue
            if "error" in (said := future.result()):
                raise ServerUnavailable(f"the client on {client.clock.worker} could not run: {said['error']}")
            client.said.update(said)

    def ended(self, clients: list[Distant]) -> bool:
        return not any(one in clients for one in self._running.values())

    def close(self) -> None:
        with contextlib.suppress(Exception):  # the cluster may be gone
            self._stop.set()
            self._dask.unsubscribe_topic(self._topic)
            for future in self._running:
                future.cancel()

    def _heard(self, event: tuple[float, dict[str, Any]]) -> None:
        """What a client has said on its way; called in a thread of Dask's."""
        said = dict(event[1])
        number = said.pop("share")
        for one in self.clients:
            if one.share.number == number:
                one.said.update(said)


def _machine() -> str:
    return platform.node()


# -- on a worker


def warm() -> None:
    """By being called: what the clients need is imported."""


def run_there(share: Share, starts: float, topic: str, stop_name: str) -> dict[str, Any]:
    """One share from the instant `starts` of this machine's clock on: its counts, or why not."""
    from distributed import Event, get_client, get_worker

    worker, stopped = get_worker(), Event(stop_name, client=get_client())  # here: another thread has no client
    began = time.monotonic() + starts - time.time()

    def seen(counts: Counts) -> None:
        worker.log_event(topic, {
            "share": share.number, "sent": len(counts.outcomes), "created": counts.of_outcome(Outcome.CREATED),
            "errors": sum(counts.errors.values()), "hits": counts.hits,
        })  # fmt: skip

    async def run() -> Counts:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def watch() -> None:
            if stopped.wait(timeout=starts - time.time() + 2 * share.incident.seconds + 60):
                with contextlib.suppress(RuntimeError):  # the run is over
                    loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch, daemon=True).start()

        async def ready() -> float:
            if (left := began - time.monotonic()) < 0:
                raise ServerUnavailable(f"it was ready {-left:.1f} s after the start: are its connections slow?")
            await asyncio.sleep(left)
            return began

        return await run_share(share, ready, seen, stop)

    try:
        return {"counts": run_with_uvloop(run()).to_dict()}
    except Exception as error:  # of a driver, which may not travel
        return {"error": f"{type(error).__name__}: {error}"}
