"""Carries out the schedules of a spec, on a runner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from zephyr_lab.errors import ScheduleError, StepTimeout
from zephyr_lab.explore.effect import Effect, Effects, names_a_level
from zephyr_lab.explore.footprint import Footprint
from zephyr_lab.explore.scheduler import Candidate
from zephyr_lab.explore.symmetry import NAMES_ITSELF, Step, Trace, labels, victim_by_name
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict, VerdictKind, judge
from zephyr_lab.schedule.execution import Execution
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import End, Result, Transcript
from zephyr_lab.sql.classify import with_level


class RunningSpec:
    """A schedule of a spec, with the effects of its steps if they are tracked."""

    def __init__(
        self,
        execution: Execution,
        effects: Effects | None,
        is_anonymous: bool,
        ask: Callable[[str], list[Result]],
    ) -> None:
        self._execution, self._effects, self._ask = execution, effects, ask
        self.tells_sessions_apart = effects is not None and not (effects.understood and is_anonymous)

    def candidates(self) -> Sequence[Candidate]:
        return [Candidate(name, self._is_local) for name in self._execution.runnable()]

    def _is_local(self, session: str) -> bool:
        return self._effects is not None and self._effects.is_local(self._execution.next_step(session).name)

    def take(self, session: str) -> Effect | None:
        step = self._execution.next_step(session)
        if self._effects:
            self._effects.check_reads(step.name, self._ask)
        events = self._execution.take(step)
        self.tells_sessions_apart |= victim_by_name(events, session)
        return self._effects.after(events, self._execution.statuses()) if self._effects else None

    def finish(self, question: str | None = None) -> Transcript:
        return self._execution.finish(question)


class SpecExecutor:
    """The `Executor` of a spec at a level."""

    def __init__(self, runner: Runner, spec: Spec, isolation: IsolationLevel) -> None:
        self._runner, self._spec, self.isolation = runner, spec, isolation
        self._serial = SerialOutcomes(lambda order: runner.run(spec, order, isolation))
        self._effects: Effects | None = None
        self._watches = isolation is IsolationLevel.SERIALIZABLE or names_a_level(spec)
        self._is_anonymous = not any(NAMES_ITSELF.search(sql) for _, sql in spec.blocks())
        self._unwatched = _without_ssi(spec)
        self._serial_unwatched = SerialOutcomes(self._run_unwatched)
        self._unwatched_traces: list[tuple[Trace, bool]] = []

    @property
    def name(self) -> str:
        return self._spec.name

    def begin(self, *, follow: bool = False, by_table: bool = False, observed: bool = False) -> RunningSpec:
        execution = self._runner.begin(self._spec, self.isolation)
        try:
            if observed:
                execution.observe()
            return RunningSpec(execution, self._followed(by_table) if follow else None, self._is_anonymous, self._ask)
        except BaseException:
            self.abandon()
            raise

    def _followed(self, by_table: bool) -> Effects:
        if self._effects is None:
            self._effects = Effects(self._spec, self.isolation, self._footprint)
        self._effects.begin(by_table=by_table)
        return self._effects

    def _ask(self, sql: str) -> list[Result]:
        return self._runner.workspace.execute(sql, "what the setup has made")

    @cached_property
    def _footprint(self) -> Callable[[str], Footprint]:
        """Read from the schema, which must be set up."""
        from zephyr_lab.explore.statement import footprints  # its parser takes as long to import as all the rest

        return footprints(self._ask)

    @cached_property
    def _unwatched_effects(self) -> Effects:
        return Effects(self._unwatched, IsolationLevel.REPEATABLE_READ, self._footprint)

    def abandon(self) -> None:
        self._runner.abandon()

    def compared(self, transcript: Transcript) -> Transcript:
        return transcript

    def serial_outcomes(self, transcript: Transcript) -> SerialOutcomes:
        return self._serial

    def is_false_positive(self, verdict: Verdict) -> bool:
        """Whether the schedule, without SERIALIZABLE's conflict detection, would have had a serial outcome."""
        if not self._watches:
            return False
        schedule = Schedule(tuple(event.step for event in verdict.transcript.events if not event.resumed))
        steps = labels(self._spec.steps[name].session for name in schedule.steps)
        where = {step: place for place, step in enumerate(steps)}
        known = next((false for trace, false in self._unwatched_traces if trace.has_order(where)), None)
        if known is not None:
            return known
        try:
            unwatched, trace = self._follow_unwatched(schedule)
        except (ScheduleError, StepTimeout):  # the refused session would have blocked others
            return False
        false = all(one.end is End.COMMITTED for one in unwatched.transactions) and (
            judge(unwatched, self._serial_unwatched).kind is VerdictKind.PREVENTED
        )
        self._unwatched_traces.append((trace, false))
        return false

    def _follow_unwatched(self, schedule: Schedule) -> tuple[Transcript, Trace]:
        execution = self._runner.begin(self._unwatched, IsolationLevel.REPEATABLE_READ)
        try:
            self._unwatched_effects.begin()
            running = RunningSpec(execution, self._unwatched_effects, self._is_anonymous, self._ask)
            steps = []
            for name in schedule.steps:
                session = self._spec.steps[name].session
                effect = running.take(session)
                assert effect is not None
                steps.append(Step(session, effect))
            return running.finish(), Trace(steps)
        except BaseException:
            self.abandon()
            raise

    def _run_unwatched(self, schedule: Schedule) -> Transcript:
        return self._runner.run(self._unwatched, schedule, IsolationLevel.REPEATABLE_READ)


def _without_ssi(spec: Spec) -> Spec:
    """The same spec at REPEATABLE READ, even if its SQL sets SERIALIZABLE."""

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
