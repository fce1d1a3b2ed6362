"""Random schedules with few, well-placed switches: probabilistic concurrency testing (Burckhardt et al., 2010).

Sessions have random priorities, and the first runnable one moves; at `depth` - 1 random places its priority becomes
the lowest. An anomaly that needs the order of `depth` steps is found by each schedule with a probability of at least
1 / (sessions * steps ** (depth - 1)), whatever the program.
"""

from __future__ import annotations

from collections.abc import Sequence

from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.scheduler import Candidate, names


class PCT(Sampled):
    """A schedule of at most `steps` steps for each number of `which`."""

    def __init__(self, which: range, seed: int, depth: int, steps: int) -> None:
        super().__init__(which, seed)
        self._steps, self._depth = steps, depth
        self._priorities: dict[str, float] = {}
        self._changes: dict[int, int] = {}
        self._taken = 0

    def new_execution(self) -> bool:
        another = super().new_execution()
        self._taken = 0
        self._priorities = {}
        places = self._random.sample(range(1, self._steps), min(self._depth, self._steps) - 1)
        self._changes = {place: -number for number, place in enumerate(places, start=1)}
        return another

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str:
        runnable = names(candidates)
        for name in runnable:
            self._priorities.setdefault(name, self._random.random())
        change = self._changes.get(self._taken)
        if change is not None and last is not None:
            self._priorities[last] = change
        self._taken += 1
        return max(runnable, key=lambda name: self._priorities[name])
