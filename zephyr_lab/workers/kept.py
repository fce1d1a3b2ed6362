"""What a worker keeps from piece to piece: what it works on, such as a lab, opened for the first piece that needs it.

One piece at a time works in a process, since what functions do is intercepted in all of it: threads take turns.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
Open = Callable[[contextlib.ExitStack], T]
"""Opens what a worker works on, and has the stack close it. It is picklable, and equal to its copies."""


class Kept:
    """What is open in this process, and what was made of it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._stack = contextlib.ExitStack()
        self._open: Any = None
        self._opened: Any = None
        self._of_it = contextlib.ExitStack()
        self._made: tuple[Any, Any] | None = None

    @contextlib.contextmanager
    def opened(self, open_it: Open[T]) -> Iterator[T]:
        """What `open_it` opens, for this thread alone; another one that is open is closed first."""
        with self._lock:
            if self._open != open_it:
                self.close()
                try:
                    self._opened = open_it(self._stack)
                except BaseException:
                    self.close()
                    raise
                self._open = open_it
            yield self._opened

    def made(self, what: Any, make: Open[T]) -> T:
        """The same as the last time if it is made for an equal `what`, else what was is closed; call it in `opened`."""
        if self._made is None or self._made[0] != what:
            self._made = None
            self._of_it.close()
            self._made = what, make(self._of_it)
        made: T = self._made[1]
        return made

    def close(self) -> None:
        """Closes what is open, after the piece that works on it."""
        with self._lock:
            self._open = self._opened = self._made = None
            with self._stack:  # is closed whatever the first one raises
                self._of_it.close()


KEPT = Kept()
"""Of this process."""
