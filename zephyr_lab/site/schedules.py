"""All schedules of the small cases, run when the site is built: what a reader of a page can choose between.

Each interleaving of a case's steps is run at each level that differs, observed, and judged; one that the server does
not admit (a session would take a step while it waits) is told as such. A case is a script of its own, which a page
loads when it is needed: a page opened from disk may load scripts, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zephyr_lab.anomalies.catalogue import CATALOGUE
from zephyr_lab.errors import ScheduleError
from zephyr_lab.explore.verdict import SerialOutcomes, judge
from zephyr_lab.lab import Lab
from zephyr_lab.lab.case import Case, load_case
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.site.kept import Kept
from zephyr_lab.views.story import story

MOST = 210  # interleavings: two, two and three steps of three sessions
LEVELS = {
    "rc": IsolationLevel.READ_COMMITTED, "rr": IsolationLevel.REPEATABLE_READ, "ser": IsolationLevel.SERIALIZABLE,
}  # fmt: skip
SHORT = {str(level): short for short, level in LEVELS.items()}


Schedules = dict[str, list[dict[str, Any]]]


def interleavings(counts: Counter[str]) -> Iterator[str]:
    """All orders of so many turns of each session, such as `A A B B`, the alphabetical one first."""
    if not counts.total():
        yield ""
    for name in sorted(counts):
        if counts[name]:
            for rest in interleavings(counts - Counter([name])):
                yield f"{name} {rest}".strip()


def number(case: Case) -> int:
    """How many interleavings a case has."""
    turns = _turns(case)
    return math.factorial(turns.total()) // math.prod(math.factorial(one) for one in turns.values())


def _turns(case: Case) -> Counter[str]:
    return Counter({one.name: len(one.steps) for one in case.spec.sessions if one.steps})


def small_cases(lab: Lab) -> list[Case]:
    """Those of the catalogue with at most `MOST` interleavings."""
    return [case for case in (lab.case(one.name) for one in CATALOGUE) if number(case) <= MOST]


def all_schedules(case: Case) -> list[dict[str, Any]]:
    """A story for each interleaving at each level, with its verdict; or why the server does not admit it."""
    return [told for level in LEVELS.values() for told in _at(case, level)]


def _at(case: Case, level: IsolationLevel) -> Iterator[dict[str, Any]]:
    runner = case.engine.runner
    serial = SerialOutcomes(lambda order: runner.run(case.spec, order, level))
    refused: dict[str, str] = {}  # by the steps up to the one that cannot be sent: what begins so is not run
    for words in interleavings(_turns(case)):
        why = next((why for begun, why in refused.items() if f"{words} ".startswith(f"{begun} ")), None)
        if why is not None:
            yield {"level": str(level), "schedule": words, "refused": why}
            continue
        try:
            transcript = runner.run(case.spec, Schedule.parse(words, case.spec), level, observed=True)
        except ScheduleError as error:
            why = refused[error.schedule or words] = str(error).partition(" Replay up to here")[0]
            yield {"level": str(level), "schedule": words, "refused": why}
            continue
        yield {**story(transcript.to_dict()), "verdict": str(judge(transcript, serial).kind)}


def schedules_now(cache: Path | None = None) -> Schedules:
    """Runs them, on servers of their own; with a `cache` only if what they are run with has changed."""
    kept = Kept(cache).folder / "schedules.json" if cache else None
    if kept and kept.exists():
        found: Schedules = json.loads(kept.read_text(encoding="utf-8"))
        return found
    with Lab() as lab:
        runs = {case.spec.name: all_schedules(case) for case in small_cases(lab)}
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(runs), encoding="utf-8")
    return runs


def cases(runs: Schedules) -> dict[str, dict[str, str]]:
    """What a page says of each case, with the schedule that the catalogue shows it by."""
    return {
        one.name: {
            "title": one.title,
            "definition": one.definition,
            "schedule": _own_schedule(one.case),
        }
        for one in CATALOGUE
        if one.name in runs
    }


def _own_schedule(case: str) -> str:
    spec = load_case(case)
    return Schedule.of(spec.permutations[0]).text(spec) if spec.permutations else ""


def address(name: str, level: str, word: str, runs: Schedules) -> str:
    """Where the page of all schedules shows what a word of the matrix stands for; '' if it does not have the case."""
    for one in runs.get(name, ()):
        if one["level"] == level and one.get("verdict") == word:
            return f"schedules.html#{name}/{SHORT[level]}/{one['schedule'].replace(' ', '')}"
    return f"schedules.html#{name}/{SHORT[level]}" if name in runs else ""


def script(name: str, runs: Iterable[dict[str, Any]]) -> str:
    """The file of a case: `parts`, each once, and `runs`, in which every list is one of places in `parts`.

    Schedules of a case have most of their events and frames in common: a tenth of the size.
    """
    parts: dict[str, int] = {}
    shared = [
        {
            key: [parts.setdefault(_compact(one), len(parts)) for one in value] if isinstance(value, list) else value
            for key, value in run.items()
        }
        for run in runs
    ]
    return (
        f"(window.zephyrSchedules ||= {{}})[{json.dumps(name)}] = "
        f'{{"parts":[{",".join(parts)}],"runs":{_compact(shared)}}};\n'
    )


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
