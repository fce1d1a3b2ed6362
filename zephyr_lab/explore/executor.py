"""What carries out schedules, as the `Explorer` sees it: sessions that take steps, and the serial orders to judge by.

`spec_executor` carries out the steps of a spec, and `functions.executor` Python functions.
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

    `candidates` and `take` are called in turn while there are candidates and the search wants to go on, and then
    `finish`, once. If one of them raises, `Executor.abandon` is called and the schedule is not touched again.
    """

    def candidates(self) -> Sequence[Candidate]:
        """Who could take a step now, always in the same order; none where all have ended, or wait."""
        ...

    def take(self, session: str) -> Effect | None:
        """Has a candidate take its next step, and waits until every session has answered or waits for another one.

        Gives what the step did to others; None where effects are not followed. Raises StepTimeout where a session does
        neither in time: with a `reason` its schedule is undecided and the search goes on, without one the search ends,
        as it does by whatever else is raised.
        """
        ...

    def finish(self, question: str | None = None) -> Transcript:
        """Ends what is open and gives the transcript, with the answer to `question`, SQL that is asked at the end.

        Sessions may have steps left: then the search has given the schedule up, and the transcript is not judged.
        Raises ScheduleError where nothing can be said of the schedule.
        """
        ...


class Executor(Protocol):
    """Carries out schedules of one program at one level, one at a time.

    Each is begun by `begin`. Between two schedules transcripts are judged: by `compared`, and by `serial_outcomes`,
    which carries out schedules of its own, as `is_false_positive` does.
    """

    @property
    def name(self) -> str:
        """What an exploration is called."""
        ...

    @property
    def isolation(self) -> IsolationLevel: ...

    def begin(self, *, follow: bool = False, observed: bool = False) -> RunningSchedule:
        """Sets up a schedule, up to the point where the first step can be taken.

        `follow`: the effects of its steps are wanted. `observed`: the transcript tells what is committed after each
        step. Nothing goes on where it raises.
        """
        ...

    def abandon(self) -> None:
        """Ends the schedule that was begun last, whatever it is doing; called after any error, and by an interrupt."""
        ...

    def compared(self, transcript: Transcript) -> Transcript:
        """What of a transcript is compared with serial outcomes: without what differs by chance."""
        ...

    def serial_outcomes(self, transcript: Transcript) -> SerialOutcomes:
        """What a transcript is compared with: runs committed transactions one after another, each order once."""
        ...

    def is_false_positive(self, verdict: Verdict) -> bool:
        """Whether the schedule would have had a serial outcome without the refusal with 40001 that is in it.

        False where that cannot be asked.
        """
        ...
