"""Questions that belong to no session: what a service asks of its own accord."""

from __future__ import annotations

from collections import Counter

from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.views.abridged import one_line
from zephyr_lab.wire.asks import Ask


class Background:
    """What one exploration has seen of it. Habits, which a service was seen to ask again and again, outlast it.

    `passed_on` counts the questions of no session by their text; `asked` has those of requests. `together` names the
    sessions that ask on several connections at once, `late` those that go on after they have answered, `in_loops` those
    that were passed over as waiting in a loop.
    """

    def __init__(self) -> None:
        self.passed_on: Counter[str] = Counter()
        self.asked: set[str] = set()
        self.together: set[str] = set()
        self.late: set[str] = set()
        self.in_loops: set[str] = set()
        self._habits: set[str] = set()
        self._stray = ""

    def begin(self) -> None:
        """Before each exploration."""
        for some in (self.passed_on, self.asked, self.together, self.late, self.in_loops):
            some.clear()
        self._stray = ""

    def pass_on(self, ask: Ask, *, in_schedule: bool) -> None:
        """Notes a question of no session."""
        if ask.trip.private:
            return
        self.passed_on[ask.habit] += 1
        if in_schedule and ask.writes and not self.is_habit(ask):
            self._stray = self._stray or one_line(ask.trip.sql, 80)

    def is_habit(self, ask: Ask) -> bool:
        return ask.habit in self._habits

    def learn(self, texts: set[str]) -> bool:
        """Adds habits; returns whether one is new."""
        known = len(self._habits)
        self._habits |= texts
        return len(self._habits) > known

    def forget(self) -> None:
        """The service that had habits has ended."""
        self._habits.clear()

    def check(self) -> None:
        """Raises Nondeterminism if a question of no session changed something, or may have been a session's."""
        if both := self.asked & self.passed_on.keys() - self._habits:
            raise Nondeterminism(
                f"{one_line(min(both), 80)!r} was asked by a session, and while no session moved: whose it is cannot "
                "be told. Switch off what the service does of its own accord while it is explored"
            )
        stray, self._stray = self._stray, ""
        if stray:
            raise Nondeterminism(
                f"{stray!r} was asked while no session moved, so that no order is about it: let a request answer when "
                "all that it does is done, and switch off what the service does of its own accord"
            )

    def told(self) -> set[str]:
        """For a report: what is in no outcome."""
        return {f"asked by no session, {n} times: {one_line(sql, 80)}" for sql, n in self.passed_on.items()}

    def chance(self) -> set[str]:
        """For a report: what may differ between two runs."""
        return {
            f"session {name} asks on several connections at once: of the orders among these only that of their texts"
            for name in self.together
        } | {
            f"session {name} asked the same again and again, with pauses: it was taken for one "
            "that waits in a loop, and passed over while others could move"
            for name in self.in_loops
        }
