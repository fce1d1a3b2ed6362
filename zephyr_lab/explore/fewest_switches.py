"""The anomalous schedule that is easiest to read: with the fewest switches from one session to another.

A full search has found it. Else all schedules with at most one switch are run, then with two, and
so on (iterative context bounding: Musuvathi and Qadeer, 2007), until one is anomalous. Few switches make few schedules.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from zephyr_lab.errors import StepTimeout
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer
from zephyr_lab.explore.replay import Replay
from zephyr_lab.explore.scheduler import Candidate, Nondeterminism
from zephyr_lab.schedule.faults import CLOCK, session_of


class FewSwitches:
    """Runs all schedules with at most `most` switches; one whose session must wait then is abandoned.

    A session is left only while enough switches remain for the others that could move: each of them needs one.
    """

    wants_effects = False

    def __init__(self, most: int) -> None:
        self._all = Exhaustive()
        self._most = most
        self._switches = 0

    @property
    def complete(self) -> bool:
        return self._all.complete

    def new_execution(self) -> bool:
        self._switches = 0
        return self._all.new_execution()

    def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
        unfinished = {session_of(one.session) for one in candidates} - {CLOCK}
        able = [one for one in candidates if self._cost(one.session, last, unfinished) <= self._most]
        if not able:
            return None
        chosen = self._all.next_session(able, last)
        self._switches += last is not None and chosen is not None and session_of(chosen) != session_of(last)
        return chosen

    def _cost(self, chosen: str, last: str | None, unfinished: set[str]) -> int:
        """The least number of switches of a schedule that goes on so; what the clock does is in no need of a turn."""
        switches = last is not None and session_of(chosen) != session_of(last)
        return self._switches + switches + len(unfinished - {session_of(chosen)})

    def observe(self, effect: Effect) -> None:
        """Only switches count."""


def fewest_switches(explorer: Explorer, found: Exploration, deadline: float | None = None) -> str:
    """An anomalous schedule with the fewest switches, after a search that has found some.

    An interrupt, or the deadline (of time.time), ends the search with the best one so far. Raises Nondeterminism if the
    found one, run again, is not anomalous.
    """
    assert found.easiest, "nothing anomalous was found"
    switches, schedule = found.easiest
    if not found.ran_each:
        schedule, found.shrunk = easier_than(explorer, schedule, switches, deadline)
    return schedule


def easier_than(explorer: Explorer, schedule: str, switches: int, deadline: float | None = None) -> tuple[str, bool]:
    """An anomalous schedule with fewer than `switches`, else `schedule` itself; and whether none has fewer.

    Otherwise as `fewest_switches`, which stores that in `found`.
    """
    for most in range(1, switches):
        scheduler = FewSwitches(most)
        while scheduler.new_execution():
            if deadline is not None and time.time() > deadline:
                return schedule, False
            try:
                executed = explorer.execute(scheduler)
            except KeyboardInterrupt:
                return schedule, False
            except StepTimeout as error:
                if not error.reason:
                    raise
                continue
            if executed and explorer.verdict(executed.transcript).anomalous:
                return _confirmed(explorer, executed.transcript.schedule), True
    return schedule, True


def _confirmed(explorer: Explorer, schedule: str) -> str:
    replay = Replay(schedule)
    assert replay.new_execution()
    again = explorer.execute(replay)
    if again is None or not explorer.verdict(again.transcript).anomalous:
        raise Nondeterminism(f"{schedule!r} was anomalous once, and is not when it is run again")
    return schedule
