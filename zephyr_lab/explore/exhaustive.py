"""Every possible schedule, depth first, the first session first.

No tree is kept: only the choices of the last execution, and the alternatives at each of them. Between two executions
the search can be left, and what is left of it, a `Subtree`, is continued by another one, or divided among several.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.scheduler import Candidate, check_same, names

Effects = dict[str, Effect]


@dataclass
class Choice:
    """A node of the last execution: the runnable sessions, the chosen one, and the effects of those tried so far.

    Sessions in `sleep` and `mirrors` need not be tried; if there is an `only` one, no other: see `reduced`.
    """

    runnable: tuple[str, ...]
    taken: str = ""
    tried: dict[str, Effect | None] = field(default_factory=dict)
    sleep: Effects = field(default_factory=dict)
    only: str | None = None
    mirrors: dict[str, str] = field(default_factory=dict)

    def take_next(self) -> bool:
        """Takes the next session to be tried here; False if there is none left."""
        choices = self.runnable if self.only is None else (self.only,)
        spared = self.sleep.keys() | self.mirrors.keys() | self.tried.keys()
        self.taken = next((name for name in choices if name not in spared), "")
        if self.taken:
            self.tried[self.taken] = None
        return bool(self.taken)


Path = list[Choice]


@dataclass(frozen=True)
class Subtree:
    """What is left to be run below the first `fixed` choices of a path, from the whole path on."""

    path: Path
    fixed: int = 0

    def divided(self) -> tuple[Subtree, Subtree] | None:
        """In two parts, in the order of the search, as near to the root as possible; None if it is one branch so far.

        The last choice has not been run yet: what to try beside it follows from its effect.
        """
        for place in range(self.fixed, len(self.path) - 1):
            later = copy.deepcopy(self.path[: place + 1])
            if later[-1].take_next():
                return Subtree(self.path, place + 1), Subtree(later, place)
        return None


class Exhaustive:
    """Runs all schedules; `complete` when the last one has been run.

    With a `part` of them, only those.
    """

    wants_effects = False

    def __init__(self, part: Subtree | None = None) -> None:
        self._path: Path = copy.deepcopy(part.path) if part else []
        self._fixed = part.fixed if part else 0
        self._is_part = part is not None
        self._depth = 0
        self._started = False
        self.complete = False

    def new_execution(self) -> bool:
        if self._started:
            del self._path[self._depth :]  # a step that has ended before has not ended again
            while len(self._path) > self._fixed and not self._path[-1].take_next():
                self._path.pop()
            if len(self._path) <= self._fixed:
                self.complete = True
                return False
        self._started, self._depth = True, 0
        return True

    def rest(self) -> Subtree | None:
        """What is left to be run; called between two executions, after which this search is not used again."""
        return Subtree(self._path, self._fixed) if not self.complete and self.new_execution() else None

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
        if self._depth == len(self._path):
            choice = self.choice(candidates)
            if not choice.take_next():
                return None
            self._path.append(choice)
        choice = self._path[self._depth]
        check_same([one.taken for one in self._path[: self._depth]], choice.runnable, names(candidates))
        self._depth += 1
        return choice.taken

    def choice(self, candidates: Sequence[Candidate]) -> Choice:
        """A new node of the search; the path to it is in `self._path`."""
        return Choice(names(candidates))

    def observe(self, effect: Effect) -> None:
        """Keeps the effect of the chosen session's step."""
        choice = self._path[self._depth - 1]
        choice.tried[choice.taken] = effect
