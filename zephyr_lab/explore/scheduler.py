"""The contract between a search and an execution: which sessions are runnable, and which one moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from zephyr_lab.errors import LabError
from zephyr_lab.explore.effect import Effect


class Nondeterminism(LabError):
    """With the same schedule other sessions are runnable than before: the run does not depend on the schedule alone."""


def _unknown(session: str) -> bool:
    return False


@dataclass(frozen=True)
class Candidate:
    """A session that could take the next step. `ask` returns whether that step is local, which may take time."""

    session: str
    ask: Callable[[str], bool] = field(default=_unknown, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether no other session can notice the step; ask before any step is taken. False without effects."""
        return self.ask(self.session)


class Scheduler(Protocol):
    """Decides which session takes the next step.

    It is kept across executions of the same case, so it can remember what it has tried. It never sees SQL or a
    connection, only which sessions are runnable and, if it `wants_effects`, the effects of their steps.
    """

    wants_effects: bool

    def new_execution(self) -> bool:
        """Whether there is another schedule to run; called before each."""
        ...

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
        """The session of one of `candidates`, which are never empty; None abandons this execution.

        `last` took the previous step. Raises Nondeterminism.
        """

    def observe(self, effect: Effect) -> None:
        """Called with the effect of the chosen session's step."""

    @property
    def complete(self) -> bool:
        """Whether every schedule has been run by now, or an equivalent one."""
        ...


def names(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(one.session for one in candidates)


def check_same(path: Sequence[str], before: Sequence[str], now: Sequence[str]) -> None:
    """Raises Nondeterminism if other sessions are runnable after the same `path` than before."""
    if tuple(before) != tuple(now):
        raise Nondeterminism(
            f"after {' '.join(path)!r} first {', '.join(before)} could move, and now {', '.join(now)}: "
            "the case does not depend on its schedule alone (a clock, a timeout, chance, a plan that changed?)"
        )
