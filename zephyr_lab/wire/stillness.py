"""Concludes from silence that a session waits inside its program.

A mutex, a pool whose connections are all in use, a server with one worker: neither database knows of such a wait. The
first one at a place has to last long; a later one at the same place is concluded sooner. A program whose threads run,
or are about to, is not silent.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

FIRST_SECONDS, AGAIN_SECONDS = 1.5, 0.2  # requests that sleep do so for a second at the most, as a rule

Place = tuple[str, str]  # a session's name, and the last thing that it asked


class Stillness:
    """`places` are where sessions have waited; each of `programs` returns whether one of its threads runs."""

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.programs: set[Callable[[], bool]] = set()
        self._since = time.monotonic()

    def stir(self) -> None:
        """Something has happened."""
        self._since = time.monotonic()

    def lasts(self, place: Place) -> bool:
        """Whether the silence is long enough to conclude that a session waits at this place."""
        seconds = AGAIN_SECONDS if place in self.places else FIRST_SECONDS
        if time.monotonic() - self._since < seconds:
            return False
        if any(is_working() for is_working in self.programs):
            self.stir()
            return False
        self.places.add(place)
        return True


class Habits:
    """Which question follows which in each session, to attribute one that several sessions may have asked.

    Texts are kept without their values, which a session computes from what it has read.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str, str]] = set()

    def follow(self, session: str, last: str, sql: str) -> str:
        """Notes that a session asks this after `last`; returns the text to pass as `last` next time."""
        asked = _VALUES.sub("?", sql)
        self._known.add((session, last, asked))
        return asked

    def has(self, session: str, last: str, sql: str) -> bool:
        return (session, last, _VALUES.sub("?", sql)) in self._known

    def clear(self) -> None:
        self._known.clear()


_VALUES = re.compile(r"'[^']*'|\b\d+\b")
