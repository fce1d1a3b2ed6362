"""One schedule of each class of those that differ only in the order of steps that do not meet.

Sleep sets (Godefroid, 1996): what has been tried at a point of the search sleeps below the later choices at that point
until a step comes that it depends on; a schedule that could go on with sleepers only has been run in another order.
Where a step is nobody else's business, it is the only choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zephyr_lab.explore.effect import Effect, dependent
from zephyr_lab.explore.scheduler import check_same

Sleep = dict[str, Effect]


@dataclass
class _Choice:
    runnable: tuple[str, ...]
    sleep: Sleep
    only: str | None
    taken: str = ""
    tried: Sleep = field(default_factory=dict)

    def next(self) -> str | None:
        """The first session that neither sleeps nor has been tried."""
        choices = self.runnable if self.only is None else (self.only,)
        return next((name for name in choices if name not in self.sleep and name not in self.tried), None)


class Reduced:
    """Runs one schedule of each class; `complete` when the last one has been run.

    `is_local` says of a session whether its next step is nobody else's business.
    """

    wants_effects = True

    def __init__(self, is_local: Callable[[str], bool]) -> None:
        self._is_local = is_local
        self._path: list[_Choice] = []
        self._depth = 0
        self._started = False
        self.complete = False

    def new_execution(self) -> bool:
        if self._started:
            while self._path and self._path[-1].next() is None:
                self._path.pop()
            if not self._path:
                self.complete = True
                return False
            self._path[-1].taken = self._path[-1].next() or ""
        self._started, self._depth = True, 0
        return True

    def next_session(self, runnable: Sequence[str], last: str | None) -> str | None:
        if self._depth < len(self._path):
            choice = self._path[self._depth]
            check_same([one.taken for one in self._path[: self._depth]], choice.runnable, runnable)
        else:
            only = next((name for name in runnable if self._is_local(name)), None)
            choice = _Choice(tuple(runnable), self._asleep(), only)
            first = choice.next()
            if first is None:
                return None
            choice.taken = first
            self._path.append(choice)
        self._depth += 1
        return choice.taken

    def _asleep(self) -> Sleep:
        if not self._path:
            return {}
        above = self._path[-1]
        effect = above.tried[above.taken]
        earlier = {**above.sleep, **{name: done for name, done in above.tried.items() if name != above.taken}}
        return {name: done for name, done in earlier.items() if not dependent(done, effect)}

    def observe(self, effect: Effect) -> None:
        """Is told what the step of the chosen session did."""
        choice = self._path[self._depth - 1]
        choice.tried[choice.taken] = effect


def number_of_orders(effects: Sequence[Effect], most: int = 20_000) -> int | None:
    """How many schedules differ from one with these effects only in the order of steps that do not meet.

    The linear extensions of the order that dependence leaves; None where counting them would take too long.
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
