"""One run of a spec, step by step: which sessions are runnable, which wait, and what has happened.

Only quiet states are recorded (see `settling`): the sent step first, and then the sessions that it woke, in the order
in which they had been sent.

A deadlock's victim is the session whose step closes the cycle. The server aborts the session whose `deadlock_timeout`
expires first, and a session checks once per wait. So all sessions are patient (a long timeout), and a session that
blocks another one, hence could close a cycle, is made impatient before its step. If a woken session closes the cycle,
the first one in the spec's order is the victim. A spec that sets `deadlock_timeout` itself is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from psycopg import pq

from zephyr_lab.errors import ScheduleError, StepTimeout
from zephyr_lab.schedule.channel import CANCEL_SECONDS, Channel
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Session, Spec, Step
from zephyr_lab.schedule.sessions import Sessions
from zephyr_lab.schedule.settling import Graph, Settler
from zephyr_lab.schedule.transcript import (
    End,
    Event,
    EventKind,
    Glance,
    Table,
    Transaction,
    Transcript,
    Value,
    Wait,
)
from zephyr_lab.schedule.waiting import Observer, in_a_cycle
from zephyr_lab.schedule.workspace import Workspace
from zephyr_lab.views.abridged import one_line

IMPATIENT_MS = 1


@dataclass
class _Transaction:
    """The state of an open transaction."""

    steps: list[str] = field(default_factory=list)
    end: End = End.UNFINISHED
    sqlstate: str = ""


class Execution:
    """One run of a spec: which sessions are runnable, and what has happened so far."""

    def __init__(
        self,
        spec: Spec,
        isolation: IsolationLevel,
        channels: dict[str, Channel],
        patience: dict[str, int] | None,
        victim: str | None,
        *,
        workspace: Workspace,
        sessions: Sessions,
        observer: Observer,
    ) -> None:
        """`patience` is each session's deadlock_timeout in milliseconds; None if the lab does not set it."""
        self.spec = spec
        self.isolation = isolation
        self.events: list[Event] = []
        self.taken: list[str] = []
        self._workspace, self._sessions = workspace, sessions
        self._channels = channels
        self._patience = patience
        self._victim = victim
        self._settler = Settler(
            channels, observer, may_stop=workspace.database.is_embedded, on_deadlock=self._check_victim
        )
        self._programs = {session.name: session.steps for session in spec.sessions}
        self._places = dict.fromkeys(self._programs, 0)  # the number of steps each session has taken
        self._sent: dict[str, int] = {}  # the index in `taken` of each session's last step
        self._transactions: dict[str, list[_Transaction]] = {name: [] for name in self._programs}
        self._glances: list[Glance] | None = None

    def observe(self) -> None:
        """Reads the committed rows after every step from now on, to show them later."""
        self._glances = [Glance(0, self._workspace.tables_now())]

    # -- for the scheduler

    def runnable(self) -> tuple[str, ...]:
        """Sessions that have a step left and could take it now."""
        return tuple(
            name
            for name, program in self._programs.items()
            if self._places[name] < len(program) and name not in self._settler.waits and not self._channels[name].lost
        )

    def next_step(self, session: str) -> Step:
        """The step that `session` takes next in its program. Raises ScheduleError after the last."""
        program, place = self._programs[session], self._places[session]
        if place == len(program):
            raise ScheduleError(f"session {session} has no step left after {' '.join(self.taken)}")
        return program[place]

    def waiting(self, session: str) -> Wait | None:
        """What a session waits for, or None."""
        return self._settler.waits[session][1] if session in self._settler.waits else None

    def statuses(self) -> dict[str, int]:
        """Each session's transaction status, as a pq.TransactionStatus."""
        return {name: channel.status for name, channel in self._channels.items()}

    def add(self, session: str, sql: str) -> Step:
        """Appends a step to a session's program, for callers that decide as they go; a new session joins."""
        program = self._programs.get(session, ())
        step = Step(f"{session}_{len(program) + 1}", session, sql)
        programs = {**self._programs, session: (*program, step)}
        self.spec = replace(self.spec, sessions=tuple(Session(name, programs[name]) for name in sorted(programs)))
        if session not in self._programs:
            channel = self._sessions.join(self.spec, self.isolation, session)
            self._channels[session] = channel
            self._places[session], self._transactions[session] = 0, []
            self._patience = self._sessions.patience(self.spec, self._victim)
        self._programs = programs
        return step

    def take(self, step: Step) -> list[Event]:
        """Sends a step, waits until all is quiet, returns the events. Raises ScheduleError, StepTimeout."""
        channel = self._channels[step.session]
        if self.waiting(step.session):
            raise ScheduleError(self._refusal(step), schedule=self._schedule(step.name))
        self._places[step.session] = self._programs[step.session].index(step) + 1
        self._sent[step.session] = len(self.taken)
        self.taken.append(step.name)
        if channel.lost:
            return self._record([Event(step.session, step.name, step.sql, EventKind.NOT_SENT)])
        self._begin_transaction(channel, step)
        self._make_impatient(channel)
        try:
            return self._follow(step.session, lambda: channel.send(step), self._workspace.step_seconds)
        except TimeoutError:
            raise self._never_ends() from None

    def cancel(self, session: str) -> list[Event]:
        """Cancels a running step, as Ctrl-C does in psql, and returns the events. Raises TimeoutError."""
        return self._follow(session, self._channels[session].request_cancel, CANCEL_SECONDS)

    def _follow(self, session: str, send: Callable[[], None], seconds: float) -> list[Event]:
        """The events of `send`: of its session, then of the waiting ones, in the order of their steps."""
        before = self._settler.waits
        waiting = sorted(before.keys() - {session}, key=self._sent.__getitem__)
        over = self._settler.send_and_settle(send, waiting, time.monotonic() + seconds)
        waits = self._settler.waits
        events = [self._event(session, resumed=session in before)] if session in over else []
        if session in waits:
            events.append(self._waiting(session, resumed=False))
        for name in waiting:
            if name in over:
                events.append(self._event(name, resumed=True))
            elif waits[name] != before[name]:
                events.append(self._waiting(name, resumed=True))
        return self._record(events)

    # -- what is recorded

    def _begin_transaction(self, channel: Channel, step: Step) -> None:
        """Records to which transaction of its session a step belongs; an autocommitted step is one of its own."""
        transactions = self._transactions[channel.name]
        if channel.status == pq.TransactionStatus.IDLE or not transactions:
            transactions.append(_Transaction())
        transactions[-1].steps.append(step.name)

    def _event(self, name: str, *, resumed: bool) -> Event:
        """The event of a completed step."""
        channel = self._channels[name]
        step, transactions = channel.step, self._transactions[name]
        assert step is not None
        kind = EventKind.LOST if channel.lost else EventKind.FAILED if channel.failure else EventKind.COMPLETED
        event = Event(
            name, step.name, step.sql, kind, transaction=len(transactions),
            results=tuple(channel.results), failure=channel.failure, resumed=resumed, notices=tuple(channel.notices),
        )  # fmt: skip
        transaction = transactions[-1]
        transaction.end = _end_after(event, transaction.end, channel)
        if channel.failure and not transaction.sqlstate:
            transaction.sqlstate = channel.failure.sqlstate
        return event

    def _waiting(self, name: str, *, resumed: bool) -> Event:
        step = self._channels[name].step
        assert step is not None
        wait, transactions = self._settler.waits[name][1], self._transactions[name]
        transactions[-1].end = End.WAITING
        return Event(
            name, step.name, step.sql, EventKind.WAITS, transaction=len(transactions), wait=wait, resumed=resumed
        )

    def _record(self, events: list[Event]) -> list[Event]:
        self.events += events
        if self._glances is not None:
            self._glances.append(Glance(len(self.events), self._workspace.tables_now()))
        return events

    def finish(self, question: str | None = None) -> Transcript:
        """Ends what is still open, reads the tables, runs `question` on them, tears down, returns the transcript."""
        # Last in the queue first, and before any rollback: a session that got its lock would still change rows.
        for name in sorted(self._settler.waits, key=self._sent.__getitem__, reverse=True):
            self._channels[name].cancel()
        usable = {name: channel for name, channel in self._channels.items() if not channel.lost}
        for name, channel in usable.items():
            if channel.status != pq.TransactionStatus.IDLE:
                channel.execute("rollback", f"session {name}")
        left = self._workspace.collect(question)
        if not left.restored:
            self._tear_down(usable)
            self._workspace.tear_down(self.spec)
        self._sessions.release(name for name, channel in self._channels.items() if channel.lost)
        return self._transcript(left.final, left.answer)

    def so_far(self) -> Transcript:
        """The transcript so far, with the rows committed so far; ends nothing. Raises ServerLost."""
        return self._transcript(self._workspace.tables_now(), ())

    def _transcript(self, final: Mapping[str, Table], answer: tuple[tuple[Value, ...], ...]) -> Transcript:
        return Transcript(
            case=self.spec.name,
            isolation=str(self.isolation),
            schedule=self._schedule() if self.taken else "",
            sessions=self.spec.session_names,
            events=tuple(self.events),
            transactions=tuple(
                Transaction(name, number, tuple(one.steps), one.end, one.sqlstate)
                for name in sorted(self._transactions)
                for number, one in enumerate(self._transactions[name], start=1)
            ),
            final=final,
            answer=answer,
            glances=tuple(self._glances or ()),
        )

    def _tear_down(self, usable: Mapping[str, Channel]) -> None:
        for session in self.spec.sessions:
            if session.teardown is not None and session.name in usable:
                what = f"{self.spec.name}, teardown of session {session.name}"
                usable[session.name].execute(session.teardown, what, self._workspace.step_seconds)

    # -- errors with their remedy

    def _schedule(self, *more: str) -> str:
        return Schedule((*self.taken, *more)).text(self.spec)

    def _refusal(self, step: Step) -> str:
        _, wait = self._settler.waits[step.session]
        first = " or ".join(wait.sessions)
        way_on = f"step {first} first" if first else "let the session it waits for go on first"
        replay = self.spec.replay(self.isolation, self._schedule())
        return f"step {step.name} cannot be sent: {step.session} {wait.text()}: {way_on}. Replay up to here: {replay}"

    def _never_ends(self) -> StepTimeout:
        steps = [(name, self._channels[name].step) for name in self._settler.moving()]
        what = "; ".join(f"session {name}, step {step.name} ({one_line(step.sql, 40)})" for name, step in steps if step)
        schedule = self._schedule()
        within = f"no answer within {self._workspace.step_seconds:g} s"
        reason = f"{what}: {within}, and it waits for no session of this schedule; cancelled"
        replay = self.spec.replay(self.isolation, schedule)
        return StepTimeout(f"{reason}. Replay: {replay}", schedule=schedule, reason=reason)

    # -- deadlocks

    def _make_impatient(self, channel: Channel) -> None:
        """Makes a session impatient if its step could close a deadlock: if another one waits for it."""
        if self._patience is None or self._victim or channel.status == pq.TransactionStatus.INERROR:
            return
        holds_up = any(channel.pid in held_up_by for held_up_by, _ in self._settler.waits.values())
        if holds_up or channel.name in self._settler.impatient:
            # Even if it is impatient already: a rollback may have reverted the setting.
            milliseconds = IMPATIENT_MS if holds_up else self._patience[channel.name]
            channel.execute(f"set deadlock_timeout = '{milliseconds}ms'", f"session {channel.name}")
            self._settler.impatient.add(channel.name)

    def _check_victim(self, graph: Graph) -> None:
        if self._victim and not in_a_cycle(self._channels[self._victim].pid, graph):
            inside = [name for pid, name in self._settler.names.items() if in_a_cycle(pid, graph)]
            raise ScheduleError(
                f"{self._victim} cannot be the victim of this deadlock: choose one of {', '.join(inside)}"
            )


def _end_after(event: Event, before: End, channel: Channel) -> End:
    """The state of a transaction after a step; `before` is the state before it."""
    if channel.lost:
        return End.LOST
    status = channel.status
    if status == pq.TransactionStatus.INTRANS:
        return End.UNFINISHED
    if event.failure or status == pq.TransactionStatus.INERROR:
        return End.ABORTED
    ended_by = [result.tag for result in event.results if result.tag in ("COMMIT", "ROLLBACK")]
    if ended_by and ended_by[-1] == "ROLLBACK":
        # Whether COMMIT or ROLLBACK was sent: COMMIT of a failed transaction returns ROLLBACK.
        return before if before is End.ABORTED else End.ROLLED_BACK
    return End.COMMITTED
