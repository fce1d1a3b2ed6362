"""A search in pieces: what has been found in each, and what is left, in the order of the search.

A piece's key says where it is in that order: `(1,)` comes before the parts that it is divided into, `(1, 0)` and
`(1, 1)`, and these before `(2,)`. So the result is the same however the search was cut, and whoever was done first.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.selection import Part, divided

Key = tuple[int, ...]

FEW_FOUND = 64  # results that are kept apart, for each piece that is left


@dataclass(frozen=True)
class Slice:
    """What was found in a piece of work, and what is left of it, if anything is."""

    found: Exploration
    rest: Part | None


@dataclass
class Pieces:
    """`waiting` is a heap. A piece that is being worked on is in `begun`, as it was when it was given away."""

    found: dict[Key, Exploration] = field(default_factory=dict)
    waiting: list[tuple[Key, Part]] = field(default_factory=list)
    begun: dict[Key, Part] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, whole: Part) -> Pieces:
        return cls(waiting=[((), whole)])

    @property
    def is_done(self) -> bool:
        return not self.waiting and not self.begun

    def divide(self, wanted: int) -> None:
        """Divides what waits, until there are as many pieces as wanted, or they cannot be divided for now."""
        whole: list[tuple[Key, Part]] = []
        while self.waiting and len(self.waiting) + len(whole) < wanted:
            key, part = heapq.heappop(self.waiting)
            if two := divided(part):
                for number, one in enumerate(two):
                    self._add((*key, number), one)
            else:
                whole.append((key, part))
        for key, part in whole:
            self._add(key, part)

    def begin(self) -> tuple[Key, Part]:
        """Gives away the first one that waits."""
        key, part = heapq.heappop(self.waiting)
        self.begun[key] = part
        return key, part

    def give_back(self) -> None:
        """What was begun, and not ended, waits again."""
        for key, part in self.begun.items():
            self._add(key, part)
        self.begun.clear()

    def end(self, key: Key, done: Slice) -> None:
        """What came of a piece that was begun."""
        del self.begun[key]
        if key in self.found:
            self.found[key].merge(done.found)
        else:
            self.found[key] = done.found
        if done.rest is not None:
            self._add(key, done.rest)
        if len(self.found) > FEW_FOUND * (1 + len(self.waiting) + len(self.begun)):
            self._merge_neighbours()

    def merged(self, nothing_yet: Exploration) -> Exploration:
        """All that was found, added to what is given; the results stay as they are."""
        for _, found in sorted(self.found.items()):
            nothing_yet.merge(found)
        return nothing_yet

    def _add(self, key: Key, part: Part) -> None:
        heapq.heappush(self.waiting, (key, part))

    def _merge_neighbours(self) -> None:
        """Adds results up between which nothing is left to be found."""
        left = {*self.begun, *(key for key, _ in self.waiting)}
        kept: dict[Key, Exploration] = {}
        last: Exploration | None = None
        for key in sorted({*self.found, *left}):
            if key in self.found and last is not None:
                last.merge(self.found[key])
            elif key in self.found:
                last = kept[key] = self.found[key]
            if key in left:
                last = None
        self.found = kept
