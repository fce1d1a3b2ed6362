"""Operations of a transaction on one key, found by comparing neighbours or by sorting."""

from __future__ import annotations

import random
from typing import Any

import pytest

from zephyr_lab.check import chains, from_transactions


def rows(chance: random.Random) -> list[dict[str, Any]]:
    """Transactions of up to eight operations on three keys."""
    made, value = [], 0
    for _ in range(6):
        ops: list[list[Any]] = []
        for _ in range(chance.randrange(9)):
            value += 1
            key = chance.randrange(3)
            ops.append(["append", key, value] if chance.random() < 0.5 else ["r", key, []])
        made.append({"session": 0, "type": "ok", "ops": ops})
    made.append({"session": 0, "type": "ok", "ops": [["append", 0, 10**6]]})
    return made


def by_hand(ops: list[list[Any]]) -> tuple[list[int], list[int]]:
    before = [max((j for j in range(i) if ops[j][1] == op[1]), default=-1) for i, op in enumerate(ops)]
    later = [
        min((j for j in range(i + 1, len(ops)) if ops[j][1] == op[1] and ops[j][0] == "append"), default=-1)
        for i, op in enumerate(ops)
    ]
    return before, later


@pytest.mark.parametrize("few", [0, 3, 32])
def test_each_operation_knows_the_one_before_and_the_write_after(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its transaction and its key; whichever way they are found."""
    monkeypatch.setattr(chains, "_FEW", few)
    for seed in range(40):
        made = rows(random.Random(f"chains {seed}"))
        found = chains.chains(from_transactions(made))
        at = 0
        for row in made:
            before, later = by_hand(row["ops"])
            span = slice(at, at + len(before))
            assert [one - at if one >= 0 else -1 for one in found.before[span].tolist()] == before
            assert [one - at if one >= 0 else -1 for one in found.next_write[span].tolist()] == later
            at += len(before)
