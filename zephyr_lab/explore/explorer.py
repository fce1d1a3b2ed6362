"""Runs the schedules that a scheduler asks for, and counts what they lead to.

The executor sees no search and the search sees no server: a scheduler is told who could move, and an execution is
told who is to. Nothing is kept of a schedule but its outcome and, of each outcome, the first schedule that led to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from zephyr_lab.errors import DEADLOCK_DETECTED, SERIALIZATION_FAILURE, BadInput, ScheduleError, StepTimeout
from zephyr_lab.explore.effect import Effect, Effects, names_a_level
from zephyr_lab.explore.exploration import Counts, Exploration
from zephyr_lab.explore.reduced import number_of_orders
from zephyr_lab.explore.scheduler import Scheduler
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict, VerdictKind, judge
from zephyr_lab.schedule.execution import Execution
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import End, EventKind, Transcript
from zephyr_lab.sql.classify import with_level

OnProgress = Callable[[Exploration], None]
Invariant = str | Callable[[Transcript], bool]


@dataclass
class Executed:
    """A schedule that has been run to its end, with the effects of its steps where they are followed.

    `switches`: how often a step was another session's than the one before it.
    """

    transcript: Transcript
    effects: list[Effect] | None
    switches: int


class Explorer:
    """Explores one spec at one level on one runner.

    `invariant` is a query that gives true where it holds, asked when all sessions have ended, or a function of the
    transcript.
    """

    def __init__(
        self, runner: Runner, spec: Spec, isolation: IsolationLevel, invariant: Invariant | None = None
    ) -> None:
        self._runner, self._spec, self._isolation, self._invariant = runner, spec, isolation, invariant
        self._serial = SerialOutcomes(lambda order: runner.run(spec, order, isolation))
        self._serializable = isolation is IsolationLevel.SERIALIZABLE or names_a_level(spec)
        self._unwatched = _without_ssi(spec)
        self._serial_unwatched = SerialOutcomes(self._run_unwatched)
        self._execution: Execution | None = None
        self._effects: Effects | None = None

    def is_local(self, session: str) -> bool:
        """Whether nobody else will be able to tell when the session's next step happens; asked during an execution."""
        assert self._execution
        assert self._effects
        return self._effects.is_local(self._execution.next_step(session).name)

    def explore(
        self, scheduler: Scheduler, on_progress: OnProgress | None = None, budget: float | None = None
    ) -> Exploration:
        """Runs what `scheduler` asks for; `on_progress` is shown the state after each schedule.

        A schedule with a step that never ends is undecided, and stands for all that begin so. An interrupt (Ctrl-C), or
        `budget` seconds, ends the search with what was found so far. Raises Nondeterminism.
        """
        found = Exploration(self._spec.name, str(self._isolation), invariant=self._invariant is not None)
        began = time.monotonic()
        try:
            while (budget is None or time.monotonic() - began < budget) and scheduler.new_execution():
                try:
                    executed = self.execute(scheduler)
                except StepTimeout as error:
                    if not error.reason:
                        raise
                    found.note_endless(error.schedule, error.reason)
                else:
                    if executed is None:
                        continue
                    self._count(found, executed)
                found.seconds = time.monotonic() - began
                if on_progress:
                    on_progress(found)
            found.complete = scheduler.complete
        except KeyboardInterrupt:
            self._runner.abandon()
            found.interrupted = True
        found.seconds = time.monotonic() - began
        return found

    def execute(self, scheduler: Scheduler) -> Executed | None:
        """One schedule from beginning to end; None where the scheduler gives it up on the way."""
        execution = self._execution = self._runner.begin(self._spec, self._isolation)
        last: str | None = None
        switches = 0
        effects: list[Effect] | None = None
        try:
            if scheduler.wants_effects:
                effects = []
                self._follow()
            while runnable := execution.runnable():
                before, last = last, scheduler.next_session(runnable, last)
                if last is None:
                    execution.finish()
                    return None
                switches += before not in (None, last)
                events = execution.take(execution.next_step(last))
                if effects is not None and self._effects:
                    effects.append(self._effects.after(events, execution.statuses()))
                    scheduler.observe(effects[-1])
            question = self._invariant if isinstance(self._invariant, str) else None
            return Executed(execution.finish(question), effects, switches)
        except BaseException:
            self._runner.abandon()
            raise

    def _follow(self) -> None:
        if self._effects is None:
            from zephyr_lab.explore.statement import footprints  # its parser takes as long to import as all the rest

            footprint = footprints(lambda sql: self._runner.workspace.execute(sql, "what the setup has made"))
            self._effects = Effects(self._spec, self._isolation, footprint)
        self._effects.begin()

    def verdict(self, transcript: Transcript) -> Verdict:
        return judge(transcript, self._serial)

    def _count(self, found: Exploration, executed: Executed) -> None:
        verdict = self.verdict(executed.transcript)
        transcript = verdict.transcript
        ended = [one for one in transcript.transactions if one.end is End.ABORTED]
        aborted = tuple((one.session, one.sqlstate) for one in ended if not one.answered)
        states = [one.sqlstate for one in ended]
        counts = Counts(
            schedules=1,
            anomalous=int(verdict.anomalous),
            aborted=int(bool(aborted)),
            undecided=int(verdict.kind is VerdictKind.UNDECIDED),
            violated=int(not self._holds(transcript)),
            deadlocks=int(DEADLOCK_DETECTED in states),
            blocked_steps=sum(one.kind is EventKind.WAITS and not one.resumed for one in transcript.events),
        )
        if SERIALIZATION_FAILURE in states and self._serializable:
            counts.false_positives = int(self._is_false_positive(verdict))
        represents = 1 if executed.effects is None else number_of_orders(executed.effects)
        found.note((verdict.kind, verdict.outcome, aborted), transcript.schedule, counts, represents)
        if verdict.anomalous:
            found.note_anomalous(transcript.schedule, executed.switches)
        if verdict.kind is VerdictKind.UNDECIDED:
            found.note_reason(verdict.reason)

    def _holds(self, transcript: Transcript) -> bool:
        if self._invariant is None:
            return True
        if not isinstance(self._invariant, str):
            return bool(self._invariant(transcript))
        values = [value for row in transcript.answer for value in row]
        if len(values) != 1 or not isinstance(values[0], bool | None):
            raise BadInput(f"an invariant is a query that gives one row of one boolean, not {values!r}")
        return values == [True]

    def _is_false_positive(self, verdict: Verdict) -> bool:
        """Whether the schedule, without SERIALIZABLE's watch, would have had an outcome that a serial order gives."""
        schedule = Schedule(tuple(event.step for event in verdict.transcript.events if not event.resumed))
        try:
            unwatched = self._run_unwatched(schedule)
        except (ScheduleError, StepTimeout):  # who was sent away would have made others wait
            return False
        if any(one.end is not End.COMMITTED for one in unwatched.transactions):
            return False
        return judge(unwatched, self._serial_unwatched).kind is VerdictKind.PREVENTED

    def _run_unwatched(self, schedule: Schedule) -> Transcript:
        return self._runner.run(self._unwatched, schedule, IsolationLevel.REPEATABLE_READ)


def _without_ssi(spec: Spec) -> Spec:
    """The same spec at REPEATABLE READ, also where its SQL asks for SERIALIZABLE itself."""

    def lower(sql: str) -> str:
        return with_level(sql, IsolationLevel.SERIALIZABLE, IsolationLevel.REPEATABLE_READ)

    return replace(
        spec,
        sessions=tuple(
            replace(
                session,
                setup=session.setup and lower(session.setup),
                steps=tuple(replace(step, sql=lower(step.sql)) for step in session.steps),
            )
            for session in spec.sessions
        ),
    )
