"""Pieces of work, done by the workers of an executor; one that is killed costs no more than what it was doing.

The executor is the caller's, or a pool of processes of the standard library. That breaks as a whole when one of its
processes is killed, and another one takes its place; Dask gives a lost piece to another worker by itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import connection
from types import TracebackType
from typing import Any

from zephyr_lab.errors import ServerLost

MOST_BREAKS = 3  # in a row, with nothing done between them
END_SECONDS = 3.0  # for a process to end by itself
_GIVEN_UP = ("KilledWorker", "FutureCancelledError", "CommClosedError")  # Dask's, after three workers by default


def start_worker() -> None:
    """In a process of the pool: an interrupt is for the first process to handle, and with that its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)  # its servers end with it


@dataclass(frozen=True)
class _Given:
    name: Any
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Workers:
    """Those of `executor`, or `jobs` processes that are started here and end with the block.

    Also raises what a piece of work has raised: in `take`.
    """

    def __init__(self, executor: Executor | None = None, jobs: int = 1) -> None:
        self._given, self._jobs = executor, jobs
        self._running: dict[Future[Any], _Given] = {}
        self._forgotten: list[Future[Any]] = []
        self._others = set(multiprocessing.active_children())
        self._pool: Executor | None = None
        self._breaks = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()
        self._end_pool(at_once=error is not None or not all(future.done() for future in self._forgotten))

    # -- how many

    @property
    def number(self) -> int:
        """How many there are now, as far as the executor says."""
        if self._given is None:
            return self._jobs
        if (client := getattr(self._given, "_client", None)) is not None:  # Dask's
            return max(1, len(client.nthreads()))
        return int(getattr(self._given, "_max_workers", 0) or self._jobs)

    @property
    def running(self) -> int:
        """How many pieces have been given and not taken back."""
        return len(self._running)

    @property
    def has_done(self) -> bool:
        """Whether `take` would not wait."""
        return any(future.done() for future in self._running)

    # -- work

    def give(self, name: Any, function: Callable[..., Any], *arguments: Any) -> None:
        """Has `function(*arguments)` called by a worker; all of it is picklable. `name` comes back with the result."""
        self._send(_Given(name, function, arguments))

    def take(self) -> tuple[Any, Any]:
        """Waits until a piece is done: its name, and its result. Raises ServerLost if no worker can be had any more."""
        while True:
            future = next(iter(wait(self._running, return_when=FIRST_COMPLETED).done))
            try:
                result = future.result()
            except BrokenExecutor as error:
                self._renew(error)
            except Exception as error:
                given = self._running.pop(future)
                if type(error).__name__ in _GIVEN_UP:
                    raise ServerLost(
                        f"{given.function.__name__} was given up by the cluster: {error}. Look at its workers' logs"
                    ) from error
                raise
            else:
                self._breaks = 0
                return self._running.pop(future).name, result

    def forget(self) -> None:
        """Takes back what was given, as far as it has not been begun; the results of the rest are nobody's.

        From a pool of its own when it is given something else: a pool that ends with a piece that was cancelled writes
        a traceback in some versions of Python (python/cpython#107219).
        """
        if self._given is not None:
            self._cancel(self._running)
        self._forgotten = [one for one in (*self._forgotten, *self._running) if not one.done()]
        self._running.clear()

    def last(self, seconds: float) -> Iterator[tuple[Any, Any]]:
        """After an interrupt: the results of what workers are at, if they end within so many seconds."""
        for future in self._running:
            future.cancel()
        deadline = time.monotonic() + seconds
        for future, given in list(self._running.items()):
            with contextlib.suppress(Exception):  # it was cancelled, its worker has ended, or it came to nothing
                yield given.name, future.result(timeout=max(0.0, deadline - time.monotonic()))
            if future.done():
                del self._running[future]

    def _cancel(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()

    def _send(self, given: _Given) -> None:
        self._cancel(self._forgotten)
        executor = self._given or self._pool
        if executor is None:
            context = multiprocessing.get_context("spawn")
            executor = self._pool = ProcessPoolExecutor(self._jobs, mp_context=context, initializer=start_worker)
        try:
            future = executor.submit(given.function, *given.arguments)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        self._running[future] = given

    def _renew(self, error: BrokenExecutor) -> None:
        """Another pool for a broken one, and all pieces again that were in it."""
        if self._given is not None:
            raise ServerLost(
                f"a worker was ended from outside, and {type(self._given).__name__} does not replace it: do it again "
                "with another executor, with jobs=, or on a Dask cluster, which do"
            ) from error
        self._breaks += 1
        if self._breaks > MOST_BREAKS:
            raise ServerLost(
                f"worker processes ended {self._breaks} times, and nothing was done in between: is memory short (then "
                "do it again with fewer jobs), or does the program do its work on import, without `if __name__ == "
                "'__main__':`?"
            ) from error
        lost = list(self._running.values())
        self._running.clear()
        self._end_pool(at_once=True)
        for given in lost:
            self._send(given)

    def _end_pool(self, *, at_once: bool) -> None:
        if self._pool is None:
            return
        mine = set(multiprocessing.active_children()) - self._others
        self._pool.shutdown(wait=not at_once, cancel_futures=True)
        self._pool = None
        if at_once:
            for end in ("terminate", "kill"):
                for one in mine:
                    getattr(one, end)()
                for one in mine:
                    one.join(END_SECONDS)
