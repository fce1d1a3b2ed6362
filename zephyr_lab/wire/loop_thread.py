"""An event loop in a thread of its own, which runs coroutines for sessions that wait for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from zephyr_lab.errors import ScheduleError
from zephyr_lab.functions.places import stands_at, stands_in
from zephyr_lab.wire.processes import computes_here

T = TypeVar("T")
BUSY_SECONDS = 0.6  # less than FIRST_SECONDS of `stillness`, so that this is reported, and not a wait
END_SECONDS = 5.0
SETTLE_SECONDS = 0.2  # far more than a step of a task takes


class Running(Generic[T]):
    """A coroutine that `result` starts on the loop and waits for; `close()` cancels it."""

    def __init__(self, thread: LoopThread, coroutine: Coroutine[Any, Any, T]) -> None:
        self._thread, self._coroutine = thread, coroutine
        self._began = threading.Event()
        self._answer: Future[T] = Future()
        self._task: asyncio.Task[None] | None = None
        self._is_cancelled = False

    def _start(self) -> None:
        self._began.set()
        if self._is_cancelled:
            self._coroutine.close()
            self._answer.set_exception(asyncio.CancelledError())
        else:
            self._task = self._thread.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            self._answer.set_result(await self._coroutine)
        except BaseException as error:
            self._answer.set_exception(error)

    def result(self, seconds: float | None = None) -> T:
        """Starts it, and waits until it has ended, also after it is cancelled.

        Raises what it raises, TimeoutError, and ScheduleError if the loop is blocked.
        """
        self._thread.call(self._start)
        while not self._began.wait(BUSY_SECONDS):
            if computes_here(self._thread.cpu_seconds):
                continue
            self.close()
            raise ScheduleError(
                "the event loop is held up by a call that does not await, at "
                f"{self._thread.stands_at() or 'a place of no code of yours'}: until that returns, no other request of "
                "this process runs. Use one that awaits (asyncpg, psycopg's AsyncConnection), or let the framework run "
                "it in a thread (FastAPI: `def`, not `async def`)"
            )
        return self._answer.result(seconds)

    def stands_at(self) -> str:
        """The line of application code that it waits in, or '' if that is not known."""
        return stands_in(self._coroutine) if self._thread.settles() else self._thread.stands_at()

    def close(self) -> None:
        """Cancels it; it may run its cleanup."""
        self._is_cancelled = True
        self._thread.call(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class LoopThread:
    """Runs until `close()`. A daemon: it keeps no process from ending."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(name=name, target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            with contextlib.suppress(Exception):
                tasks = asyncio.all_tasks(self.loop)
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait_for(_all_of(tasks), END_SECONDS))
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    def call(self, what: Callable[[], object]) -> None:
        """Schedules a call on the loop; if that is closed, does nothing."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(what)

    def settles(self) -> bool:
        """Waits until the loop has run what is scheduled, SETTLE_SECONDS at most; returns whether it has."""
        reached = threading.Event()
        self.call(reached.set)
        return reached.wait(SETTLE_SECONDS)

    def stands_at(self) -> str:
        """The line of application code that it is at."""
        return stands_at(self._thread.ident)

    def cpu_seconds(self) -> float:
        """The processor time that its thread has used."""
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident or 0))

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        """Cancels its tasks and ends it; a loop that is blocked is abandoned."""
        self.call(self.loop.stop)
        self._thread.join(2 * END_SECONDS)


async def _all_of(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
