"""Whatever the file: a verdict, or bad input; never another error."""

from __future__ import annotations

import collections
import json
import random
from pathlib import Path
from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.check import levels, operations
from zephyr_lab.errors import BadInput

WORDS = ["x", "y", "a", "true", "r", "w", "append", "len>1", ""]
NUMBERS = [0, 1, 2, 3, -1, 2**62, -(2**63), 2**63, 2**70, True, False, 1.5, 1e300]
KINDS = {
    "list-append": ["r", "append"],
    "rw-register": ["r", "w"],
    "predicate": ["r", "w", "insert", "delete", "rp"],
    "": ["r", "w", "append", "rp", "insert", "delete"],
}


def anything(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if kind < 0.4 or depth > 2:
        return chance.choice(NUMBERS)
    if kind < 0.6:
        return chance.choice([*WORDS, None])
    if kind < 0.85:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {str(anything(chance, 3)): anything(chance, depth + 1) for _ in range(chance.randrange(3))}


def operation(chance: random.Random, kinds: list[str]) -> Any:
    """Mostly one that could be."""
    if chance.random() < 0.03:
        return anything(chance)
    kind = chance.choice(kinds)
    op = [kind, chance.choice(["x", "y", 1]) if chance.random() < 0.97 else anything(chance)]
    if kind == "rp":
        predicate = chance.choice(["true", ["=", 1], ["mod", 2, 0], "len>0", anything(chance)])
        return [kind, predicate, chance.choice([{"x": 1}, {}, [], None, anything(chance)])]
    if kind != "delete":
        op.append(chance.choice([1, 2, 3, [1], [1, 2], None]) if chance.random() < 0.95 else anything(chance))
    return op


def transaction(chance: random.Random, kinds: list[str]) -> Any:
    if chance.random() < 0.02:
        return anything(chance)
    row: dict[str, Any] = {"session": chance.choice([0, 1, 2]), "type": chance.choice(["ok", "ok", "info", "fail"])}
    row["ops"] = [operation(chance, kinds) for _ in range(chance.randrange(4))]
    if chance.random() < 0.3:
        row |= {"t0": chance.choice([0, 1, 2, None]), "t1": chance.choice([3, 6, None])}
    if chance.random() < 0.04:
        row[chance.choice(["session", "type", "ops", "t0", "t1"])] = anything(chance)
    return row


def event(chance: random.Random) -> Any:
    value = chance.choice([[["r", "x", 1]], 1, [1, 2], {"a": 1}, None, anything(chance)])
    found = {
        "process": chance.choice([0, 1, 2]),
        "type": chance.choice(["invoke", "ok", "info", "fail"]),
        "value": value,
    }
    found["f"] = chance.choice(["txn", "read", "write", "add", "cas", "transfer", "inc"])
    if chance.random() < 0.05:
        found[chance.choice(["process", "type", "f"])] = anything(chance)
    return found


def said(path: Path, seed: int) -> Any:
    """The verdict on a random file, or `refused`."""
    chance = random.Random(f"any {seed}")
    kinds = chance.choice(list(KINDS.values()))
    events = chance.random() < 0.3
    rows = [event(chance) if events else transaction(chance, kinds) for _ in range(chance.randrange(1, 6))]
    path.write_text("\n".join(map(json.dumps, rows)))
    try:
        if events and chance.random() < 0.7:
            return operations.check(path, chance.choice(list(operations.CHECKS))).valid
        return check.check(check.read(path), chance.choice(sorted(levels.IMPLIES))).valid
    except BadInput:
        return "refused"


def test_hundreds_of_files_are_judged_or_refused(tmp_path: Path) -> None:
    """Each verdict occurs."""
    counted = collections.Counter(said(tmp_path / "any.jsonl", seed) for seed in range(800))
    assert set(counted) == {True, False, None, "refused"}


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(4))
def test_a_hundred_thousand_files_are_judged_or_refused(tmp_path: Path, part: int) -> None:
    """Other ones."""
    for seed in range(10**6 + part * 25_000, 10**6 + (part + 1) * 25_000):
        said(tmp_path / "any.jsonl", seed)
