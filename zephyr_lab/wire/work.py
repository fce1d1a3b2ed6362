"""The work of a session at the wire, in a thread of its own: a function with any driver, a request, a command."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from zephyr_lab.errors import LabError
from zephyr_lab.functions.places import stands_at
from zephyr_lab.functions.turn import Abandoned, interrupt
from zephyr_lab.wire.record import Record

Work = Callable[[Callable[[Any], object]], Any]
"""It calls its argument with each object on which it waits, whose `close()` ends the wait."""

LOOK_SECONDS = 0.002  # most threads that are waited for have nothing more to do


@runtime_checkable
class Located(Protocol):
    """A wait that can describe itself, such as one for a process."""

    def stands_at(self) -> str: ...


class WorkThread:
    """Runs `work`, and reads its end into `record`; then `is_done` is set, and `on_end` called in the thread."""

    def __init__(self, name: str, work: Work, record: Record, on_end: Callable[[], object]) -> None:
        self._work, self._record, self._on_end = work, record, on_end
        self.is_done = False
        self._waits_on: list[Any] = []
        self._thread = threading.Thread(name=f"session {name}", target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def has_begun(self) -> bool:
        return self._thread.ident is not None

    def _run(self) -> None:
        with contextlib.suppress(Abandoned):
            try:
                self._record.end(self._work(self._waits_on.append))
            except Abandoned:
                raise
            except LabError as error:
                self._record.raised = error
                self._record.refuse(error)
            except BaseException as error:
                self._record.end(error, error)
            finally:
                self.is_done = True
                self._on_end()

    def stands_at(self) -> str:
        """The line of code that it is in, or else what it waits for, or ''."""
        said = [one.stands_at() for one in self._waits_on if isinstance(one, Located)]
        return stands_at(self._thread.ident) or "".join(said[-1:])

    def end_waits(self) -> None:
        """Ends its waits."""
        if not self.is_done:
            for one in self._waits_on:
                one.close()

    def interrupt(self) -> None:
        """Ends it as soon as it runs Python."""
        interrupt(self._thread)

    def join(self, seconds: float, serve: Callable[[], object]) -> None:
        """Waits at most so many seconds for its end, and calls `serve` meanwhile."""
        deadline = time.monotonic() + seconds
        while self._thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            self._thread.join(min(left, LOOK_SECONDS))
            serve()
