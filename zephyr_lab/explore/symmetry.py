"""Sessions that run the same program: schedules that differ only in their names are explored once.

A permutation of such sessions maps a schedule to another one, and its outcome to that one's. At a node of the search
two of them are interchangeable if exchanging them in the steps so far gives the same trace, i.e. the same steps but for
the order of independent ones; then only the first is tried. Of the schedules in an orbit (all that permutations make of
one, each up to the order of independent steps) the one is counted that comes first in the order of the search, which
is never pruned: whatever prunes a schedule gives an earlier one of the same orbit. Symmetry in searches: Ip and Dill
(1996); beside partial orders: Emerson, Jha and Peled (1997).
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations, product

from zephyr_lab.errors import DEADLOCK_DETECTED, Presumed
from zephyr_lab.explore.effect import Effect, dependent
from zephyr_lab.schedule.transcript import Event

Renaming = Mapping[str, str]
Label = tuple[str, int]  # a session, and the number of its step

NAMES_ITSELF = re.compile(r"(?i)application_name|current_setting\s*\((?!\s*'[\w.]+'\s*[,)])")
"""SQL that may ask for the name of its session, which the lab gives its connection."""

AT_LEAST = 3
"""Of two sessions the second order of each pair is run as well: little to spare, and a reader looks for both."""


class NotSymmetric(Presumed):
    """Sessions that run the same program were told apart."""

    what = "symmetry"


def victim_by_name(events: Sequence[Event], taken: str) -> bool:
    """Whether the lab has chosen a deadlock's victim by name, as it does if no session's own step closed the cycle."""
    return any(one.failure and one.failure.sqlstate == DEADLOCK_DETECTED and one.session != taken for one in events)


@dataclass(frozen=True)
class Step:
    """A step that a search has taken: whose, and its effect; `is_local` if it was the only choice as such."""

    session: str
    effect: Effect
    is_local: bool = False


@dataclass(frozen=True)
class Symmetry:
    """`sessions` in the order in which a search tries them; `classes` of those that run the same program."""

    sessions: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]

    def mirrors(self, steps: Sequence[Step], runnable: Sequence[str]) -> dict[str, str]:
        """By session that need not be tried after `steps`: the earlier one that it is interchangeable with."""
        trace = Trace(steps)
        found: dict[str, str] = {}
        for some in self.classes:
            first: list[str] = []
            for session in sorted(set(some) & set(runnable), key=self.sessions.index):
                same = next((one for one in first if trace.is_same_with(one, session)), None)
                if same is None:
                    first.append(session)
                else:
                    found[session] = same
        return found

    @cached_property
    def renamings(self) -> list[dict[str, str]]:
        """All permutations of the sessions of each class; the first one changes nothing."""
        every = [[dict(zip(some, order, strict=True)) for order in permutations(some)] for some in self.classes]
        same = {name: name for name in self.sessions}
        return [{**same, **{old: new for part in parts for old, new in part.items()}} for parts in product(*every)]

    def orbit(self, steps: Sequence[Step]) -> list[dict[str, str]]:
        """A renaming for each trace of the orbit of a schedule; none if a schedule before it counts them."""
        trace = Trace(steps)
        taken = [self.sessions.index(one.session) for one in steps]
        stable = []
        for renaming in self.renamings:
            place = {name: self.sessions.index(new) for name, new in renaming.items()}
            if (order := trace.compared(place, taken)) < 0:
                return []
            if order == 0:
                stable.append(renaming)
        if len(stable) == 1:
            return self.renamings
        found, covered = [], set()
        for renaming in self.renamings:
            if tuple(renaming.values()) not in covered:
                found.append(renaming)
                covered |= {tuple(renaming[one[name]] for name in renaming) for one in stable}
        return found


def symmetry_of(programs: Mapping[str, Hashable], wanted: bool | None) -> Symmetry | None:
    """The sessions with equal programs; `wanted` None: only if there are at least three of them. None without any."""
    by_program: dict[Hashable, list[str]] = {}
    for session, program in programs.items():
        by_program.setdefault(program, []).append(session)
    at_least = AT_LEAST if wanted is None else 2
    classes = tuple(tuple(some) for some in by_program.values() if len(some) >= at_least and wanted is not False)
    return Symmetry(tuple(programs), classes) if classes else None


def renamed(effect: Effect, renaming: Renaming) -> Effect:
    return replace(effect, sessions=frozenset(renaming.get(name, name) for name in effect.sessions))


def labels(sessions: Iterable[str]) -> list[Label]:
    """A schedule's steps, by the sessions that take them."""
    counts: dict[str, int] = {}
    found = []
    for session in sessions:
        number = counts[session] = counts.get(session, -1) + 1
        found.append((session, number))
    return found


class Trace:
    """The order of dependent steps of a schedule."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._labels = labels(one.session for one in steps)
        self._before = [
            [earlier for earlier in range(place) if dependent(steps[earlier].effect, one.effect)]
            for place, one in enumerate(steps)
        ]

    @cached_property
    def _orders(self) -> list[tuple[Label, Label]]:
        """Of dependent steps of two sessions, the first and the second."""
        pairs = (
            (self._labels[earlier], self._labels[place]) for place, some in enumerate(self._before) for earlier in some
        )
        return [(one, other) for one, other in pairs if one[0] != other[0]]

    def has_order(self, where: Mapping[Label, int]) -> bool:
        """Whether a schedule of the same steps at these places is this one but for the order of independent steps."""
        return where.keys() == set(self._labels) and all(where[one] < where[other] for one, other in self._orders)

    def is_same_with(self, one: str, other: str) -> bool:
        """Whether it is the same trace when these two sessions exchange their names."""
        swap = {one: other, other: one}
        where = {label: place for place, label in enumerate(self._labels)}
        image = [where.get((swap.get(session, session), number)) for session, number in self._labels]
        if None in image:
            return False
        at = [place for place in image if place is not None]
        if any(self._steps[at[place]].effect != renamed(step.effect, swap) for place, step in enumerate(self._steps)):
            return False
        return all(at[earlier] < at[place] for place, some in enumerate(self._before) for earlier in some)

    def compared(self, place: Mapping[str, int], taken: Sequence[int]) -> int:
        """Whether the first schedule of the renamed trace, in the order of the search, comes before `taken` (-1),
        is the same (0), or comes after it (1). `place` is the place of each session under its new name."""
        left = [set(some) for some in self._before]
        open_ = list(range(len(self._steps)))
        for number in taken:
            free = [step for step in open_ if not left[step]]
            step = min(free, key=lambda one: (not self._steps[one].is_local, place[self._steps[one].session]))
            if (now := place[self._steps[step].session]) != number:
                return -1 if now < number else 1
            open_.remove(step)
            for other in open_:
                left[other].discard(step)
        return 0
