"""A counterexample of a case, recorded: the case's own spec, with the schedule as its permutation."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from zephyr_lab.errors import LabError
from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule, ScheduledStep, Spec
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.share.proof import proved
from zephyr_lab.share.recorded import Recorded, moments_of, with_settings


def of_case(
    runner: Runner, spec: Spec, isolation: IsolationLevel, found: Counterexample, explanation: Sequence[str]
) -> Recorded:
    """Records a counterexample of `spec`. Raises ServerLost."""
    schedule = Schedule.parse(found, spec)
    transcript = observed = found.transcript
    with contextlib.suppress(LabError):  # then nothing is known of the rows between the steps
        observed = runner.run(spec, schedule, isolation, observed=True)
    permuted = replace(spec, permutations=(tuple(ScheduledStep(step) for step in schedule.steps),))
    recorded = Recorded(
        spec=with_settings(
            permuted,
            isolation,
            transcript.events,
            may_set_deadlock_timeout=runner.database.facts.may_set_deadlock_timeout,
        ),
        isolation=isolation,
        schedule=str(found),
        verdict=found.verdict,
        observed=observed,
        moments=moments_of(transcript, renamed=False),
        tables=tuple(transcript.final),
        server=runner.database.facts.version_name,
        explanation=tuple(explanation),
    )
    return proved(recorded, runner)
