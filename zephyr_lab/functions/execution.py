"""One run of functions, turn by turn: which sessions are runnable, which are blocked, and what has happened."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from functools import partial

from zephyr_lab.errors import LabError, ScheduleError, ServerLost, StepTimeout
from zephyr_lab.functions.scheduled import MOST_SLEEPS, MakeSession, Scheduled
from zephyr_lab.functions.session import end
from zephyr_lab.functions.setup import FunctionSetup
from zephyr_lab.schedule.execution import IMPATIENT_MS
from zephyr_lab.schedule.faults import (
    CLOCK,
    Fault,
    Faults,
    expiry_of,
    fault_of,
    is_expiry,
    key_of,
    session_of,
)
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.reset import functions_of, may_change_more_than_rows
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.settling import INSIDE_REDIS, Settler, Waits
from zephyr_lab.schedule.transcript import (
    CRASH,
    RETURN,
    End,
    Event,
    EventKind,
    Failure,
    Glance,
    Table,
    Transaction,
    Transcript,
)
from zephyr_lab.sql.classify import Kind, classify
from zephyr_lab.views.abridged import one_line

TURN_SECONDS = 6.0
_PREPARED = "select gid from pg_prepared_xacts where database = current_database() order by gid"
MOST_TURNS, MOST_ROUNDS = 500, 30
MOST_RETRIES = 5


class NothingToOrder(ScheduleError):
    """No session made a round trip."""


class WaitsForEver(StepTimeout):
    """A session waits inside Redis, and nobody is left who could wake it."""


class FunctionExecution:
    """Sessions by name, from their `start` until all have ended.

    With `faults`, `take` also takes their words; with `retry` as well, whoever has failed by one begins anew at once.
    """

    def __init__(
        self,
        runner: Runner,
        spec: Spec,
        isolation: IsolationLevel,
        names: Iterable[str],
        ground: FunctionSetup,
        make: MakeSession,
        faults: Faults | None = None,
        retry: bool = False,
    ) -> None:
        self._runner, self._spec, self._isolation, self._setup = runner, spec, isolation, ground
        ready = runner.prepare(spec, isolation, preparation=ground)
        self.sessions: dict[str, Scheduled] = {}
        self._earlier: list[Scheduled] = []  # attempts that were refused, and retried
        self.events: list[Event] = []
        self.taken: list[str] = []
        self._faults, self._retry = faults or Faults(), retry
        self._limits: dict[str, float] = {}  # in seconds, of those that wait only so long for a lock
        self._moved: set[str] = set()  # the sessions whose attempt has made a round trip
        self._glances: list[Glance] = []
        try:
            for name in names:
                self.sessions[name] = make(name, ready.channels.get(name))
            self._settler = Settler(
                self.sessions,
                runner.observer,
                may_stop=runner.database.is_embedded,
                on_deadlock=lambda graph: None,
            )
            self._patient = ready.patience is not None
        except BaseException:
            self.abandon()
            raise

    def start(self, *names: str) -> None:
        """Runs each function until its first round trip, one after another, so that the code before it has an order."""
        for name in names:
            self._follow(self.sessions[name].start, [])
            if name in self._settler.waits:
                self.events.append(self._wait(name, resumed=False))

    def observe(self) -> None:
        """Reads the committed rows after every turn from now on."""
        self._glances = [Glance(0, self._runner.workspace.tables_now())]

    def runnable(self) -> tuple[str, ...]:
        """Started sessions that can move now; one that has slept too often in a row comes after the others."""
        able = [name for name, one in self.sessions.items() if one.can_move]
        awake = [name for name in able if self.sessions[name].sleeps <= MOST_SLEEPS]
        return tuple(awake or able)

    def needs_another(self, name: str) -> bool:
        """Whether a session cannot go on by itself: it waits, or does so in a loop, and has gone round it often."""
        one = self.sessions[name]
        return not one.ended and (not one.can_move or one.sleeps > MOST_ROUNDS)

    def faults(self) -> list[str]:
        """The words of the faults, and of what the clock may do, that could come now, always in the same order."""
        words, left = [], self._faults.left(self.taken)
        for name in self.runnable() if left else ():
            possible = self.sessions[name].faults()
            words += [f"{name}:{one}" for one in Fault if one in possible and self._is_admitted(one, name, left)]
        if self._faults.may_tick(self.taken):
            waiting = (name for name in self.sessions if name in self._settler.waits and self._limits.get(name))
            words += (f"{name}:{Fault.TIMEOUT}" for name in waiting)
            words += map(expiry_of, self._setup.expiring())
        return words

    def _is_admitted(self, fault: Fault, name: str, left: Collection[Fault]) -> bool:
        """Death before the first round trip is no step, and death after the last one matters if there is a retry."""
        if fault is Fault.CRASH:
            return fault in left and name in self._moved
        return fault in left if fault is not Fault.CRASH_AFTER else self._retry and Fault.CRASH in left

    def take(self, word: str, *, scheduled: bool = True) -> list[Event]:
        """Lets a function make its next round trip and run on until another one, or what else `word` says; returns the
        events.

        Not `scheduled`: after the schedule's end. Raises StepTimeout, ScheduleError.
        """
        if self._faults and is_expiry(word):
            return self._expire(word)
        name, fault = self._owner(word), fault_of(word) if self._faults else None
        session, before = self.sessions[name], self._settler.waits
        waiting = sorted((one for one in before if one != name), key=self._last_turn)
        if session.trips >= MOST_TURNS:
            raise ScheduleError(f"session {name} has taken {MOST_TURNS} turns and goes on: is it an endless retry?")
        if scheduled:
            self.taken.append(word)
        self._moved.add(name)
        for other in self.sessions.values():
            if other is not session:
                other.sleeps = 0
        self._make_impatient(session)
        if self._faults.ticks and fault is not Fault.TIMEOUT:
            self._limits[name] = session.time_limit()
        over = self._follow(partial(self._suffer, session, fault) if fault else session.go, waiting)
        events = self._what_happened(name, waiting, before, over)
        self.events += events
        if self._faults and self._retry:
            self._begin_anew()
        self._glance()
        return events

    def _suffer(self, session: Scheduled, fault: Fault) -> None:
        """A time limit really passes: no server can be told that it has."""
        session.suffer(fault)
        deadline = time.monotonic() + self._limits.get(session.name, 0.0) + 1
        while fault is Fault.TIMEOUT and session.busy and (left := deadline - time.monotonic()) > 0:
            if select.select([session.socket], [], [], left)[0]:
                session.receive()
                session.collect()

    def _last_turn(self, name: str) -> int:
        """The place of its last turn in the schedule; -1 for none."""
        return max((place for place, word in enumerate(self.taken) if self._owner(word) == name), default=-1)

    def _owner(self, word: str) -> str:
        """The session that a word of the schedule belongs to."""
        return session_of(word) if self._faults else word

    def _what_happened(self, name: str, waiting: Sequence[str], before: Waits, over: Set[str]) -> list[Event]:
        """The events of a turn of `name`, and of those that have waited `before` it."""
        waits, session = self._settler.waits, self.sessions[name]
        events = [] if name in waits and session.is_unanswered else session.log.events(resumed=name in before)
        for one in [name, *waiting]:
            if one in waits and (one == name or waits[one] != before.get(one)):
                if one != name and not self.sessions[one].is_unanswered:
                    events += self.sessions[one].log.events(resumed=True)
                events.append(self._wait(one, resumed=one != name))
        for one in waiting:
            if one in over:
                events += self.sessions[one].log.events(resumed=True)
        return [*events, *(Event(one, one, CRASH, EventKind.DIED) for one in (name, *waiting) if self._has_died(one))]

    def _glance(self) -> None:
        if self._glances:
            self._glances.append(Glance(len(self.events), self._runner.workspace.tables_now()))

    def _has_died(self, name: str) -> bool:
        """Whether it is dead, and that has not been noted yet."""
        session = self.sessions[name]
        is_new = session.died and session.ended and name in self._moved
        if is_new:
            self._moved.discard(name)
        return is_new

    def _begin_anew(self) -> None:
        """The callers of those that have failed by a fault call them again."""
        for name, session in list(self.sessions.items()):
            failed = session.died or session.raised is not None or session.was_refused
            if session.ended and session.is_faulty and failed and self._attempts(name) <= MOST_RETRIES:
                self._moved.discard(name)
                self._start_again(name)

    def _attempts(self, name: str) -> int:
        return sum(one.name == name for one in self._earlier) + 1

    def _start_again(self, name: str) -> None:
        session = self.sessions[name]
        again = session.again()
        self._earlier.append(session)
        session.close()
        self.sessions[name] = again
        self.start(name)

    def _expire(self, word: str) -> list[Event]:
        """Has a key of Redis expire, which nobody waits for."""
        self.taken.append(word)
        key = key_of(word)
        self._setup.expire(key)
        for session in self.sessions.values():
            session.sleeps = 0
        events = [Event(CLOCK, word, f"redis: {key} expires", EventKind.COMPLETED)]
        self.events += events
        self._glance()
        return events

    def _wait(self, name: str, *, resumed: bool) -> Event:
        """What it waits with: a round trip, but for a wait inside its program."""
        wait, trip = self._settler.waits[name][1], self.sessions[name].log.underway()
        return Event(
            name, name, trip.sql, EventKind.WAITS, resumed=resumed, wait=wait, where=trip.where, whole=trip.whole
        )

    def _follow(self, send: Callable[[], None], waiting: list[str]) -> set[str]:
        try:
            over = self._settler.send_and_settle(send, waiting, time.monotonic() + self._turn_seconds)
        except TimeoutError:
            raise self._never_comes_back() from None
        for session in self.sessions.values():
            if session.misuse:
                raise self._with_fault(session.misuse)
        return over

    def _with_fault(self, error: LabError) -> LabError:
        """A program that has ended is a finding of its own where a fault came before."""
        fault = next((word for word in reversed(self.taken) if fault_of(word)), "") if self._faults else ""
        if not (fault and isinstance(error, ServerLost)):
            return error
        listens_not = "Emitted 'error' event" in str(error)  # Node's words
        how = ": pool.on('connect', (client) => client.on('error', ...)) in node-postgres" if listens_not else ""
        return ServerLost(
            f"{error}\n  It ended in the schedule {' '.join(self.taken)!r}: it does not outlive {fault!r}; mend that "
            f"first{how}"
        )

    @property
    def _turn_seconds(self) -> float:
        return min(TURN_SECONDS, self._runner.step_seconds)

    def _never_comes_back(self) -> StepTimeout:
        moving = [one for name, one in self.sessions.items() if one.busy and name not in self._settler.waits]
        what = " and ".join(
            f"session {one.name}"
            + (f" in or after {one_line(sql, 40)!r}" if (sql := one.log.underway().sql) else "")
            + (f", at {place}" if (place := one.stands_at()) else "")
            for one in moving
        )
        schedule = " ".join(self.taken)
        if prepared := self._runner.workspace.execute(_PREPARED, "prepared transactions")[0].rows:
            named = ", ".join(repr(gid) for (gid,) in prepared)
            return StepTimeout(
                f"{what}, after the schedule {schedule!r}: waits for a lock of a prepared transaction ({named}), of "
                "which PostgreSQL does not say whose it is. Two-phase commit of several sessions cannot be explored: "
                "let the functions commit at once"
            )
        # If the server is executing, the thread ends with the statement; other causes may lie in the function.
        if moving and all(one.server_is_busy for one in moving):
            reason = f"{what}: no answer within {self._turn_seconds:g} s, and it waits for no session; cancelled"
            return WaitsForEver(f"{reason}. After the schedule {schedule!r}", schedule=schedule, reason=reason)
        return StepTimeout(
            f"{what}: neither a round trip nor an end within {self._turn_seconds:g} s, and it waits for no session by "
            f"a lock of PostgreSQL's; after the schedule {schedule!r}. Locks between threads cannot be explored"
        )

    def _nothing_to_order(self) -> str:
        raised = [f"{one.name} raised {one.raised!r}; " for one in self.sessions.values() if one.raised]
        return (
            "".join(raised) + "none of the functions made a round trip that the lab controls, so there is nothing to "
            "order: let them take a connection (psycopg 3), pool, engine, Redis client or dsn as a parameter; an app "
            "or a service has to connect by lab.wire.dsn, lab.wire.url('postgresql+asyncpg') or lab.wire.redis_url"
        )

    def _waits_for_ever(self) -> LabError:
        """With a reason, so that other schedules are gone on with, where that is Redis's own doing."""
        waits = {name: wait for name, (_, wait) in self._settler.waits.items()}
        what = " and ".join(f"session {name} {wait.text()}" for name, wait in waits.items())
        schedule = " ".join(self.taken)
        if any(wait.lock == INSIDE_REDIS for wait in waits.values()):
            asked = {self.sessions[name].log.underway().sql for name in waits}
            reason = f"{what}, for ever: nobody is left to go on ({'; '.join(sorted(asked))})"
            return WaitsForEver(f"{reason}. After the schedule {schedule!r}", schedule=schedule, reason=reason)
        return ScheduleError(
            f"{what}, and nobody is left to go on, after the schedule {schedule!r}: does a lock outlive its "
            "transaction, as pg_advisory_lock's does, or a prepared transaction?"
        )

    def _make_impatient(self, session: Scheduled) -> None:
        """As in `schedule.execution`: the session that could close a cycle of waits runs its deadlock check first."""
        holds_up = any(not held_up_by.isdisjoint(session.backends) for held_up_by, _ in self._settler.waits.values())
        if self._patient and holds_up and session.make_impatient(IMPATIENT_MS):
            self._settler.impatient.add(session.name)

    def retry(self) -> None:
        """Retries refused sessions when all have ended, one after another, until they succeed."""
        if any(not one.ended for one in self.sessions.values()):
            return
        for name, session in self.sessions.items():
            for _ in range(MOST_RETRIES):
                if not session.was_refused:
                    break
                self._start_again(name)
                session = self.sessions[name]
                while not session.ended and self.runnable():
                    self.take(name, scheduled=False)

    def finish(self, question: str | None = None) -> Transcript:
        """Ends what is still open, reads the tables, and returns the transcript: round trips, then each outcome."""
        attempts = [*self._earlier, *self.sessions.values()]
        if attempts and not self.runnable() and not any(one.trips for one in attempts):
            self.abandon()
            raise NothingToOrder(self._nothing_to_order())
        unfinished = {name for name, one in self.sessions.items() if not one.ended}
        if unfinished and not self.runnable():
            error = self._waits_for_ever()
            self.abandon()
            raise error
        lost = any(one.is_lost for one in self.sessions.values())
        self.abandon()
        if unfinished or lost:
            self._runner.abandon()
        elif any(
            may_change_more_than_rows(event.sql, functions_of(self._spec.setups))
            for event in self.events
            if not (event.sql.startswith("redis: ") or event.kind is EventKind.DIED)
        ):
            self._runner.workspace.forget()
        remains = self._setup.remains(self.events)
        self._setup.outside.update(*(one.outside for one in attempts))
        handed_out = self._setup.handed_out()
        numbered = list(zip(_numbers(attempts), attempts, strict=True))
        left = self._runner.workspace.collect(question)
        expired = tuple(
            Transaction(CLOCK, number, (word,), End.COMMITTED)
            for number, word in enumerate(filter(is_expiry, self.taken if self._faults else ()), start=1)
        )
        return Transcript(
            case=self._spec.name, isolation=str(self._isolation), schedule=" ".join(self.taken),
            sessions=(*self.sessions, *([CLOCK] if expired else ())),
            events=(*self.events, *(_ending(one, number) for number, one in numbered if not one.died)),
            final=_with_others(left.final, remains), answer=left.answer, glances=tuple(self._glances),
            handed_out=handed_out,
            transactions=tuple(
                Transaction(one.name, number, (one.name,), End.UNFINISHED) if one.name in unfinished
                else self._transaction(one, number) for number, one in numbered
            ) + expired,
        )  # fmt: skip

    def _transaction(self, session: Scheduled, number: int) -> Transaction:
        """A function that returns in spite of a refusal reports success: it is judged as committed first."""
        name, told = session.name, session.told()
        if session.died:
            return Transaction(name, number, (name,), End.DIED, faulty=True)
        if session.was_refused:
            return Transaction(name, number, (name,), End.ABORTED, session.last_refusal, faulty=session.is_faulty)
        sqlstate = told.sqlstate if isinstance(told, Failure) else session.last_refusal
        last = _last_end([event for event in self.events if event.session == name])
        if last is End.ROLLED_BACK and isinstance(told, Failure):
            last = End.ABORTED
        return Transaction(
            name, number, (name,), last, sqlstate, answered=True, raised=session.raised is not None,
            faulty=session.is_faulty,
        )  # fmt: skip

    def abandon(self) -> None:
        end(self.sessions.values())


def _numbers(attempts: list[Scheduled]) -> list[int]:
    """The number, from 1, of each attempt of its session."""
    names = [one.name for one in attempts]
    return [names[: place + 1].count(name) for place, name in enumerate(names)]


def _with_others(tables: Mapping[str, Table], others: Mapping[str, Table]) -> dict[str, Table]:
    """Both; a table of the schema takes precedence over another one of its name."""
    return {**tables, **{name if name not in tables else f"{name} (beside)": one for name, one in others.items()}}


def _ending(session: Scheduled, number: int) -> Event:
    """What a function returned or raised, in the place of its transaction's results."""
    told, kind = session.told(), EventKind.FAILED if session.raised else EventKind.COMPLETED
    if isinstance(told, Failure):
        return Event(session.name, session.name, RETURN, kind, transaction=number, failure=told)
    return Event(session.name, session.name, RETURN, kind, transaction=number, results=(told,))


def _last_end(events: Sequence[Event]) -> End:
    """The end of the last transaction among these round trips."""
    end, failed = End.COMMITTED, False
    for event in events:
        last = next((one.kind for one in reversed(classify(event.sql))), Kind.UNKNOWN)
        if event.kind in (EventKind.FAILED, EventKind.LOST):
            end, failed = End.ROLLED_BACK, True
        elif last is Kind.ROLLBACK_TO:
            failed = False
        elif event.kind is EventKind.COMPLETED:
            # COMMIT is answered with ROLLBACK, and no error, where the transaction had failed.
            undone = last in (Kind.ROLLBACK, Kind.ROLLBACK_PREPARED) or (failed and last is Kind.COMMIT)
            end, failed = End.ROLLED_BACK if undone else End.COMMITTED, False
    return end
