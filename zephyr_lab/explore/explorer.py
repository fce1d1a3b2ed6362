"""Runs the schedules that a scheduler chooses, and counts their outcomes.

The executor knows no search and the search no server: a scheduler gets the runnable sessions, and an execution the
chosen one. Of a schedule only its outcome is kept, and for each outcome the first schedule that led to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zephyr_lab.errors import DEADLOCK_DETECTED, SERIALIZATION_FAILURE, BadInput, Presumed, StepTimeout
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.executor import Executor, RunningSchedule
from zephyr_lab.explore.exploration import Counts, Exploration
from zephyr_lab.explore.reduced import Reduced, number_of_orders
from zephyr_lab.explore.scheduler import Scheduler
from zephyr_lab.explore.symmetry import NotSymmetric, Renaming
from zephyr_lab.explore.verdict import Verdict, VerdictKind, judge
from zephyr_lab.schedule.faults import fault_of, session_of
from zephyr_lab.schedule.transcript import End, EventKind, Transcript

OnProgress = Callable[[Exploration], None]


class Enough(Exception):
    """Raised by `on_progress`: the search ends with what was found so far, in one process."""


Invariant = str | Callable[[Transcript], bool]


@dataclass
class Executed:
    """A schedule that has been run to its end, with the effects of its steps if they are tracked.

    `switches`: how often a step was another session's than the one before it, or a fault's. `orbit`: a renaming of
    sessions for each schedule that it represents, but for those that differ in the order of independent steps.
    """

    transcript: Transcript
    effects: list[Effect] | None
    switches: int
    orbit: Sequence[Renaming] = ({},)


class Explorer:
    """Explores the schedules of `executor`. `invariant` is a query for true, or a function of the transcript."""

    def __init__(self, executor: Executor, invariant: Invariant | None = None) -> None:
        self._executor, self._invariant = executor, invariant

    def explore(
        self, scheduler: Scheduler, on_progress: OnProgress | None = None, budget: float | None = None
    ) -> Exploration:
        """Runs the schedules of `scheduler`; `on_progress` gets the state after each.

        A schedule with a step that never ends is undecided, and represents all with this prefix. An interrupt (Ctrl-C),
        or `budget` seconds, ends the search with what was found so far. A search of all schedules begins again where
        what it takes for granted is not so; one of a part raises Presumed. Raises Nondeterminism.
        """
        began = time.monotonic()
        while True:
            left = None if budget is None else max(0.0, budget - (time.monotonic() - began))
            try:
                return self._explore(scheduler, on_progress, left)
            except Presumed as presumed:
                if not (isinstance(scheduler, Reduced) and scheduler.begin_again(presumed)):
                    raise

    def _explore(self, scheduler: Scheduler, on_progress: OnProgress | None, budget: float | None) -> Exploration:
        found = Exploration(self._executor.name, str(self._executor.isolation), invariant=self._invariant is not None)
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
        except Enough:
            pass  # not complete
        except KeyboardInterrupt:
            self._executor.abandon()
            found.interrupted = True
        found.seconds = time.monotonic() - began
        return found

    def execute(self, scheduler: Scheduler, *, observed: bool = False) -> Executed | None:
        """One schedule from beginning to end; None if the scheduler abandons it."""
        last: str | None = None
        switches = 0
        effects: list[Effect] = []
        by_table = isinstance(scheduler, Reduced) and bool(scheduler.by_table)
        running = self._executor.begin(follow=scheduler.wants_effects, by_table=by_table, observed=observed)
        try:
            self._check_symmetry(scheduler, running)
            while candidates := running.candidates():
                before, last = last, scheduler.next_session(candidates, last)
                if last is None:
                    running.finish()
                    return None
                switches += before is not None and session_of(before) != session_of(last)
                switches += fault_of(last) is not None
                effect = running.take(last)
                self._check_symmetry(scheduler, running)
                if effect is not None:
                    effects.append(effect)
                    scheduler.observe(effect)
            question = self._invariant if isinstance(self._invariant, str) else None
            orbit = scheduler.orbit() if isinstance(scheduler, Reduced) else ({},)
            return Executed(running.finish(question), effects if scheduler.wants_effects else None, switches, orbit)
        except BaseException:
            self._executor.abandon()
            raise

    def _check_symmetry(self, scheduler: Scheduler, running: RunningSchedule) -> None:
        if running.tells_sessions_apart and isinstance(scheduler, Reduced) and scheduler.symmetry:
            raise NotSymmetric("sessions that run the same program are told apart: explore with symmetry=False")

    def verdict(self, transcript: Transcript) -> Verdict:
        serial = self._executor.serial_outcomes(transcript)
        return judge(self._executor.compared(transcript), serial)

    def _count(self, found: Exploration, executed: Executed) -> None:
        verdict = self.verdict(executed.transcript)
        transcript = verdict.transcript
        ended = [one for one in transcript.transactions if one.end is End.ABORTED]
        aborted = tuple((one.session, one.sqlstate) for one in ended if not one.answered)
        died = tuple((one.session, str(End.DIED)) for one in transcript.transactions if one.end is End.DIED)
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
        if SERIALIZATION_FAILURE in states:
            counts.false_positives = int(self._executor.is_false_positive(verdict))
        represents = 1 if executed.effects is None else number_of_orders(executed.effects)
        key = verdict.kind, verdict.outcome, tuple(sorted(aborted + died))
        found.note(key, transcript.schedule, counts, represents, executed.orbit)
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
