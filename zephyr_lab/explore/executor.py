"""The executor interface of the `Explorer`: sessions that take steps, and the serial outcomes to judge by.

`spec_executor` runs the steps of a spec, and `functions.executor` Python functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.scheduler import Candidate
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import Transcript


class RunningSchedule(Protocol):
    """A schedule from its setup to its end.

    `candidates` and `take` are called alternately while there are candidates and the search continues, then `finish`
    once. If one of them raises, `Executor.abandon` is called and the schedule is not used again.
    """

    @property
    def tells_sessions_apart(self) -> bool:
        """Whether names of sessions matter: a step may observe more than rows, such as its session's process, or the
        lab has chosen a deadlock's victim by its place in the order. False if effects are not tracked.

        What functions send is known only later: they raise NotReducible then.
        """
        ...

    def candidates(self) -> Sequence[Candidate]:
        """The sessions that could take a step now, always in the same order; none if all have ended, or wait."""
        ...

    def take(self, session: str) -> Effect | None:
        """Takes a candidate's next step, and waits until every session has completed or waits for another one.

        Returns the step's effect; None if effects are not tracked. Raises StepTimeout if a session does neither:
        with a `reason` its schedule is undecided and the search continues, without one the search ends, as it does with
        any other exception.
        """
        ...

    def finish(self, question: str | None = None) -> Transcript:
        """Ends what is open and returns the transcript, with the rows of `question`, SQL that is run at the end.

        Sessions may have steps left: then the search has abandoned the schedule, and the transcript is not judged.
        Raises ScheduleError if the schedule has no result.
        """
        ...


class Executor(Protocol):
    """Runs schedules of one program at one level, one at a time.

    Each is begun by `begin`. Between two schedules transcripts are judged: by `compared`, and by `serial_outcomes`,
    which runs schedules of its own, as `is_false_positive` does.
    """

    @property
    def name(self) -> str:
        """The name of an exploration."""
        ...

    @property
    def isolation(self) -> IsolationLevel: ...

    def begin(self, *, follow: bool = False, by_table: bool = False, observed: bool = False) -> RunningSchedule:
        """Sets up a schedule, so that the first step can be taken.

        `follow`: track the effects of its steps. `by_table`: as in `effect`; a step may raise Finer. `observed`:
        the transcript has the rows committed after each step.
        If it raises, nothing is left running.
        """
        ...

    def abandon(self) -> None:
        """Ends the last schedule, whatever it is doing; called after any error or interrupt."""
        ...

    def compared(self, transcript: Transcript) -> Transcript:
        """The part of a transcript to compare with serial outcomes: without what differs by chance."""
        ...

    def serial_outcomes(self, transcript: Transcript) -> SerialOutcomes:
        """The serial outcomes to compare with: runs committed transactions one after another, each order once."""
        ...

    def is_false_positive(self, verdict: Verdict) -> bool:
        """Whether the schedule would have had a serial outcome without its 40001; False if that is unknown."""
        ...
