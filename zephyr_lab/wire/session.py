"""A session whose round trips pass the wire: a function with any driver, a request, or a command."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from zephyr_lab.errors import LabError, ScheduleError
from zephyr_lab.functions.answers import Answers
from zephyr_lab.functions.mishaps import possible
from zephyr_lab.functions.scheduled import MOST_SLEEPS, Scheduled
from zephyr_lab.functions.trips import RoundTrip
from zephyr_lab.schedule.faults import Fault
from zephyr_lab.schedule.settling import INSIDE, INSIDE_REDIS
from zephyr_lab.schedule.transcript import Failure, Result, Wait
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.background import Background
from zephyr_lab.wire.link import Link
from zephyr_lab.wire.postgres_link import PostgresLink
from zephyr_lab.wire.record import Record
from zephyr_lab.wire.stillness import Habits, Stillness
from zephyr_lab.wire.streams import Loop
from zephyr_lab.wire.work import Work, WorkThread


class Switch(Protocol):
    """The part of the wire that a session needs. `current` is the session that moves."""

    loop: Loop
    current: WireSession | None
    stillness: Stillness
    habits: Habits
    background: Background

    @property
    def lingers(self) -> bool:
        """Whether a session at rest is waited for, as it may ask something else at the same time."""
        ...

    def linger(self) -> None:
        """Serves until nothing has come for a while."""

    def linger_for(self, comes: Callable[[], bool]) -> None:
        """Serves until something comes, or for some time."""

    def wake(self) -> None:
        """Has the thread that serves look again."""

    def session(self, name: str, work: Work, answers: Answers, *, own: bool) -> WireSession: ...
    def claim(self) -> None:
        """Attributes questions that several sessions may have asked."""

    def release(self) -> None:
        """The schedule is over: later questions belong to no session."""


class WireSession:
    """Runs `work` in a thread, and lets each of its questions through at its turn.

    `own`: it has an endpoint of its own, whose connections are closed when it ends.
    """

    def __init__(self, name: str, work: Work, wire: Switch, answers: Answers, *, own: bool) -> None:
        self.name, self._work, self._wire, self._answers, self._own = name, work, wire, answers, own
        self._record = Record(name, answers, wire.habits)
        self.log = self._record.log
        self.outside: set[str] = set()
        self.busy = False
        self._links: set[Link] = set()
        self._parked: deque[Link] = deque()
        self._flying: list[Link] = []
        self._may_send = False
        self.died = self.is_faulty = self._dies_next = False
        self._closing = self._is_given_up = self._is_blocked = False
        self._thread = WorkThread(name, work, self._record, self._has_ended)

    def _has_ended(self) -> None:
        self._wire.stillness.stir()
        self._wire.wake()

    # -- as the links ask

    def lets_through(self, link: Link, ask: Ask) -> bool:
        """Whether a link may send now what its client asks; else it waits for the session's turn."""
        if ask.trip.private or self._is_given_up:
            return True
        if self.died:
            link.refuse()
            return False
        if self._may_send:
            self._may_send = ask.prepares
            return True
        if link not in self._parked:
            self._wire.stillness.stir()
            self._note_together(link)
            self._parked.append(link)
            self._record.parks(ask)
            if self.sleeps > MOST_SLEEPS:
                self._wire.background.in_loops.add(self.name)
            ask.trip.where = self._thread.stands_at().partition(": ")[0]
            self.log.next = self._parked[0].asked[0].trip
        return False

    def sends(self, link: Link, ask: Ask) -> None:
        self._wire.stillness.stir()
        self._links.add(link)
        self._note_together(link)
        self._flying.append(link)
        self._record.sends(ask)
        if not (ask.trip.private or self._own):
            self._wire.background.asked.add(ask.habit)

    def _note_together(self, link: Link) -> None:
        if any(one is not link for one in (*self._parked, *self._flying)):
            self._wire.background.together.add(self.name)

    def answered(self, link: Link, ask: Ask) -> None:
        self._wire.stillness.stir()
        if link in self._flying:
            self._flying.remove(link)
        if self._thread.is_done:
            self._wire.wake()
        self._record.answered(ask)
        if self._dies_next and not ask.prepares:
            self._die()

    def left(self, link: Link) -> None:
        """A link has ended, or belongs to another session now."""
        self._links.discard(link)
        if link in self._parked:
            self._parked.remove(link)
        if link in self._flying:
            self._flying.remove(link)

    def refuse(self, error: LabError) -> None:
        self._record.refuse(error)

    def disown(self, link: Link, trips: Sequence[RoundTrip]) -> None:
        """Takes back round trips that were attributed to it by mistake."""
        self.left(link)
        self._record.disown(trips)

    # -- as the schedule asks

    @property
    def sleeps(self) -> int:
        return self._record.sleeps

    @sleeps.setter
    def sleeps(self, number: int) -> None:
        self._record.moved_on(number)

    def start(self) -> None:
        self.busy = True
        self._wire.current = self
        self._wire.stillness.stir()
        self._thread.start()

    def go(self) -> None:
        self.busy, gives_up, self._is_blocked = True, self._may_give_up, False
        self._wire.current = self
        self.log.next = None
        self._wire.stillness.stir()
        if gives_up:
            self._record.gave_up = True
            self._flying[0].unblock()
            return
        self._may_send = True
        self._parked.popleft().go_on(self)

    def faults(self) -> Collection[Fault]:
        if not self._parked:
            return ()
        link = self._parked[0]
        return possible(link.asked[0].trip, in_transaction=bool(link.pid and link.keeps_owner))

    def suffer(self, fault: Fault) -> None:
        """A service that goes on with a request that has died gets errors only; other programs lose connections."""
        self.is_faulty = True
        if fault is Fault.TIMEOUT:
            return
        if fault is Fault.CRASH:
            self.busy = True
            self._wire.current = self
            self._wire.stillness.stir()
            self._die()
            return
        link = self._parked[0]
        link.loses_answer = True
        link.asked[0].trip.answer_lost = fault.loses_answer
        self._dies_next = fault is Fault.CRASH_AFTER
        self.go()

    def time_limit(self) -> float:
        link = self._parked[0] if self._parked else None
        return link.time_limit() if isinstance(link, PostgresLink) else 0.0

    def _die(self) -> None:
        self.died, self._dies_next = True, False
        parked, self._parked = list(self._parked), deque()
        self.log.next = None
        if self._own:
            self._thread.end_waits()  # a process is killed; a function runs on, and reaches no server
        for link in list(self._links | set(parked)):
            if self._own:
                link.break_off()
            elif link.keeps_owner or link in parked:
                link.refuse()
        self._wire.wake()

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
        """Waits for further questions, asked at the same time or after its answer, if the first schedule showed any."""
        if self.ended and not self._own and (self._wire.lingers or self.name in self._wire.background.late):
            self._wire.linger_for(lambda: bool(self._parked or self._flying))
            if self._parked or self._flying:
                self._wire.background.late.add(self.name)
        elif self._wire.lingers or self.name in self._wire.background.together:
            self._wire.linger()

    def _is_at_rest(self) -> bool:
        if self._flying:
            return False
        if self._thread.is_done and self._own and not self._closing:
            self._closing = True
            for link in list(self._links):
                link.end()
        if self._parked:
            # Questions that are asked at once arrive in any order: they are sorted by their text.
            self._parked = deque(sorted(self._parked, key=lambda one: one.asked[0].trip.sql))
            self.log.next = self._parked[0].asked[0].trip
            return True
        return self.ended

    @property
    def ended(self) -> bool:
        return self._thread.is_done and not self._parked and not self._open_transactions()

    def _open_transactions(self) -> list[Link]:
        return [one for one in self._links if one.is_open and one.keeps_owner]

    @property
    def is_under_way(self) -> bool:
        return self._thread.has_begun and not self.ended

    @property
    def can_move(self) -> bool:
        return self.is_under_way and (not self.busy or self._may_give_up)

    @property
    def _may_give_up(self) -> bool:
        return self._is_blocked and any(one.may_give_up for one in self._flying)

    def wait_elsewhere(self) -> Wait | None:
        """What it waits for inside Redis or its program; for the latter, contested questions are attributed first."""
        if self._flying:
            self._is_blocked = all(one.is_blocked() for one in self._flying)
            if self._is_blocked and len(self._flying) + len(self._parked) > 1:
                self.refuse(_does_more(self.name, self.log.done[-1].sql))
            return Wait((), INSIDE_REDIS) if self._is_blocked else None
        if not self._wire.stillness.lasts((self.name, self.log.underway().sql)):
            return None
        self._wire.claim()
        return None if self._parked else Wait((), INSIDE)

    def may_ask(self, sql: str) -> bool:
        return self._record.may_ask(sql)

    @property
    def is_inside(self) -> bool:
        """Whether it waits inside its program, while another one moves."""
        return self.is_silent and self._wire.current is not self

    @property
    def is_silent(self) -> bool:
        """Whether it runs in its program, and has neither asked anything nor ended."""
        is_seen = self._flying or self._parked or self._thread.is_done or any(one.owes for one in self._links)
        return self.busy and not is_seen

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
    def is_unanswered(self) -> bool:
        return bool(self._flying)

    @property
    def is_lost(self) -> bool:
        return self._record.is_lost

    def hold_answers(self) -> bool:
        """Leaves the server's answers unread."""
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
    def trips(self) -> int:
        return self._record.trips

    @property
    def misuse(self) -> LabError | None:
        return None if self.died else self._record.misuse

    @property
    def raised(self) -> BaseException | None:
        return self._record.raised

    @property
    def last_refusal(self) -> str:
        return self._record.last_refusal

    @property
    def was_refused(self) -> bool:
        return self._record.was_refused

    def told(self) -> Result | Failure:
        return self._record.told(is_given_up=self._is_given_up)

    def stands_at(self) -> str:
        if self._thread.is_done and (links := self._open_transactions()):
            pids = ", ".join(str(one.pid) for one in links)
            return f"which has answered and left a transaction open, on backend {pids}"
        return self._thread.stands_at()

    def abandon(self) -> None:
        """Has it run to its end out of turn if others share its connections; else closes these."""
        self._is_given_up = not self._thread.is_done
        if self._own:
            self._cut_off()
        else:
            self._wire.release()
            for link in self._flying if self._is_blocked else ():
                link.unblock(by_error=not link.may_give_up)
            parked, self._parked = self._parked, deque()
            for link in parked:
                link.go_on(self)

    def _cut_off(self) -> None:
        """Ends its waits: closes its connections, and cancels their statements."""
        self._parked.clear()
        self._thread.end_waits()
        for link in list(self._links):
            if self._own or link.keeps_owner or link.asked:  # pools report the end of an idle connection as an error
                link.close()

    def interrupt(self) -> None:
        self._cut_off()
        self._thread.interrupt()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds, lambda: self._wire.loop.pump(0))

    def close(self) -> None:
        """Ends transactions that it has left open."""
        self._cut_off()


def _does_more(name: str, sql: str) -> ScheduleError:
    return ScheduleError(
        f"session {name} waits inside Redis ({sql!r}) and asks something else at the same time, so that two of its "
        "parts would go on at once: let one wait for the other, or make two sessions of it"
    )
