"""One schedule of each class of those that differ only in the order of independent steps.

Sleep sets (Godefroid, 1996): a step tried at a node of the search sleeps below the node's later choices until a
dependent step is taken; a schedule that could continue with sleeping steps only has been run in another order.
A local step is the only choice at its node.
"""

from __future__ import annotations

from collections.abc import Sequence

from zephyr_lab.explore.effect import Effect, dependent
from zephyr_lab.explore.exhaustive import Choice, Effects, Exhaustive
from zephyr_lab.explore.scheduler import Candidate, names


class Reduced(Exhaustive):
    """Runs one schedule of each class; `complete` when the last one has been run."""

    wants_effects = True

    def choice(self, candidates: Sequence[Candidate]) -> Choice:
        local = next((one.session for one in candidates if one.is_local), None)
        return Choice(names(candidates), sleep=self._asleep(), only=local)

    def _asleep(self) -> Effects:
        if not self._path:
            return {}
        above = self._path[-1]
        taken = above.tried[above.taken]
        assert taken is not None
        earlier = above.sleep | {name: done for name, done in above.tried.items() if done and name != above.taken}
        return {name: done for name, done in earlier.items() if not dependent(done, taken)}


def number_of_orders(effects: Sequence[Effect], most: int = 20_000) -> int | None:
    """How many schedules differ from one with these effects only in the order of independent steps.

    The linear extensions of the dependence order; None if counting them would take too long.
    """
    before = [0] * len(effects)
    for place, effect in enumerate(effects):
        for earlier in range(place):
            if dependent(effects[earlier], effect):
                before[place] |= 1 << earlier
    ways = {0: 1}
    for _ in effects:
        further: dict[int, int] = {}
        for done, number in ways.items():
            for place, needed in enumerate(before):
                if not done >> place & 1 and needed & ~done == 0:
                    further[done | 1 << place] = further.get(done | 1 << place, 0) + number
        if len(further) > most:
            return None
        ways = further
    return next(iter(ways.values()))
