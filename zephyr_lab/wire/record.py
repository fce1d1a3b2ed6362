"""The record of a session at the wire: its questions, their answers, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zephyr_lab.errors import LabError, ScheduleError
from zephyr_lab.functions.answers import Answer, Answers, Ending
from zephyr_lab.functions.trips import RoundTrip, Trips
from zephyr_lab.schedule.transcript import AnswerKind, Failure, Result
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.postgres_link import refused
from zephyr_lab.wire.repetition import Repetition
from zephyr_lab.wire.stillness import Habits

_GIVEN_UP = "nothing, as it was given up"


class Failed(Exception):
    """The end of a request or a command whose status is an error's."""


class Record:
    """The record of one session in one schedule.

    `log` has its round trips, `trips` counts those that took a turn, and `sleeps` its pauses in a loop since another
    session moved. `misuse` is the first thing in it that cannot be explored, `raised` the error that it ended with.
    `is_lost`: a backend of its connections has ended. `gave_up`: it has given up waiting inside Redis since then.
    """

    def __init__(self, session: str, answers: Answers, habits: Habits) -> None:
        self._session, self._answers, self._habits = session, answers, habits
        self.log, self.trips, self.sleeps = Trips(session), 0, 0
        self.misuse: LabError | None = None
        self.raised: BaseException | None = None
        self.is_lost = self.gave_up = False
        self._repetition = Repetition()
        self._asked = ""  # the last text, without its values
        self._refused_at = ""
        self._failures: dict[str, Failure] = {}  # the last of each SQLSTATE that the server has sent
        self._ending = Ending()

    # -- what it asks

    def parks(self, ask: Ask) -> None:
        """Its next turn is for this."""
        self.sleeps += self.gave_up if ask.waits else self._repetition.is_again(ask.trip)

    def sends(self, ask: Ask) -> None:
        """This is sent now."""
        self._asked = self._habits.follow(self._session, self._asked, ask.trip.sql)
        self.log.done.append(ask.trip)
        if not ask.trip.private:
            self.trips += not ask.prepares
            self.refuse(ask.refusal)

    def answered(self, ask: Ask) -> None:
        """This has been answered."""
        trip = ask.trip
        self._repetition.answered(trip)
        if ask.prepares and trip in self.log.done and not trip.failure:
            self.log.done.remove(trip)  # shown with what it prepares
        self.is_lost = self.is_lost or trip.lost
        if trip.redis:
            return
        if trip.failure:
            self._failures[trip.failure.sqlstate] = trip.failure
        if state := refused(trip):
            self._refused_at = state
        elif trip.status == 0 and not (trip.private or trip.failure or _undone(trip)):
            self._refused_at = ""

    def disown(self, trips: Sequence[RoundTrip]) -> None:
        """Takes back round trips that were attributed to it by mistake."""
        self.log.done = [one for one in self.log.done if all(one is not other for other in trips)]

    def may_ask(self, sql: str) -> bool:
        """Whether it has asked this before at the same place, in a schedule of this exploration."""
        return self._habits.has(self._session, self._asked, sql)

    def moved_on(self, sleeps: int) -> None:
        """Another session has moved: the next time may not be in vain."""
        self.sleeps, self.gave_up = sleeps, False
        self._repetition.clear()

    # -- how it ends

    def refuse(self, error: LabError | None) -> None:
        """Keeps the first error of what cannot be explored."""
        self.misuse = self.misuse or error

    def end(self, end: Any, raised: BaseException | None = None) -> None:
        """Reads what it returned or raised, in its thread."""
        self.raised = raised
        self._ending = self._answers.read(end, raised)
        if self._ending.trouble and (raised is None or _sqlstate_of(raised) not in self._failures):
            self.refuse(ScheduleError(f"session {self._session}: {self._ending.trouble}"))
        if isinstance(end, Answer) and end.failed:
            self.raised = Failed(end)

    @property
    def last_refusal(self) -> str:
        """The refusal because of another session that was its last outcome, or ''."""
        return self._refused_at or self._ending.refusal

    @property
    def was_refused(self) -> bool:
        """Whether it was refused and reported that."""
        return bool(self._ending.refusal or (self._refused_at and self.raised))

    def told(self, *, is_given_up: bool) -> Result | Failure:
        """What it returned or raised, as part of the outcome; a driver's error as the server sent it."""
        if is_given_up:
            return Ending().result(AnswerKind.RETURNED, _GIVEN_UP)
        if self.raised and (failure := self._failures.get(_sqlstate_of(self.raised))):
            return failure
        return self._ending.result(AnswerKind.RETURNED if self.raised is None else AnswerKind.RAISED, _GIVEN_UP)


def _sqlstate_of(error: BaseException) -> str:
    """The SQLSTATE of a driver's exception: psycopg's and asyncpg's, psycopg2's, or pg8000's; '' for any other."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is None and error.args and isinstance(error.args[0], dict):
        state = error.args[0].get("C")
    return str(state or "")


def _undone(trip: RoundTrip) -> bool:
    """Whether it rolled back, as the COMMIT of a failed transaction does, without an error."""
    return bool(trip.results) and trip.results[-1].tag == "ROLLBACK"
