"""The checker's verdict of a transcript's history is the explorer's, who runs the serial orders."""

from __future__ import annotations

import random
from typing import Any

import pytest

from zephyr_lab import Lab, check
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.explorer import Explorer
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.spec_executor import SpecExecutor
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.transcript import End, EventKind, Transcript

LEVELS = (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE)

# The catalogue's anomalies as programs over lists: `r x` reads, `a x` appends. A, B, C are sessions.
CATALOGUE = {
    "dirty-write": ["a x, a y", "a x, a y"],
    "aborted-read": ["a x", "r x, r x"],
    "intermediate-read": ["a x, a x", "r x"],
    "circular-information-flow": ["a x, r y", "a y, r x"],
    "non-repeatable-read": ["r x, r x", "a x"],
    "read-skew": ["r x, r y", "a x, a y"],
    "lost-update": ["r x, a x", "r x, a x"],
    "write-skew": ["r x, r y, a x", "r x, r y, a y"],
    "read-only-anomaly": ["r x, r y, a x", "a y", "r x, r y"],
    "long-fork": ["a x", "a y", "r x, r y"],
}


def program(name: str, sessions: list[str]) -> Spec:
    """A spec in which every session is one transaction; each append has a value of its own."""
    text = [
        "setup { create table lists (key text primary key, elements int[] not null);",
        "insert into lists values ('x', array[]::int[]), ('y', array[]::int[]); analyze lists; }",
        "teardown { drop table lists; }",
    ]
    value = 0
    for letter, operations in zip("ABCD", sessions, strict=False):
        text.append(f"session {letter}")
        steps = operations.split(", ")
        for number, step in enumerate(steps, 1):
            kind, key = step.split()
            sql = f"select elements from lists where key = '{key}'"
            if kind == "a":
                value += 1
                sql = f"update lists set elements = elements || {value} where key = '{key}'"
            begin = "begin; " if number == 1 else ""
            text.append(f"step {letter}{number}_{kind}_{key}_{value} {{ {begin}{sql}; }}")
        text.append(f"step {letter}_commit {{ commit; }}")
    return specfile.parse("\n".join(text), name=name)


def elements(text: Any) -> list[int]:
    """`{1,2}`, as PostgreSQL prints an array."""
    return [int(one) for one in str(text).strip("{}").split(",") if one]


def history_of(transcript: Transcript) -> check.History:
    """Committed transactions as they read and appended, aborted ones as failed, and the rows left as a last read."""
    rows = []
    for number, one in enumerate(transcript.transactions):
        ops: list[list[Any]] = []
        for event in transcript.events:
            if event.session != one.session or event.kind is not EventKind.COMPLETED or "commit" in event.step:
                continue
            _, kind, key, value = event.step.split("_")
            if kind == "a":
                ops.append(["append", key, int(value)])
            else:
                ops.append(["r", key, elements(event.results[-1].rows[0][0])])
        status = "ok" if one.end is End.COMMITTED else "fail"
        rows.append({"session": number, "type": status, "ops": ops})
    final = [["r", key, elements(listed)] for key, listed in transcript.final["lists"].rows]
    return check.from_transactions([*rows, {"session": 99, "type": "ok", "ops": final}])


def compare(explorer: Explorer, transcript: Transcript) -> bool:
    """Whether the schedule is anomalous; the checker must say the same."""
    anomalous = explorer.verdict(transcript).anomalous
    report = check.check(history_of(transcript), "serializable")
    assert report.valid is not anomalous or (report.valid is None and not anomalous), f"{transcript}\n\n{report}"
    return anomalous


@pytest.mark.thorough_but("write-skew", "circular-information-flow")
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_schedule_of_the_catalogue_is_judged_alike(lab: Lab, name: str) -> None:
    """At every level: anomalous by serial outcomes exactly where a cycle exists. Of three sessions' schedules, 100."""
    spec = program(name, CATALOGUE[name])
    anomalous = {}
    for level in LEVELS:
        explorer = Explorer(SpecExecutor(lab.engine.runner, spec, level))
        search = Exhaustive() if len(CATALOGUE[name]) < 3 else Sampled(range(100), seed=0)
        anomalous[level] = 0
        while search.new_execution():
            executed = explorer.execute(search)
            if executed:
                anomalous[level] += compare(explorer, executed.transcript)
    assert anomalous[IsolationLevel.SERIALIZABLE] == 0
    if name in ("read-skew", "lost-update", "write-skew"):
        assert anomalous[IsolationLevel.READ_COMMITTED] > 0
    assert (anomalous[IsolationLevel.REPEATABLE_READ] > 0) is (
        name in ("write-skew", "circular-information-flow", "read-only-anomaly")
    )


@pytest.mark.thorough
def test_two_hundred_generated_programs_are_judged_alike(lab: Lab) -> None:
    """Two or three sessions of one to three operations on two keys; four random schedules of each."""
    found = 0
    for seed in range(200):
        chance = random.Random(f"program {seed}")
        sessions = [
            ", ".join(f"{chance.choice('ra')} {chance.choice('xy')}" for _ in range(chance.randint(1, 3)))
            for _ in range(chance.randint(2, 3))
        ]
        spec = program(f"generated {seed}", sessions)
        explorer = Explorer(SpecExecutor(lab.engine.runner, spec, chance.choice(LEVELS[:2])))
        search = Sampled(range(4), seed)
        while search.new_execution():
            executed = explorer.execute(search)
            if executed:
                found += compare(explorer, executed.transcript)
    assert found > 50
