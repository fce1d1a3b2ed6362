"""The whole contract between a search and what it searches: who may move now, and who is to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from zephyr_lab.errors import LabError
from zephyr_lab.explore.effect import Effect


class Nondeterminism(LabError):
    """The same schedule let other sessions move than before: what was run does not depend on the schedule alone."""


def _unknown(session: str) -> bool:
    return False


@dataclass(frozen=True)
class Candidate:
    """A session that could take the next step. `ask` says whether that step is local, which may cost time."""

    session: str
    ask: Callable[[str], bool] = field(default=_unknown, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether nobody else will be able to tell when the step happens; False where steps' effects are not followed.

        Computed when it is asked for, which must be before any step is taken.
        """
        return self.ask(self.session)


class Scheduler(Protocol):
    """Decides which session takes the next step.

    It lives across executions of the same case, so it can remember what it has tried. It never sees SQL or a
    connection, only which sessions could move now and, where it `wants_effects`, what their steps did to others.
    """

    wants_effects: bool

    def new_execution(self) -> bool:
        """Whether there is another schedule to run; called before each."""
        ...

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
        """The session of one of `candidates`, which are never none; None gives this execution up.

        `last` took the step before. Raises Nondeterminism.
        """

    def observe(self, effect: Effect) -> None:
        """Is told what the chosen session's step did."""

    @property
    def complete(self) -> bool:
        """Whether every schedule has been run by now, or one that differs in nothing that matters."""
        ...


def names(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(one.session for one in candidates)


def check_same(path: Sequence[str], before: Sequence[str], now: Sequence[str]) -> None:
    """Raises Nondeterminism where after the same `path` other sessions can move than before."""
    if tuple(before) != tuple(now):
        raise Nondeterminism(
            f"after {' '.join(path)!r} first {', '.join(before)} could move, and now {', '.join(now)}: "
            "the case does not depend on its schedule alone (a clock, a timeout, chance, a plan that changed?)"
        )
