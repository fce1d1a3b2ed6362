"""What a schedule needs of a session: a function in a thread, or a request whose round trips are seen at the wire."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from zephyr_lab.errors import LabError
from zephyr_lab.functions.trips import Trips
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.settling import Watched
from zephyr_lab.schedule.transcript import Failure, Result


class Scheduled(Watched, Protocol):
    """A session as `FunctionExecution` runs it: it parks before each round trip until it is let `go`.

    `sleeps` counts sleeps since another session moved, `trips` round trips. `misuse` is what cannot be explored,
    `outside` what was used that no outcome holds, as sentences.
    """

    sleeps: int

    @property
    def log(self) -> Trips: ...
    @property
    def trips(self) -> int: ...
    @property
    def misuse(self) -> LabError | None: ...
    @property
    def outside(self) -> Collection[str]: ...

    @property
    def ended(self) -> bool: ...
    @property
    def is_under_way(self) -> bool:
        """Whether it has been started, and has not ended."""
        ...

    @property
    def raised(self) -> BaseException | None:
        """What it ended with, where that says that something went wrong."""
        ...

    @property
    def was_refused(self) -> bool:
        """Whether it was refused on account of another session, and says so."""
        ...

    @property
    def last_refusal(self) -> str: ...

    @property
    def is_lost(self) -> bool:
        """Whether its backend has ended."""
        ...

    def start(self) -> None:
        """Has it run until its first round trip, or its end."""

    def go(self) -> None:
        """Has it make the round trip that it waits to make, and run until the next one, or its end."""

    def again(self) -> Scheduled:
        """A session that tries the same again."""
        ...

    def make_impatient(self, milliseconds: int) -> bool:
        """Shortens its deadlock_timeout; False where that cannot be done now."""
        ...

    def told(self) -> Result | Failure:
        """What it returned or raised, as part of the outcome."""
        ...

    def stands_at(self) -> str:
        """The line of code that it is in; '' if that is not known."""
        ...

    def abandon(self) -> None: ...
    def interrupt(self) -> None: ...
    def join(self, seconds: float) -> None: ...
    def close(self) -> None: ...


class Elsewhere(Protocol):
    """Makes the sessions of an exploration that are no functions in threads under control, by `names`."""

    @property
    def names(self) -> Collection[str]: ...

    @property
    def functions(self) -> Sequence[Callable[..., Any]]:
        """Those of its sessions that are functions of this process."""
        ...

    @property
    def hides_memory(self) -> bool:
        """Whether sessions may share memory that cannot be looked at, as those of a service do."""
        ...

    def controlled(self) -> AbstractContextManager[None]:
        """While it lasts, they can be scheduled."""
        ...

    def begin(self, level: str) -> None:
        """Before each schedule."""

    def session(self, name: str) -> Scheduled: ...

    def not_compared(self) -> Collection[str]:
        """What was seen of them that is in no outcome."""
        ...

    def unordered(self) -> str:
        """Why there may be orders of them that cannot be had, as a sentence; '' for nothing."""
        ...

    def troubles(self) -> str:
        """What may have kept them from their work, as a sentence; '' for nothing."""
        ...


MakeSession = Callable[[str, Channel | None], Scheduled]
