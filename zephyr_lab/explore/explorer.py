"""Runs the schedules that a scheduler asks for, and counts what they lead to.

The executor sees no search and the search sees no server: a scheduler is told who could move, and an execution is
told who is to. Nothing is kept of a schedule but its outcome and, of each outcome, the first schedule that led to it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from zephyr_lab.errors import DEADLOCK_DETECTED, RETRYABLE, SERIALIZATION_FAILURE
from zephyr_lab.explore.scheduler import Scheduler
from zephyr_lab.explore.verdict import Outcome, SerialOutcomes, Verdict, VerdictKind, judge
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, Spec
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import End, EventKind, Transcript

Seen = Callable[["Exploration"], None]


@dataclass
class OutcomeCount:
    """An outcome with who was sent away, how often it came up, and the first schedule that led to it."""

    verdict: VerdictKind
    outcome: Outcome
    aborted: tuple[tuple[str, str], ...]
    example: str
    count: int = 0

    def text(self) -> str:
        refused = "; ".join(f"{session} was told {sqlstate}" for session, sqlstate in self.aborted)
        return "; ".join(part for part in (self.outcome.text(), refused) if part)


@dataclass
class Exploration:
    """What running many schedules of a case at a level has found. All counts but `blocked_steps` are of schedules.

    `false_positives`: sent away with 40001 at SERIALIZABLE although the same schedule, run at REPEATABLE READ,
    commits everything with an outcome that a serial order gives.
    """

    case: str
    isolation: str
    complete: bool = False
    schedules: int = 0
    anomalous: int = 0
    aborted: int = 0
    false_positives: int = 0
    undecided: int = 0
    blocked_steps: int = 0
    deadlocks: int = 0
    seconds: float = 0.0
    outcomes: dict[Any, OutcomeCount] = field(default_factory=dict, repr=False)

    @property
    def counterexample(self) -> str | None:
        """The first anomalous schedule; None where none was found."""
        return next((one.example for one in self.outcomes.values() if one.verdict is VerdictKind.OCCURS), None)

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON; `example` is a schedule that `zephyr-lab run --schedule` takes."""
        names = ("case", "isolation", "schedules", "complete", "anomalous", "aborted", "false_positives", "undecided")
        found = {name: getattr(self, name) for name in (*names, "blocked_steps", "deadlocks")}
        found["outcomes"] = [
            {
                "outcome": one.text(), "verdict": str(one.verdict),
                "serial": one.verdict not in (VerdictKind.OCCURS, VerdictKind.UNDECIDED),
                "count": one.count, "example": one.example,
            }
            for one in self._by_count()
        ]  # fmt: skip
        return {**found, "seconds": round(self.seconds, 3)}

    def _by_count(self) -> list[OutcomeCount]:
        return sorted(self.outcomes.values(), key=lambda one: (-one.count, one.example))

    def __str__(self) -> str:
        scope = f"all {self.schedules:,} schedules" if self.complete else f"{self.schedules:,} schedules, not all"
        lines = [f"{self.case} at {self.isolation}: {scope}"]
        lines += [f"  {one.count:>6}  {one.verdict:<13} {one.text()}  [{one.example}]" for one in self._by_count()]
        false = f" ({self.false_positives} false positives)" if self.false_positives else ""
        undecided = f", {self.undecided} undecided" if self.undecided else ""
        lines.append(
            f"anomalous {self.anomalous} of {self.schedules}, aborted {self.aborted}{false}{undecided}, "
            f"{self.blocked_steps} blocked steps, {self.deadlocks} deadlocks"
        )
        if not self.complete and not self.anomalous:
            lines.append("none of these was anomalous, which is no proof")
        return "\n".join(lines)

    __repr__ = __str__


class Explorer:
    """Explores one spec at one level on one runner."""

    def __init__(self, runner: Runner, spec: Spec, isolation: IsolationLevel) -> None:
        self._runner, self._spec, self._isolation = runner, spec, isolation
        self._serial = SerialOutcomes(lambda order: runner.run(spec, order, isolation))
        self._serializable = isolation is IsolationLevel.SERIALIZABLE or spec.mentions("isolation level serializable")
        self._unwatched = _without_ssi(spec)
        self._serial_unwatched = SerialOutcomes(self._run_unwatched)

    def explore(self, scheduler: Scheduler, seen: Seen | None = None, budget: float | None = None) -> Exploration:
        """Runs what `scheduler` asks for; `seen` is shown the state after each schedule.

        An interrupt (Ctrl-C), or `budget` seconds, ends the search with what was found so far. Raises Nondeterminism.
        """
        found = Exploration(self._spec.name, str(self._isolation))
        began = time.monotonic()
        try:
            while (budget is None or time.monotonic() - began < budget) and scheduler.new_execution():
                self._count(found, self.execute(scheduler))
                found.seconds = time.monotonic() - began
                if seen:
                    seen(found)
            found.complete = scheduler.complete
        except KeyboardInterrupt:
            self._runner.abandon()
        found.seconds = time.monotonic() - began
        return found

    def execute(self, scheduler: Scheduler) -> Transcript:
        """One schedule from beginning to end."""
        execution = self._runner.begin(self._spec, self._isolation)
        last: str | None = None
        try:
            while runnable := execution.runnable():
                last = scheduler.next_session(runnable, last)
                execution.take(execution.next_step(last))
            return execution.finish()
        except BaseException:
            self._runner.abandon()
            raise

    def _count(self, found: Exploration, transcript: Transcript) -> None:
        verdict = judge(transcript, self._serial)
        aborted = tuple((one.session, one.sqlstate) for one in transcript.transactions if one.end is End.ABORTED)
        key = verdict.kind, verdict.outcome, aborted
        if key not in found.outcomes:
            found.outcomes[key] = OutcomeCount(*key, example=transcript.schedule)
        found.outcomes[key].count += 1
        found.schedules += 1
        found.anomalous += verdict.anomalous
        found.undecided += verdict.kind is VerdictKind.UNDECIDED
        states = [sqlstate for _, sqlstate in aborted]
        found.aborted += any(state in RETRYABLE for state in states)
        found.deadlocks += DEADLOCK_DETECTED in states
        found.blocked_steps += sum(one.kind is EventKind.WAITS and not one.resumed for one in transcript.events)
        if SERIALIZATION_FAILURE in states and self._serializable:
            found.false_positives += self._is_false_positive(verdict)

    def _is_false_positive(self, verdict: Verdict) -> bool:
        """Whether the schedule, without SERIALIZABLE's watch, would have had an outcome that a serial order gives."""
        schedule = Schedule(tuple(event.step for event in verdict.transcript.events if not event.resumed))
        unwatched = self._run_unwatched(schedule)
        if any(one.end is not End.COMMITTED for one in unwatched.transactions):
            return False
        return judge(unwatched, self._serial_unwatched).kind is VerdictKind.PREVENTED

    def _run_unwatched(self, schedule: Schedule) -> Transcript:
        return self._runner.run(self._unwatched, schedule, IsolationLevel.REPEATABLE_READ)


def _without_ssi(spec: Spec) -> Spec:
    """The same spec at REPEATABLE READ, also where its SQL asks for SERIALIZABLE itself."""

    def lower(sql: str) -> str:
        return re.sub(r"(?i)\b(isolation\s+level\s+)serializable\b", r"\1repeatable read", sql)

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
