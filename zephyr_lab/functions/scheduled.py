"""The interface of a session in a schedule: a function in a thread, or a request whose round trips pass the wire."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from zephyr_lab.errors import LabError
from zephyr_lab.functions.trips import Trips
from zephyr_lab.schedule.channel import Channel
from zephyr_lab.schedule.faults import Fault
from zephyr_lab.schedule.settling import Watched
from zephyr_lab.schedule.transcript import Failure, Result

MOST_SLEEPS = 2
"""How often in a row a session may sleep while others are runnable: a loop that sleeps until another session has acted
has infinitely many schedules otherwise (fairness as in Musuvathi and Qadeer, 2008)."""


LONGEST_LIMIT = 10.0
"""In seconds: a longer one is taken for none, as a schedule in which it passes would take that long."""


class Scheduled(Watched, Protocol):
    """A session as `FunctionExecution` runs it: it parks before each round trip until `go` resumes it.

    `sleeps` counts sleeps since another session moved, `trips` round trips. `misuse` is what cannot be explored,
    `outside` what was used that is in no outcome, as sentences.
    """

    @property
    def sleeps(self) -> int: ...

    @sleeps.setter
    def sleeps(self, number: int) -> None: ...
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
    def is_unanswered(self) -> bool:
        """Whether what it was last resumed to do is under way at a server."""
        ...

    @property
    def raised(self) -> BaseException | None:
        """The error with which it ended, if any."""
        ...

    @property
    def was_refused(self) -> bool:
        """Whether it was refused because of another session, and reported that."""
        ...

    @property
    def last_refusal(self) -> str: ...

    @property
    def is_lost(self) -> bool:
        """Whether its backend has ended."""
        ...

    def start(self) -> None:
        """Runs it until its first round trip, or its end."""

    def go(self) -> None:
        """Lets it make its pending round trip, or give up waiting, and run until the next one, or its end."""

    def faults(self) -> Collection[Fault]:
        """What could befall it at its pending round trip."""
        ...

    def suffer(self, fault: Fault) -> None:
        """Goes on with a fault: dies before its pending round trip or after it, or does not get its answer; nothing is
        done about a time limit that passes."""

    def time_limit(self) -> float:
        """For how many seconds, at most LONGEST_LIMIT, its next statement would wait for a lock; 0 for no limit."""
        ...

    @property
    def died(self) -> bool: ...
    @property
    def is_faulty(self) -> bool:
        """Whether a fault has befallen it."""
        ...

    def again(self) -> Scheduled:
        """A new session that retries the same."""
        ...

    def make_impatient(self, milliseconds: int) -> bool:
        """Shortens its deadlock_timeout; False if that is not possible now."""
        ...

    def told(self) -> Result | Failure:
        """What it returned or raised, as part of the outcome."""
        ...

    def stands_at(self) -> str:
        """The line of code that it is in, or ''."""
        ...

    def abandon(self) -> None: ...
    def interrupt(self) -> None: ...
    def join(self, seconds: float) -> None: ...
    def close(self) -> None: ...


class Elsewhere(Protocol):
    """Makes those sessions of an exploration, by `names`, that are not functions in threads of this process."""

    @property
    def names(self) -> Collection[str]: ...

    @property
    def functions(self) -> Sequence[Callable[..., Any]]:
        """Its sessions that are functions of this process."""
        ...

    @property
    def hides_memory(self) -> bool:
        """Whether sessions may share memory that cannot be inspected, as those of a service do."""
        ...

    def controlled(self) -> AbstractContextManager[None]:
        """Makes them schedulable inside the block."""
        ...

    def begin(self, level: str) -> None:
        """Called before each schedule."""

    def session(self, name: str) -> Scheduled: ...

    def learns_habits(self) -> bool:
        """Whether they turn out to ask something that belongs to no session, and is known from now on."""
        ...

    def takes(self, setup: Callable[..., Any]) -> bool:
        """Whether a setup connects as its sessions do."""
        ...

    def prepare(self, setup: Callable[..., Any]) -> None:
        """Runs such a setup. Raises what that raises."""

    def not_compared(self) -> Collection[str]:
        """What they used that is in no outcome."""
        ...

    def waits_inside(self) -> bool:
        """Whether sessions have waited inside their program, which decides who goes on there first."""
        ...

    def unordered(self) -> str:
        """Why there may be orders of them that cannot be had, as a sentence; '' for nothing."""
        ...

    def troubles(self) -> str:
        """What may have kept them from their work, as a sentence, or ''."""
        ...


MakeSession = Callable[[str, Channel | None], Scheduled]
