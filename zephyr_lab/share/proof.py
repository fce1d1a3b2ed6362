"""Does a counterexample, as its spec is written, have the same verdict? The spec is parsed and run to know."""

from __future__ import annotations

from dataclasses import replace

from zephyr_lab.errors import LabError
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict, judge
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.share.recorded import Recorded
from zephyr_lab.share.spec_text import spec_text

UNTOLD = "ok"  # also of a query whose rows the wire has not read
WAY_ON = "export it as .html or .sql, which tell what happened, or as .py, where the functions can be imported"


def proved(recorded: Recorded, runner: Runner) -> Recorded:
    """The same, with what its spec was found to need, or the doubt about it."""
    if not recorded.spec.sessions:
        return replace(recorded, doubt="nothing of it is in PostgreSQL")
    try:
        text = spec_text(recorded, "")
        by_transactions = _verdict(text, recorded, runner, whole_sessions=False)
        if by_transactions.kind is recorded.verdict.kind:
            return _with_difference(recorded, by_transactions)
        by_sessions = _verdict(text, recorded, runner, whole_sessions=True)
    except LabError as error:
        return replace(recorded, doubt=f"it cannot be run: {error}")
    if by_sessions.kind is recorded.verdict.kind:
        return _with_difference(replace(recorded, whole_sessions=True), by_sessions)
    what = "no anomaly" if recorded.verdict.anomalous else f"no {recorded.verdict.kind!r}"
    doubt = f"there is {what} ({by_sessions.kind}: {by_sessions.reason})"
    where = " while commands of Redis, which are part of the race, are missing" * recorded.uses_redis
    other = _difference(by_sessions, recorded)
    return replace(recorded, doubt=f"{doubt}{where}{'; ' * bool(other)}{other}")


def _with_difference(recorded: Recorded, verdict: Verdict) -> Recorded:
    """With the rows that some drivers keep to themselves, and what is answered otherwise."""
    answers = {one.step: one.text() for one in verdict.transcript.events if not one.resumed}
    moments = tuple(
        replace(one, told=answers.get(one.step, one.told)) if one.told == UNTOLD else one for one in recorded.moments
    )
    told = replace(recorded, moments=moments)
    other = _difference(verdict, told)
    said = (f"what is not the same in each run, as a clock's time: when this file was made {other}",) if other else ()
    return replace(told, left_out=(*told.left_out, *said))


def _verdict(text: str, recorded: Recorded, runner: Runner, *, whole_sessions: bool) -> Verdict:
    spec = specfile.parse(text, recorded.spec.name)
    transcript = runner.run(spec, Schedule.of(spec.permutations[0]), recorded.isolation)
    serial = SerialOutcomes(lambda order: runner.run(spec, order, recorded.isolation), whole_sessions=whole_sessions)
    return judge(transcript, serial)


def _difference(verdict: Verdict, recorded: Recorded) -> str:
    """The first step that is answered otherwise than it was, in words."""
    was = {one.step: one.told for one in recorded.moments if one.step}
    for event in verdict.transcript.events:
        if not event.resumed and was.get(event.step, event.text()) not in (event.text(), UNTOLD):
            return f"step {event.step} was answered {event.text()!r}, and not {was[event.step]!r}"
    return ""
