"""Every schedule that the server admits, depth first, the first session first.

No tree is kept: only the choices of the last execution, and who else could have moved at each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zephyr_lab.explore.scheduler import Nondeterminism


@dataclass
class _Choice:
    runnable: tuple[str, ...]
    taken: int = 0


class Exhaustive:
    """Runs all schedules; `complete` when the last one has been run."""

    def __init__(self) -> None:
        self._path: list[_Choice] = []
        self._depth = 0
        self._started = False
        self.complete = False

    def new_execution(self) -> bool:
        if self._started:
            while self._path and self._path[-1].taken + 1 == len(self._path[-1].runnable):
                self._path.pop()
            if not self._path:
                self.complete = True
                return False
            self._path[-1].taken += 1
        self._started, self._depth = True, 0
        return True

    def next_session(self, runnable: Sequence[str], last: str | None) -> str:
        if self._depth == len(self._path):
            self._path.append(_Choice(tuple(runnable)))
        choice = self._path[self._depth]
        if choice.runnable != tuple(runnable):
            path = " ".join(one.runnable[one.taken] for one in self._path[: self._depth])
            raise Nondeterminism(
                f"after {path!r} first {', '.join(choice.runnable)} could move, and now {', '.join(runnable)}: "
                "the case does not depend on its schedule alone (a clock, a timeout, chance, a plan that changed?)"
            )
        self._depth += 1
        return choice.runnable[choice.taken]
