"""The whole contract between a search and what it searches: who may move now, and who is to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zephyr_lab.errors import LabError
from zephyr_lab.explore.effect import Effect


class Nondeterminism(LabError):
    """The same schedule let other sessions move than before: what was run does not depend on the schedule alone."""


class Scheduler(Protocol):
    """Decides which session takes the next step.

    It lives across executions of the same case, so it can remember what it has tried. It never sees SQL or a
    connection, only which sessions could move now and, where it `wants_effects`, what their steps did to others.
    """

    wants_effects: bool

    def new_execution(self) -> bool:
        """Whether there is another schedule to run; called before each."""

    def next_session(self, runnable: Sequence[str], last: str | None) -> str | None:
        """One of `runnable`, which is never empty; None gives this execution up. Raises Nondeterminism."""

    def observe(self, effect: Effect) -> None:
        """Is told what the chosen session's step did."""

    @property
    def complete(self) -> bool:
        """Whether every schedule has been run by now, or one that differs in nothing that matters."""


def check_same(path: Sequence[str], before: Sequence[str], now: Sequence[str]) -> None:
    """Raises Nondeterminism where after the same `path` other sessions can move than before."""
    if tuple(before) != tuple(now):
        raise Nondeterminism(
            f"after {' '.join(path)!r} first {', '.join(before)} could move, and now {', '.join(now)}: "
            "the case does not depend on its schedule alone (a clock, a timeout, chance, a plan that changed?)"
        )
