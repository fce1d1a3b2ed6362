"""Detects a session that waits in a loop: it asked something in vain, paused, and asks the same again.

A loop that sleeps until another session has acted has infinitely many schedules. Sleeps inside another program cannot
be observed; their effect can, and a session in such a loop is passed over while others can move (fairness, as in
Musuvathi and Qadeer, 2008).
"""

from __future__ import annotations

import time

from zephyr_lab.functions.trips import RedisAccess, RoundTrip

PAUSE = 0.005  # seconds; a loop that does not sleep asks again sooner
_IN_VAIN = {"nil", "0", "false"}
_UNCHANGED = {"UPDATE 0", "DELETE 0", "INSERT 0 0", "MERGE 0"}


class Repetition:
    """The questions that a session has asked in vain since another one moved."""

    def __init__(self) -> None:
        self._in_vain: set[str] = set()
        self._answered_at = time.monotonic()

    def answered(self, trip: RoundTrip) -> None:
        self._answered_at = time.monotonic()
        if _changed_nothing(trip):
            self._in_vain.add(trip.sql)
        elif not trip.private:
            self._in_vain.clear()

    def is_again(self, trip: RoundTrip) -> bool:
        """Whether this was asked in vain before, and the session has paused since."""
        return trip.sql in self._in_vain and time.monotonic() - self._answered_at > PAUSE

    def clear(self) -> None:
        """Another session has moved: the next time may not be in vain."""
        self._in_vain.clear()


def _changed_nothing(trip: RoundTrip) -> bool:
    if trip.failure or trip.private or not trip.results:
        return False
    if trip.redis:
        return trip.redis is RedisAccess.READS or all(
            one.text().removeprefix("-> ") in _IN_VAIN for one in trip.results
        )
    return all(one.tag in _UNCHANGED or one.tag.startswith("SELECT") or one.tag == "COMMIT" for one in trip.results)
