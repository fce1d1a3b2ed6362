"""Every schedule that the server admits, depth first, the first session first.

No tree is kept: only the choices of the last execution, and who else could have moved at each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.scheduler import check_same


@dataclass
class _Choice:
    runnable: tuple[str, ...]
    taken: int = 0


class Exhaustive:
    """Runs all schedules; `complete` when the last one has been run."""

    wants_effects = False

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
        check_same([one.runnable[one.taken] for one in self._path[: self._depth]], choice.runnable, runnable)
        self._depth += 1
        return choice.runnable[choice.taken]

    def observe(self, effect: Effect) -> None:
        """Every order counts, whatever its steps do."""
