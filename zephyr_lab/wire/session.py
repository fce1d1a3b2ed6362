"""A session whose round trips are seen at the wire: a function with any driver, a request, a command, in a thread."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol, runtime_checkable

from zephyr_lab.errors import LabError, ScheduleError
from zephyr_lab.functions.answers import Answer, Answers, Ending
from zephyr_lab.functions.places import stands_at
from zephyr_lab.functions.scheduled import MOST_SLEEPS, Scheduled
from zephyr_lab.functions.trips import RoundTrip, Trips
from zephyr_lab.functions.turn import Abandoned
from zephyr_lab.schedule.faults import Fault
from zephyr_lab.schedule.transcript import AnswerKind, Failure, Result
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.background import Background
from zephyr_lab.wire.link import Link
from zephyr_lab.wire.postgres_link import PostgresLink, refused
from zephyr_lab.wire.repetition import Repetition
from zephyr_lab.wire.stillness import Habits, Stillness
from zephyr_lab.wire.streams import Loop

Work = Callable[[Callable[[Any], object]], Any]  # is given what notes how to end its wait


class Switch(Protocol):
    """What a session needs of the wire. `current` is the session that moves."""

    loop: Loop
    current: WireSession | None
    stillness: Stillness
    habits: Habits
    background: Background

    @property
    def lingers(self) -> bool:
        """Whether a session that comes to rest is waited for, as it may ask something else at the same time."""
        ...

    def linger(self) -> None:
        """Serves until nothing has come for a while."""

    def linger_for(self, comes: Callable[[], bool]) -> None:
        """Serves until something comes, or for some time."""

    def wake(self) -> None:
        """Has whoever serves look again."""

    def session(self, name: str, work: Work, answers: Answers, *, own: bool) -> WireSession: ...
    def claim(self) -> None:
        """Gives the session that moves what has come and may be another's."""

    def release(self) -> None:
        """The schedule is over: what comes now is nobody's."""


@runtime_checkable
class Located(Protocol):
    """A wait that can say what for, such as a process that has not ended."""

    def stands_at(self) -> str: ...


class Failed(Exception):
    """What a request or a command says of itself, where that is that something went wrong."""


class WireSession:
    """Runs `work`, and lets what it asks through when it is its turn.

    `own`: the only one whose connections come through its endpoint; all of these are closed when it ends.
    """

    def __init__(self, name: str, work: Work, wire: Switch, answers: Answers, *, own: bool) -> None:
        self.name, self._work, self._wire, self._answers, self._own = name, work, wire, answers, own
        self.log, self.trips, self._sleeps = Trips(name), 0, 0
        self._repetition = Repetition()
        self.misuse: LabError | None = None
        self.outside: set[str] = set()
        self.busy = False
        self.raised: BaseException | None = None
        self._ending, self._refused_at = Ending(), ""
        self._failures: dict[str, Failure] = {}  # the last of each SQLSTATE that the server has told
        self._links: set[Link] = set()
        self._parked: deque[Link] = deque()
        self._flying: list[Link] = []
        self._may_send = False
        self._asked = ""  # last, without its values
        self._is_lost = False
        self.died = self.is_faulty = False
        self._is_done = False  # the thread has nothing more to do
        self._closing = self._is_given_up = False
        self._waits_on: list[Any] = []
        self._thread = threading.Thread(name=f"session {name}", target=self._run, daemon=True)

    # -- in the thread

    def _run(self) -> None:
        with contextlib.suppress(Abandoned):
            try:
                self._read(self._work(self._waits_on.append))
            except Abandoned:
                raise
            except LabError as error:
                self.raised, self.misuse = error, self.misuse or error
            except BaseException as error:
                self.raised = error
                self._read(error)
            finally:
                self._is_done = True
                self._wire.stillness.stir()
                self._wire.wake()

    def _read(self, end: Any) -> None:
        self._ending = self._answers.read(end, self.raised)
        if self._ending.trouble and (self.raised is None or _sqlstate_of(self.raised) not in self._failures):
            self.misuse = self.misuse or ScheduleError(f"session {self.name}: {self._ending.trouble}")
        if isinstance(end, Answer) and end.failed:
            self.raised = Failed(end)

    # -- as the links ask

    def lets_through(self, link: Link, ask: Ask) -> bool:
        """Whether a link may send now what its client asks; else it waits for the session's turn."""
        if ask.trip.private or self._is_given_up:
            return True
        if self._may_send:
            self._may_send = ask.prepares
            return True
        if link not in self._parked:
            self._wire.stillness.stir()
            self._note_together(link)
            self._parked.append(link)
            if self._repetition.is_again(ask.trip):
                self._sleeps += 1
                if self._sleeps > MOST_SLEEPS:
                    self._wire.background.in_loops.add(self.name)
            ask.trip.where = self._place().partition(": ")[0]
            self.log.next = self._parked[0].asked[0].trip
        return False

    def sends(self, link: Link, ask: Ask) -> None:
        self._wire.stillness.stir()
        self._asked = self._wire.habits.follow(self.name, self._asked, ask.trip.sql)
        self._links.add(link)
        self._note_together(link)
        self._flying.append(link)
        self.log.done.append(ask.trip)
        if not ask.trip.private:
            self.trips += not ask.prepares
            self.misuse = self.misuse or ask.refusal
            if not self._own:
                self._wire.background.asked.add(ask.habit)

    def _note_together(self, link: Link) -> None:
        if any(one is not link for one in (*self._parked, *self._flying)):
            self._wire.background.together.add(self.name)

    def answered(self, link: Link, ask: Ask) -> None:
        self._wire.stillness.stir()
        if link in self._flying:
            self._flying.remove(link)
        if self._is_done:
            self._wire.wake()
        trip = ask.trip
        self._repetition.answered(trip)
        if ask.prepares and trip in self.log.done and not trip.failure:
            self.log.done.remove(trip)  # told with what it prepares
        self._is_lost = self._is_lost or trip.lost
        if trip.redis:
            return
        if trip.failure:
            self._failures[trip.failure.sqlstate] = trip.failure
        if state := refused(trip):
            self._refused_at = state
        elif trip.status == 0 and not (trip.private or trip.failure or _undone(trip)):
            self._refused_at = ""

    def left(self, link: Link) -> None:
        """One of its links is over, or another session's now."""
        self._links.discard(link)
        if link in self._parked:
            self._parked.remove(link)
        if link in self._flying:
            self._flying.remove(link)

    def disown(self, link: Link, trips: Sequence[RoundTrip]) -> None:
        """These, which were taken for its own, were not."""
        self.left(link)
        self.log.done = [one for one in self.log.done if all(one is not other for other in trips)]

    # -- as the schedule asks

    @property
    def sleeps(self) -> int:
        return self._sleeps

    @sleeps.setter
    def sleeps(self, number: int) -> None:
        """Another session has moved."""
        self._sleeps = number
        self._repetition.clear()

    def start(self) -> None:
        self.busy = True
        self._wire.current = self
        self._wire.stillness.stir()
        self._thread.start()

    def go(self) -> None:
        self.busy, self._may_send = True, True
        self._wire.current = self
        self.log.next = None
        self._wire.stillness.stir()
        self._parked.popleft().go_on(self)

    def faults(self) -> Collection[Fault]:
        return ()

    def suffer(self, fault: Fault) -> None:
        raise NotImplementedError

    @property
    def socket(self) -> int:
        return self._wire.loop.fileno

    def receive(self) -> None:
        self._wire.loop.pump(0)

    def collect(self) -> bool:
        """Whether it has come to its next round trip, or to its end."""
        if self._is_at_rest():
            self._linger()
        self.busy = not self._is_at_rest()
        if not self.busy:
            self._may_send = False
            if self._wire.current is self:
                self._wire.current = None
        return not self.busy

    def _linger(self) -> None:
        """It may have more to ask at the same time, or when it has answered; the first schedule shows whether."""
        if self.ended and not self._own and (self._wire.lingers or self.name in self._wire.background.late):
            self._wire.linger_for(lambda: bool(self._parked or self._flying))
            if self._parked or self._flying:
                self._wire.background.late.add(self.name)
        elif self._wire.lingers or self.name in self._wire.background.together:
            self._wire.linger()

    def _is_at_rest(self) -> bool:
        if self._flying:
            return False
        if self._is_done and self._own and not self._closing:
            self._closing = True
            for link in list(self._links):
                link.end()
        if self._parked:
            # What is asked at once comes in any order, so that it goes by that of its text.
            self._parked = deque(sorted(self._parked, key=lambda one: one.asked[0].trip.sql))
            self.log.next = self._parked[0].asked[0].trip
            return True
        return self.ended

    @property
    def ended(self) -> bool:
        return self._is_done and not self._parked and not self._open_transactions()

    def _open_transactions(self) -> list[Link]:
        return [one for one in self._links if one.is_open and one.keeps_owner]

    @property
    def is_under_way(self) -> bool:
        return self._thread.ident is not None and not self.ended

    @property
    def can_move(self) -> bool:
        return self.is_under_way and not self.busy

    def stands_still(self) -> bool:
        """What has come meanwhile, and may be another's, is its own then."""
        if self._flying or not self._wire.stillness.lasts((self.name, self.log.underway().sql)):
            return False
        self._wire.claim()
        return not self._parked

    def may_ask(self, sql: str) -> bool:
        """Whether it has asked this before at the same place, in a schedule of this exploration."""
        return self._wire.habits.has(self.name, self._asked, sql)

    @property
    def is_inside(self) -> bool:
        """Whether it waits inside its program, while another one moves."""
        return self.is_silent and self._wire.current is not self

    @property
    def is_silent(self) -> bool:
        """Whether it moves in its program, and has nothing to show for it yet."""
        return self.busy and not (self._flying or self._parked or self._is_done or any(one.owes for one in self._links))

    @property
    def pid(self) -> int:
        return next((link.pid for link in self._flying if link.pid), 0)

    @property
    def backends(self) -> Collection[int]:
        return [link.pid for link in self._links if link.pid]

    @property
    def server_is_busy(self) -> bool:
        return any(link.pid for link in self._flying)

    @property
    def is_lost(self) -> bool:
        return self._is_lost

    def hold_answers(self) -> bool:
        """What the server says stays where it is, unread."""
        for link in self._links:
            link.hold(True)
        return True

    def hand_over(self) -> None:
        if self.busy:
            self._wire.current = self
        for link in list(self._links):
            link.hold(False)
        if self.busy:
            self._wire.claim()

    def make_impatient(self, milliseconds: int) -> bool:
        link = self._parked[0] if self._parked else None
        return isinstance(link, PostgresLink) and link.make_impatient(milliseconds)

    def again(self) -> Scheduled:
        return self._wire.session(self.name, self._work, self._answers, own=self._own)

    # -- what came of it

    @property
    def last_refusal(self) -> str:
        return self._refused_at or self._ending.refusal

    @property
    def was_refused(self) -> bool:
        return bool(self._ending.refusal or (self._refused_at and self.raised))

    def told(self) -> Result | Failure:
        said = "nothing, as it was given up"
        if self._is_given_up:
            return Ending().result(AnswerKind.RETURNED, said)
        if self.raised and (failure := self._failures.get(_sqlstate_of(self.raised))):
            return failure  # as its driver has told it
        return self._ending.result(AnswerKind.RETURNED if self.raised is None else AnswerKind.RAISED, said)

    def stands_at(self) -> str:
        if self._is_done and (links := self._open_transactions()):
            pids = ", ".join(str(one.pid) for one in links)
            return f"which has answered and left a transaction open, on backend {pids}"
        return self._place()

    def _place(self) -> str:
        told = [one.stands_at() for one in self._waits_on if isinstance(one, Located)]
        return stands_at(self._thread.ident) or "".join(told[-1:])

    def abandon(self) -> None:
        """Has it run to its end out of turn, where others use its connections after it; else these are closed."""
        self._is_given_up = not self._is_done
        if self._own:
            self._cut_off()
        else:
            self._wire.release()
            parked, self._parked = self._parked, deque()
            for link in parked:
                link.go_on(self)

    def _cut_off(self) -> None:
        """Has what it waits for end: its connections are closed, its backends cancelled."""
        self._parked.clear()
        if not self._is_done:
            for one in self._waits_on:
                one.close()
        for link in list(self._links):
            if self._own or link.keeps_owner or link.asked:  # pools take the end of an idle one badly
                link.close()

    def interrupt(self) -> None:
        self._cut_off()
        if self._thread.ident and self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(Abandoned))

    def join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            self._thread.join(min(left, 0.002))  # most have nothing more to do
            self._wire.loop.pump(0)

    def close(self) -> None:
        """Ends the transactions that it has left open."""
        self._cut_off()


def _sqlstate_of(error: BaseException) -> str:
    """The SQLSTATE of a driver's exception: psycopg's and asyncpg's, psycopg2's, or pg8000's; '' for any other."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is None and error.args and isinstance(error.args[0], dict):
        state = error.args[0].get("C")
    return str(state or "")


def _undone(trip: RoundTrip) -> bool:
    """Whether it rolled back: so is COMMIT answered, with no error, where the transaction had failed."""
    return bool(trip.results) and trip.results[-1].tag == "ROLLBACK"
