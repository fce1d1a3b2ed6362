"""One schedule of each class of those that differ only in the order of independent steps.

Sleep sets (Godefroid, 1996): a step tried at a node of the search sleeps below the node's later choices until a
dependent step is taken; a schedule that could continue with sleeping steps only has been run in another order.
A local step is the only choice at its node. Of interchangeable sessions one is tried, and represents the others: see
`symmetry`. `by_table`: see `effect`.
"""

from __future__ import annotations

from collections.abc import Sequence

from zephyr_lab.errors import Presumed
from zephyr_lab.explore.effect import Effect, dependent
from zephyr_lab.explore.exhaustive import Choice, Effects, Exhaustive, Subtree
from zephyr_lab.explore.scheduler import Candidate, names
from zephyr_lab.explore.symmetry import Renaming, Step, Symmetry, renamed


class Reduced(Exhaustive):
    """Runs one schedule of each class; `complete` when the last one has been run."""

    wants_effects = True

    def __init__(
        self, symmetry: Symmetry | None = None, part: Subtree | None = None, *, by_table: bool = False
    ) -> None:
        super().__init__(part)
        self.symmetry, self.by_table = symmetry, by_table

    def choice(self, candidates: Sequence[Candidate]) -> Choice:
        local = next((one.session for one in candidates if one.is_local), None)
        sleep = self._asleep()
        mirrors = self.symmetry.mirrors(self._steps(), names(candidates)) if self.symmetry else {}
        for session, same in mirrors.items():
            # What is known of one of them is known of all.
            for one, other in ((session, same), (same, session)):
                if one in sleep and other not in sleep:
                    sleep[other] = renamed(sleep[one], {one: other})
        return Choice(names(candidates), sleep=sleep, only=local, mirrors=mirrors)

    def begin_again(self, presumed: Presumed) -> bool:
        """Begins again without what is not so; False if this search is a part of one that has been cut by it."""
        if self._is_part or not getattr(self, presumed.what):
            return False
        setattr(self, presumed.what, None)
        self._path, self._started = [], False
        return True

    def orbit(self) -> Sequence[Renaming]:
        """A renaming for each class that the schedule just run represents, the first one without a change; none if
        they were counted before."""
        return self.symmetry.orbit(self._steps()) if self.symmetry else [{}]

    def _steps(self) -> list[Step]:
        return [Step(one.taken, _done(one, one.taken), one.only is not None) for one in self._path[: self._depth]]

    def _asleep(self) -> Effects:
        if not self._path:
            return {}
        above = self._path[-1]
        taken = _done(above, above.taken)
        earlier = above.sleep | {name: done for name, done in above.tried.items() if done and name != above.taken}
        for session, same in above.mirrors.items():
            if session != above.taken and same != above.taken and same in earlier:
                earlier[session] = renamed(earlier[same], {same: session})
        return {name: done for name, done in earlier.items() if not dependent(done, taken)}


def _done(choice: Choice, session: str) -> Effect:
    effect = choice.tried[session]
    assert effect is not None
    return effect


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
