"""Explores functions as `explorer` explores specs: every order of their round trips, judged by the serial ones."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from psycopg import pq

from zephyr_lab.errors import ScheduleError, StepTimeout
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Executed, Explorer, Invariant
from zephyr_lab.explore.fewest_switches import fewest_switches
from zephyr_lab.explore.functions import Function, FunctionChannel, events_of
from zephyr_lab.explore.replay import Replay
from zephyr_lab.explore.scheduler import Nondeterminism, Scheduler
from zephyr_lab.explore.verdict import SerialOutcomes
from zephyr_lab.schedule.execution import IMPATIENT_MS
from zephyr_lab.schedule.ground import may_change_more_than_rows
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Session, Spec, Step
from zephyr_lab.schedule.quiet import Watch
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import End, Event, EventKind, Transaction, Transcript, one_line

TURN_SECONDS = 6.0
MOST_TURNS = 500


class FunctionExecution:
    """One run of functions, turn by turn: who could move, who waits, and what has happened."""

    def __init__(
        self,
        runner: Runner,
        spec: Spec,
        isolation: IsolationLevel,
        functions: Mapping[str, Function],
        prepare: Function | None,
    ) -> None:
        self._runner, self._spec, self._isolation = runner, spec, isolation
        begun = runner.begin(spec, isolation)
        if prepare is not None:
            with runner.database.connect() as connection:
                prepare(connection)
        self._channels: dict[str, FunctionChannel] = {}
        for name, function in functions.items():
            self._channels[name] = FunctionChannel(begun.channel(name), function)
        self._watch = Watch(
            self._channels, runner.observer, may_stop=runner.database.is_ours, on_deadlock=lambda graph: None  # type: ignore[arg-type]
        )  # fmt: skip
        self._patient = begun.may_be_impatient
        self.events: list[Event] = []
        self.taken: list[str] = []
        self._follow(lambda: None, [])

    def runnable(self) -> tuple[str, ...]:
        """Sessions that have not ended and could move now."""
        return tuple(name for name, one in self._channels.items() if not one.ended and name not in self._watch.waits)

    def take(self, name: str) -> None:
        """Lets a function make its next round trip and run on until another one. Raises StepTimeout, ScheduleError."""
        channel, before = self._channels[name], self._watch.waits
        waiting = sorted(before, key=lambda one: max(i for i, word in enumerate(self.taken) if word == one))
        if self.taken.count(name) >= MOST_TURNS:
            raise ScheduleError(f"session {name} has taken {MOST_TURNS} turns and goes on: is it an endless retry?")
        self.taken.append(name)
        self._make_impatient(channel)
        over = self._follow(channel.go, waiting)
        waits = self._watch.waits
        if name in over:
            self.events += events_of(channel, resumed=False)
        for one in [name, *waiting]:
            if one in waits and (one == name or waits[one] != before.get(one)):
                trip = self._channels[one].turn.done[-1]
                self.events.append(
                    Event(one, one, trip.sql, EventKind.WAITS, resumed=one != name, wait=waits[one][1])
                )  # fmt: skip
        for one in waiting:
            if one in over:
                self.events += events_of(self._channels[one], resumed=True)

    def _follow(self, send: Callable[[], None], waiting: list[str]) -> set[str]:
        try:
            return self._watch.carry_out(send, waiting, time.monotonic() + min(TURN_SECONDS, self._runner.step_seconds))
        except TimeoutError:
            moving = ", ".join(
                f"session {name} after {one_line(one.turn.done[-1].sql, 40)!r}" if one.turn.done else f"session {name}"
                for name, one in self._channels.items() if one.busy
            )  # fmt: skip
            raise StepTimeout(
                f"{moving}: neither a round trip nor an end within {TURN_SECONDS:g} s, and it waits for no session; "
                f"after the schedule {' '.join(self.taken)!r}"
            ) from None

    def _make_impatient(self, channel: FunctionChannel) -> None:
        """As in `execution`: whoever holds up another session, and could close a cycle, looks for a deadlock first."""
        connection = channel.channel.connection
        at_rest = channel.channel.status in (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)
        if not (self._patient and at_rest and connection.pipeline_status == pq.PipelineStatus.OFF):
            return
        if any(channel.pid in held_up_by for held_up_by, _ in self._watch.waits.values()):
            channel.channel.execute(f"set deadlock_timeout = '{IMPATIENT_MS}ms'", f"session {channel.name}")
            self._watch.impatient.add(channel.name)

    def finish(self, question: str | None = None) -> Transcript:
        """Ends what is still open, reads the tables, and gives the transcript: round trips, then what came of each."""
        unfinished = [name for name, one in self._channels.items() if not one.ended]
        self.abandon()
        if unfinished or any(one.connection.closed for one in self._channels.values()):
            self._runner.abandon()
        elif any(may_change_more_than_rows(event.sql) for event in self.events):
            self._runner.forget_ground()
        final, answer = self._runner.clear_up(self._spec, lambda: None, question)
        ends = []
        for name, one in self._channels.items():
            told = one.told()
            said = {"failure": told} if hasattr(told, "sqlstate") else {"results": (told,)}
            kind = EventKind.FAILED if one.raised else EventKind.COMPLETED
            ends.append(Event(name, name, "return", kind, transaction=1, **said))  # type: ignore[arg-type]
        return Transcript(
            case=self._spec.name, isolation=str(self._isolation), schedule=" ".join(self.taken),
            sessions=tuple(self._channels), events=(*self.events, *ends), final=final, answer=answer,
            transactions=tuple(
                Transaction(name, 1, (name,), self._end(one), getattr(one.raised, "sqlstate", None) or "")
                for name, one in self._channels.items()
            ),
        )  # fmt: skip

    def _end(self, channel: FunctionChannel) -> End:
        if not channel.ended:
            return End.UNFINISHED
        return End.ABORTED if channel.aborted else End.COMMITTED

    def abandon(self) -> None:
        for one in self._channels.values():
            one.abandon()


class Counterexample(str):
    """An anomalous schedule, such as `A B B A`; it shows itself as a timeline, and can be run again."""

    transcript: Transcript
    explorer: FunctionExplorer

    def replay(self) -> Transcript:
        """The same schedule once more. Raises Nondeterminism where it cannot be had."""
        return self.explorer.replay(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.transcript._repr_mimebundle_()


class FunctionExplorer(Explorer):
    """Explores functions, by session, after `setup` (SQL) in a schema of the lab's own."""

    def __init__(
        self,
        runner: Runner,
        functions: Mapping[str, Function],
        setup: str | Function,
        isolation: IsolationLevel,
        invariant: Invariant | None = None,
    ) -> None:
        setups = (setup,) if isinstance(setup, str) and setup else ()
        sessions = tuple(Session(name, (Step(name, name, ""),)) for name in functions)
        super().__init__(runner, Spec("functions", sessions, setups), isolation, invariant)
        self._functions = functions
        self._prepare = None if isinstance(setup, str) else setup
        self._serial = SerialOutcomes(self._run_in_order)
        self._serializable = False

    def explore(self, scheduler: Scheduler, *args: Any, **kwargs: Any) -> Exploration:
        """As for a spec. Raises Nondeterminism where the first schedule, run again, goes another way."""
        with sleeps_skipped():
            self._check_determinism()
            return super().explore(scheduler, *args, **kwargs)

    def _check_determinism(self) -> None:
        one, two = (self._run_in_order(Schedule(tuple(self._functions))) for _ in range(2))
        for place, (first, second) in enumerate(itertools.zip_longest(one.events, two.events), start=1):
            if first != second:
                shown = [f"{event.sql!r}: {event.text()}" if event else "nothing" for event in (first, second)]
                raise Nondeterminism(
                    f"session {(first or second).session}, round trip {place} of the schedule {one.schedule!r}, gave "
                    f"{shown[0]}, and then {shown[1]}: the function does not depend on its schedule alone (chance, a "
                    "clock, threads of its own?)"
                )

    def execute(self, scheduler: Scheduler) -> Executed | None:
        execution = FunctionExecution(self._runner, self._spec, self._isolation, self._functions, self._prepare)
        last: str | None = None
        try:
            while runnable := execution.runnable():
                last = scheduler.next_session(runnable, last)
                if last is None:
                    execution.finish()
                    return None
                execution.take(last)
            question = self._invariant if isinstance(self._invariant, str) else None
            return Executed(execution.finish(question), None)
        except BaseException:
            execution.abandon()
            self._runner.abandon()
            raise

    def replay(self, schedule: str) -> Transcript:
        """One schedule, as it was printed."""
        replay = Replay(schedule)
        replay.new_execution()
        with sleeps_skipped():
            executed = self.execute(replay)
        assert executed
        return executed.transcript

    def counterexample(self, schedule: str) -> Counterexample:
        """An anomalous schedule with as few switches as any, given one that is anomalous."""
        with sleeps_skipped():
            found = Counterexample(fewest_switches(self, schedule))
        found.explorer, found.transcript = self, self.replay(found)
        return found

    def _run_in_order(self, order: Schedule) -> Transcript:
        functions = {name: self._functions[name] for name in order.steps}
        spec = replace(self._spec, sessions=tuple(self._spec.session(name) for name in order.steps))
        execution = FunctionExecution(self._runner, spec, self._isolation, functions, self._prepare)
        try:
            for name in order.steps:
                while name in execution.runnable():
                    execution.take(name)
            return execution.finish()
        except BaseException:
            execution.abandon()
            self._runner.abandon()
            raise


@contextmanager
def sleeps_skipped() -> Iterator[None]:
    """A function that pauses before it tries again does not pause here: when it goes on is the scheduler's business."""
    real = time.sleep

    def sleep(seconds: float) -> None:
        if not threading.current_thread().name.startswith("session "):
            real(seconds)

    time.sleep = sleep
    try:
        yield
    finally:
        time.sleep = real
