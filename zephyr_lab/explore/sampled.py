"""Random schedules, for what cannot be exhausted: none failing is no proof."""

from __future__ import annotations

import random
from collections.abc import Sequence

from zephyr_lab.explore.effect import Effect


class Sampled:
    """`samples` schedules, each step's session drawn with equal chance; the same `seed` gives the same schedules."""

    wants_effects = False
    complete = False

    def __init__(self, samples: int, seed: int) -> None:
        self._left = samples
        self._random = random.Random(seed)

    def new_execution(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def next_session(self, runnable: Sequence[str], last: str | None) -> str:
        return self._random.choice(runnable)

    def observe(self, effect: Effect) -> None:
        """Chance does not learn."""
