"""Random schedules with few, well-placed switches: probabilistic concurrency testing (Burckhardt et al., 2010).

Sessions have random priorities, and the first of them moves until it cannot; at `depth` - 1 random places whoever
moves falls behind all others. An anomaly that needs the order of `depth` steps is found by each schedule with a chance
of at least 1 / (sessions * steps ** (depth - 1)), whatever the program.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zephyr_lab.explore.effect import Effect


class PCT:
    """`samples` schedules of at most `steps` steps; the same `seed` gives the same schedules."""

    wants_effects = False
    complete = False

    def __init__(self, samples: int, seed: int, depth: int, steps: int) -> None:
        self._left, self._steps, self._depth = samples, steps, depth
        self._random = random.Random(seed)
        self._priorities: dict[str, float] = {}
        self._changes: dict[int, int] = {}
        self._taken = 0

    def new_execution(self) -> bool:
        self._left -= 1
        self._taken = 0
        self._priorities = {}
        places = self._random.sample(range(1, self._steps), min(self._depth, self._steps) - 1)
        self._changes = {place: -number for number, place in enumerate(places, start=1)}
        return self._left >= 0

    def next_session(self, runnable: Sequence[str], last: str | None) -> str:
        for name in runnable:
            self._priorities.setdefault(name, self._random.random())
        change = self._changes.get(self._taken)
        if change is not None and last is not None:
            self._priorities[last] = change
        self._taken += 1
        return max(runnable, key=lambda name: self._priorities[name])

    def observe(self, effect: Effect) -> None:
        """Chance does not learn."""
