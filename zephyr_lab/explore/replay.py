"""Replays one schedule exactly, or as nearly as possible."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from zephyr_lab.errors import BadInput
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.scheduler import Candidate, Nondeterminism, names
from zephyr_lab.schedule.faults import CLOCK, session_of


class Replay:
    """Runs the schedule `"A B A B"` once; raises if a session cannot move when it is its turn."""

    wants_effects = False
    complete = False

    def __init__(self, schedule: str) -> None:
        self._words = shlex.split(schedule)
        self._place = -1

    def new_execution(self) -> bool:
        first, self._place = self._place < 0, 0
        return first

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
        if self._place == len(self._words):
            return None
        word, runnable = self._words[self._place], names(candidates)
        if word not in runnable:
            path = " ".join(self._words[: self._place])
            raise Nondeterminism(
                f"after {path!r} it was {word}'s turn, and now only {', '.join(runnable)} can move: "
                "the case does not depend on its schedule alone (a clock, a timeout, chance, a plan that changed?)"
            )
        self._place += 1
        return word

    def observe(self, effect: Effect) -> None:
        """A replay does not adapt to effects."""


class Following:
    """Runs one schedule as nearly as sessions allow: for code that has changed since the schedule was printed.

    A turn of a session that waits or has ended is skipped; after the schedule, sessions run to their ends, the last
    one first.
    """

    wants_effects = False
    complete = False

    def __init__(self, schedule: str, sessions: Sequence[str], faults: bool = False) -> None:
        """Raises BadInput for an unknown session. With `faults`, words of faults and of the clock are known."""
        try:
            words = shlex.split(schedule)
        except ValueError as error:
            raise BadInput(f"the schedule {schedule!r} cannot be read: {error}") from None
        known = (*sessions, CLOCK) if faults else sessions
        if unknown := [word for word in words if (session_of(word) if faults else word) not in known]:
            raise BadInput(f"no session {unknown[0]!r} to replay {schedule!r} with; there are: {', '.join(sessions)}")
        self._words, self._begun = iter(words), False

    def new_execution(self) -> bool:
        first, self._begun = not self._begun, True
        return first

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
        runnable = names(candidates)
        own = session_of(last) if last else ""
        rest = own if own in runnable else runnable[0]
        return next((word for word in self._words if word in runnable), rest)

    def observe(self, effect: Effect) -> None:
        """The schedule is given."""
