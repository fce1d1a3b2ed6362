"""Whether nothing happens any more: then a session that has neither asked nor answered waits inside its program.

A mutex, a pool whose connections are all in use, a server with one worker: neither database knows of such a wait, so it
is concluded from silence. The first wait at a place has to last long; the same one later is believed sooner. What
computes is not silent: threads of a service's that are about to run are looked for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

FIRST_SECONDS, AGAIN_SECONDS = 1.5, 0.2  # requests that sleep do so for a second at the most, as a rule

Place = tuple[str, str]  # a session's name, and the last thing that it asked


class Stillness:
    """`places` are the waits that were met. `programs`, which sessions are in, each say whether they compute."""

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.programs: set[Callable[[], bool]] = set()
        self._since = time.monotonic()

    def stir(self) -> None:
        """Something has happened."""
        self._since = time.monotonic()

    def lasts(self, place: Place) -> bool:
        """Whether it has lasted long enough for a session at this place to be waiting."""
        seconds = AGAIN_SECONDS if place in self.places else FIRST_SECONDS
        if time.monotonic() - self._since < seconds:
            return False
        if any(is_working() for is_working in self.programs):
            self.stir()
            return False
        self.places.add(place)
        return True


class Habits:
    """What each session has asked after what, so that it is known whose a question is that may be of several.

    Values are left out: a session computes them from what it has read.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str, str]] = set()

    def follow(self, session: str, last: str, sql: str) -> str:
        """Notes that a session asks this after `last`; gives what is `last` then."""
        asked = _VALUES.sub("?", sql)
        self._known.add((session, last, asked))
        return asked

    def has(self, session: str, last: str, sql: str) -> bool:
        return (session, last, _VALUES.sub("?", sql)) in self._known

    def clear(self) -> None:
        self._known.clear()


_VALUES = re.compile(r"'[^']*'|\b\d+\b")
