"""Random schedules, for what cannot be exhausted: none failing is no proof."""

from __future__ import annotations

import random
from collections.abc import Sequence

from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.scheduler import Candidate


class Sampled:
    """A schedule for each number of `which`, each step's session drawn with equal probability.

    The same `seed` and number give the same schedule, whatever others are drawn.
    """

    wants_effects = False
    complete = False

    def __init__(self, which: range, seed: int) -> None:
        self._left = which
        self._seed = seed
        self._random = random.Random()

    def new_execution(self) -> bool:
        number = self._left[0] if self._left else None
        self._left = self._left[1:]
        self._random.seed(f"{self._seed} {number}")
        return number is not None

    def rest(self) -> range | None:
        """The numbers of those that have not been run; called between two executions."""
        return self._left or None

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str:
        return self._random.choice(candidates).session

    def observe(self, effect: Effect) -> None:
        """Sampling ignores effects."""
