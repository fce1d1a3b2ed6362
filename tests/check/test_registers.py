"""What register histories are judged to be, compared with trying everything."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyr_lab import check
from zephyr_lab.check import axioms, decide, levels, registers
from zephyr_lab.check.axioms import Axiom
from zephyr_lab.check.decide import Model
from zephyr_lab.check.report import Report

Row = dict[str, Any]


def txn(text: str, session: int = 0, type: str = "ok", t0: int | None = None, t1: int | None = None) -> Row:
    """`wx1 ry2 rz`: write 1 to x, read 2 in y, find nothing in z."""
    ops = [["w" if word[0] == "w" else "r", word[1], int(word[2:]) if len(word) > 2 else None] for word in text.split()]
    return {"session": session, "type": type, "ops": ops, "t0": t0, "t1": t1}


def judged(*rows: Row, level: str = "serializable", **assumed: bool) -> Report:
    return check.check(check.from_transactions(rows), level, check.Assumptions(**assumed))


@pytest.mark.parametrize(
    ("rows", "anomaly"),
    [
        ([txn("wx1", type="fail"), txn("rx1 wy1", 1), txn("ry1", 2)], "G1a"),
        ([txn("wx1 wx2 wy1"), txn("rx1 ry1", 1)], "G1b"),
        ([txn("wx1 ry1"), txn("wy1 rx1", 1)], "G1c"),
        ([txn("rx wy1"), txn("ry wx1", 1)], "G2-item"),
        ([txn("wx1 wy1"), txn("rx1 ry", 1)], "G-single-item"),
        ([txn("rx wx1"), txn("rx wx2", 1)], "lost-update"),
        ([txn("wx1"), txn("wx2 rx1", 1)], "own-write-unseen"),
        ([txn("wx1"), txn("wx2 rx2 rx1", 1)], "own-write-unseen"),
        ([txn("wx1"), txn("rx rx1", 1)], "internal"),
        ([txn("rx1 wx1"), txn("rx1", 1)], "future-read"),
        ([txn("wx1"), txn("rx1 rx", 1)], "G-single-item"),
    ],
)
def test_each_anomaly_is_named(rows: list[Row], anomaly: str) -> None:
    """By the edges that registers give, or within one transaction."""
    report = judged(*rows)
    assert report.valid is False
    assert anomaly in report.names


def test_an_order_of_versions_that_is_assumed_gives_edges() -> None:
    """Each assumption by its own name, and none of them without."""
    rows = [txn("wx1", 0, t0=0, t1=1), txn("wx2 wy1", 1, t0=2, t1=4), txn("ry1 rx1", 2, t0=3, t1=5)]
    assert judged(*rows, level="read-committed").valid is True
    assert "G-single-item" in judged(*rows, linearizable=True).names
    assert "G-single-item" not in judged(*rows).names
    chain = [txn("wx1"), txn("rx1 wx2 wy1", 1), txn("ry1 rx1", 2)]
    assert "G-single-item" in judged(*chain, wfr=True).names


def test_assumed_orders_that_contradict_each_other_are_an_anomaly() -> None:
    """A version before itself: the keys are not what they were said to be."""
    rows = [txn("wx1", 0), txn("wx2", 0), txn("rx2", 1), txn("rx1", 1)]
    report = judged(*rows, level="read-uncommitted", sequential=True)
    assert report.valid is False
    assert "cyclic-versions" in report.names


def test_a_value_that_nobody_wrote_is_a_violation() -> None:
    """At every level; of the initial value, which a history may have, the report says how to name it."""
    for level in levels.IMPLIES:
        report = judged(txn("rx7 wy1"), txn("ry1", 1), level=level)
        assert report.valid is False
        assert "thin-air-read" in report.forbidden
        assert "T1 read 7 in x, which nobody wrote (if it was there at first, say --initial 7)" in str(report)


def test_a_register_that_is_written_may_have_held_another_value_before() -> None:
    """It is told; of a history that is whole it is a violation."""
    rows = txn("wx1"), txn("rx1 rx2", 1)
    assert judged(*rows).history.warnings == [
        "history, line 2: reads 2 in 'x', which nobody wrote: assumed to be written outside the history"
    ]
    assert "thin-air-read" not in judged(*rows).names
    assert "thin-air-read" in judged(*rows, fragment=False).names


def test_of_a_fragment_what_nobody_wrote_was_written_outside() -> None:
    """It is told with its line; the verdict is about the rest."""
    report = judged(txn("rx7 wy1"), txn("ry1", 1), fragment=True)
    assert report.valid is True
    assert report.history.warnings == [
        "history, line 1: reads 7 in 'x', which nobody wrote: assumed to be written outside the history"
    ]


def test_what_a_write_replaced_leaves_nothing_open() -> None:
    """With it the order of versions is known, and the anomaly has a name of its own."""
    rows = [
        {"session": 0, "type": "ok", "ops": [["w", "x", 1, None], ["w", "y", 1, None]]},
        {"session": 1, "type": "ok", "ops": [["w", "x", 2, 1], ["w", "y", 2, None]]},
        {"session": 2, "type": "ok", "ops": [["w", "y", 3, 2], ["r", "x", 1]]},
    ]
    assert "G-single-item" in judged(*rows).names
    rows[2]["ops"][1][2] = 2
    rows[1]["ops"][1][3], rows[2]["ops"][0][3] = 1, 2
    report = judged(*rows)
    assert report.valid is True
    assert report.history.told_order
    rows[0]["ops"][1] = ["w", "y", 1, 2]
    assert "cyclic-versions" in judged(*rows).names or judged(*rows).valid is False


# ---------------------------------------------------------------------- compared with trying everything


@st.composite
def small_histories(draw: st.DrawFn) -> list[Row]:
    """Up to six transactions of two sessions; reads see some write, or nothing."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    rows: list[Row] = []
    written: dict[str, list[int]] = {"x": [], "y": []}
    value = 0
    for _ in range(draw(st.integers(2, 6))):
        ops: list[list[Any]] = []
        seen: dict[str, Any] = {}
        for _ in range(chance.randint(1, 3)):
            key = chance.choice("xy")
            if chance.random() < 0.5 and ["w", key] not in [op[:2] for op in ops]:
                value += 1
                ops.append(["w", key, value])
                seen[key] = value
            elif key in seen:
                ops.append(["r", key, seen[key]])
            else:
                seen[key] = chance.choice([None, *written[key]])
                ops.append(["r", key, seen[key]])
        for op in ops:
            if op[0] == "w":
                written[op[1]].append(op[2])
        rows.append({"session": chance.randrange(2), "type": "ok", "ops": ops})
    return rows


def external(row: Row) -> tuple[dict[str, Any], dict[str, int]]:
    """The first reads and the last writes of a transaction."""
    reads: dict[str, Any] = {}
    writes: dict[str, int] = {}
    for kind, key, value in row["ops"]:
        if kind == "w":
            writes[key] = value
        elif key not in writes:
            reads.setdefault(key, value)
    return reads, writes


def serializable(rows: list[Row], sessions: bool) -> bool:
    """Some order of all transactions, sessions kept or not, in which every read sees the last write."""
    for order in itertools.permutations(range(len(rows))):
        if sessions and any(
            order.index(i) > order.index(j)
            for i, j in itertools.combinations(range(len(rows)), 2)
            if rows[i]["session"] == rows[j]["session"]
        ):
            continue
        state: dict[str, int] = {}
        for i in order:
            reads, writes = external(rows[i])
            if any(state.get(key) != value for key, value in reads.items()):
                break
            state |= writes
        else:
            return True
    return False


def snapshot_isolated(rows: list[Row], sessions: bool) -> bool:
    """Some order of each key's writers leaves no cycle without two rw in a row (Cerone, Gotsman 2016, theorem 10)."""
    n = len(rows)
    seen = [external(row) for row in rows]
    writers = {key: [i for i in range(n) if key in seen[i][1]] for key in "xy"}
    for orders in itertools.product(*(itertools.permutations(writers[key]) for key in "xy")):
        plain: set[tuple[int, int]] = set()
        anti: set[tuple[int, int]] = set()
        if sessions:
            plain |= {(i, j) for i in range(n) for j in range(i + 1, n) if rows[i]["session"] == rows[j]["session"]}
        for key, order in zip("xy", orders, strict=True):
            plain |= set(itertools.combinations(order, 2))
            for i, (reads, _) in enumerate(seen):
                if key in reads:
                    source = next((j for j in order if seen[j][1][key] == reads[key]), None)
                    if source is not None and source != i:
                        plain.add((source, i))
                    after = order[order.index(source) + 1 :] if source is not None else order
                    anti |= {(i, j) for j in after if i != j}
        both = plain | {(i, k) for i, j in plain for one, k in anti if j == one}
        reach = {i: {j for one, j in both if one == i} for i in range(n)}
        for _ in range(n):
            reach = {i: to | {k for j in to for k in reach[j]} for i, to in reach.items()}
        if not any(i in to for i, to in reach.items()):
            return True
    return False


@settings(max_examples=250, deadline=None)
@given(small_histories(), st.booleans())
def test_serializable_is_decided_as_by_trying_every_order(rows: list[Row], sessions: bool) -> None:
    """With the order of sessions and without."""
    decision = decide.decide(
        check.from_transactions(rows, "rw-register"), Model.SERIALIZABLE, "process" if sessions else ""
    )
    assert decision.holds is serializable(rows, sessions)


@settings(max_examples=250, deadline=None)
@given(small_histories(), st.booleans())
def test_snapshot_isolation_is_decided_as_by_trying_every_order_of_writes(rows: list[Row], sessions: bool) -> None:
    """With the order of sessions and without."""
    history = check.from_transactions(rows, "rw-register")
    decision = decide.decide(history, Model.SNAPSHOT_ISOLATION, "process" if sessions else "")
    assert decision.holds is snapshot_isolated(rows, sessions)


@settings(max_examples=250, deadline=None)
@given(small_histories())
def test_inference_never_finds_what_deciding_refutes(rows: list[Row]) -> None:
    """An inferred anomaly that rules out serializability is one that no order explains."""
    history = check.from_transactions(rows, "rw-register")
    inferred = registers.infer(history)
    report = check.check(history, "serializable")
    if report.valid is not None and not inferred.found:
        assert report.valid is serializable(rows, sessions=False)


@settings(max_examples=150, deadline=None)
@given(small_histories())
def test_the_weak_levels_follow_from_the_strong_ones(rows: list[Row]) -> None:
    """Serializable is snapshot-isolated is causal is read atomic is read committed."""
    history = check.from_transactions(rows, "rw-register")
    strong = [
        decide.decide(history, Model.SERIALIZABLE, "process").holds,
        decide.decide(history, Model.SNAPSHOT_ISOLATION, "process").holds,
        *(
            axioms.check(history, one, sessions=True).holds
            for one in (Axiom.CAUSAL, Axiom.READ_ATOMIC, Axiom.MONOTONIC_ATOMIC_VIEW)
        ),
    ]
    assert all(weaker for stronger, weaker in itertools.pairwise(strong) if stronger), strong


def test_beyond_its_bounds_the_checker_says_that_it_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not that all is well. Serializability it still decides, choosing only where an order is wrong."""
    rows = [txn("wx1 wy1"), txn("rx1 wy2", 1), txn("ry1 wx2", 2)]
    assert judged(*rows, level="snapshot-isolation").valid is True
    monkeypatch.setattr(decide, "MOST_NODES", 2)
    report = judged(*rows, level="snapshot-isolation")
    assert report.valid is None
    assert "too many" in report.why
    assert judged(*rows, level="serializable").valid is False
    assert judged(*rows[:2], level="serializable").valid is True
