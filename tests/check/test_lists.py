"""What list-append histories are judged to be: by definition, by trying every order, and after something was broken."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyr_lab import check
from zephyr_lab.check import levels
from zephyr_lab.check.report import Report

Row = dict[str, Any]


def txn(text: str, session: int = 0, type: str = "ok", t0: int | None = None, t1: int | None = None) -> Row:
    """`ax1 ry12`: append 1 to x, read y as [1, 2]; `ry` reads nothing. As Elle's tests write it."""
    ops = []
    for word in text.split():
        kind, key, values = word[0], word[1], [int(digit) for digit in word[2:]]
        ops.append(["append", key, values[0]] if kind == "a" else ["r", key, values])
    return {"session": session, "type": type, "ops": ops, "t0": t0, "t1": t1}


def judged(*rows: Row, level: str = "serializable") -> Report:
    return check.check(check.from_transactions(rows), level)


@pytest.mark.parametrize(
    ("rows", "anomaly", "weakest"),
    [
        ([txn("ax1 ay1"), txn("ax2 ay2", 1), txn("rx12 ry21", 2)], "G0", ["read-uncommitted"]),
        ([txn("ax1 ry1"), txn("ay1 rx1", 1)], "G1c", ["read-committed"]),
        ([txn("ax1", type="fail"), txn("rx1", 1)], "G1a", ["read-committed"]),
        ([txn("ax1 ax2"), txn("rx1", 1)], "G1b", ["read-committed"]),
        ([txn("ax1", type="fail"), txn("ax2", 1), txn("rx12", 2)], "dirty-update", ["read-committed"]),
        ([txn("ax1"), txn("ax2", 1), txn("rx12", 2), txn("rx21", 3)], "incompatible-order", ["read-committed"]),
        ([txn("ax1"), txn("rx11", 1)], "duplicate-elements", ["read-uncommitted"]),
        ([txn("ax1"), txn("rx1 ax2 rx1", 1)], "internal", ["read-atomic"]),
        ([txn("rx1 ax1")], "future-read", ["read-committed"]),
        ([txn("ax1"), txn("rx1 ax2", 1), txn("rx1 ax3", 2)], "lost-update", ["cursor-stability", "update-atomic"]),
        ([txn("ax1 ay1"), txn("rx1 ry", 1)], "G-single-item", ["consistent-view", "repeatable-read"]),
        (
            [txn("ax1"), txn("ay1", 1), txn("rx1 ry", 2), txn("rx ry1", 3)],
            "G-nonadjacent-item",
            ["repeatable-read", "snapshot-isolation"],
        ),
        ([txn("rx ay1"), txn("ry ax1", 1)], "G2-item", ["repeatable-read"]),
    ],
)
def test_each_anomaly_is_named_and_rules_out_what_it_should(rows: list[Row], anomaly: str, weakest: list[str]) -> None:
    """One history for each; the weakest levels that fall are those of the literature."""
    report = judged(*rows)
    assert report.valid is False
    assert anomaly in report.names
    assert report.weakest == weakest


def test_a_session_that_does_not_see_its_own_write_breaks_the_session_levels_only() -> None:
    """Serializable, since reading first is an order; not strongly so."""
    rows = [txn("ax1", 0), txn("rx", 0), txn("rx1", 1)]
    assert judged(*rows).valid is True
    report = judged(*rows, level="strong-session-serializable")
    assert report.valid is False
    assert report.weakest == ["strong-session-snapshot-isolation"]
    assert "T2 follows T1 in session 0" in report.worst.text


def test_a_stale_read_in_another_session_breaks_the_strict_levels_only() -> None:
    """Real time counts there, and nowhere else."""
    rows = [txn("ax1", 0, t0=0, t1=1), txn("rx", 1, t0=2, t1=3), txn("rx1", 2, t0=4, t1=5)]
    assert judged(*rows, level="strong-session-serializable").valid is True
    report = judged(*rows, level="strict-serializable")
    assert report.valid is False
    assert "T1 had ended before T2 began" in report.worst.text


def test_concurrent_transactions_have_no_real_time_order() -> None:
    """The completion must be before the invocation."""
    rows = [txn("ax1", 0, t0=0, t1=3), txn("rx", 1, t0=2, t1=4), txn("rx1", 2, t0=5, t1=6)]
    assert judged(*rows, level="strict-serializable").valid is True


def test_an_indeterminate_append_counts_where_somebody_read_it() -> None:
    """And is nobody's dependency where nobody did."""
    rows = [txn("ax1 ay1", type="info"), txn("rx1 ry", 1)]
    assert "G-single-item" in judged(*rows).names
    assert judged(txn("ax1", type="info"), txn("rx ay1", 1), txn("ry1 rx", 2)).valid is True


def test_a_cycle_is_explained_in_words() -> None:
    """Each transaction must precede the next, up to the contradiction."""
    read = judged(txn("ax3 ay7"), txn("rx3 ry", 1)).worst.text
    assert read == (
        "T2 must precede T1 because T2's read of y = [] did not see T1's append of 7; "
        "T1 must precede T2 because T2 read T1's append of 3 to x: a contradiction."
    )
    skew = judged(txn("rx ay1"), txn("ry ax1", 1)).worst.text
    assert skew == (
        "T1 must precede T2 because T1's read of x = [] did not see T2's append of 1; "
        "T2 must precede T1 because T2's read of y = [] did not see T1's append of 1: a contradiction."
    )


def test_the_report_has_the_fields_that_a_program_reads() -> None:
    """valid, anomalies with transactions and edges, not, counts."""
    told = judged(txn("rx ay1"), txn("ry ax1", 1)).to_dict()
    assert (told["valid"], told["not"], told["transactions"], told["operations"]) == (False, ["repeatable-read"], 2, 4)
    (found,) = told["anomalies"]["G2-item"]
    assert [one["transaction"] for one in found["transactions"]] == [0, 1]
    assert [(edge["from"], edge["to"], edge["type"]) for edge in found["edges"]] == [(0, 1, "rw"), (1, 0, "rw")]


def test_many_readers_and_writers_of_one_version_stay_linear_and_exact() -> None:
    """Where hubs stand for pairs, nobody reaches itself, and the lost updates are found."""
    readers = [txn("rx", number) for number in range(60)]
    writers = [{"session": 100 + i, "type": "ok", "ops": [["append", "x", i]]} for i in range(60)]
    assert judged(*readers, *writers).valid is True
    both = [{"session": 200 + i, "type": "ok", "ops": [["r", "x", []], ["append", "x", 100 + i]]} for i in range(60)]
    assert judged(*readers, *writers, both[0]).valid is True
    report = judged(*readers, *writers, *both)
    assert {"lost-update", "G2-item"} <= set(report.names)
    assert all(len(cycle.steps) == 2 for cycle in report.cycles["G2-item"])


# ---------------------------------------------------------------------- every order, tried


def serial_order_exists(rows: list[Row]) -> bool:
    """By definition: some order of the committed transactions explains every read. For histories that end with reads
    of everything, so that no append is left out."""
    committed = [row for row in rows if row["type"] == "ok"]
    for order in itertools.permutations(committed):
        state: dict[str, list[int]] = {}
        for row in order:
            if not all(
                state.get(op[1], []) == op[2] if op[0] == "r" else not state.setdefault(op[1], []).append(op[2])
                for op in row["ops"]
            ):
                break
        else:
            return True
    return False


@st.composite
def small_histories(draw: st.DrawFn) -> list[Row]:
    """Up to five transactions on a store that answers reads by any earlier or the newest state, then a read of all."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    keys, store, rows, value = "xy", {"x": [], "y": []}, [], 0
    for session in range(draw(st.integers(2, 5))):
        ops = []
        snapshot = {key: store[key][: chance.randint(0, len(store[key]))] for key in keys}
        for _ in range(chance.randint(1, 3)):
            key = chance.choice(keys)
            if chance.random() < 0.5:
                value += 1
                store[key].append(value)
                snapshot[key] = list(store[key])
                ops.append(["append", key, value])
            else:
                ops.append(["r", key, list(snapshot[key] if chance.random() < 0.7 else store[key])])
        rows.append({"session": session, "type": "ok", "ops": ops})
    return [*rows, {"session": 9, "type": "ok", "ops": [["r", key, list(store[key])] for key in keys]}]


@settings(max_examples=400, deadline=None)
@given(small_histories())
def test_valid_means_that_some_serial_order_explains_every_read(rows: list[Row]) -> None:
    """Compared with trying all orders; a history without any dependency is neither."""
    report = judged(*rows)
    if report.valid is not None:
        assert report.valid is serial_order_exists(rows)


# ---------------------------------------------------------------------- no false alarm, nothing missed


def serial_store(chance: random.Random, transactions: int = 30, sessions: int = 4, keys: int = 3) -> list[Row]:
    """A strict serializable history: each transaction takes effect at one moment between invocation and completion."""
    state: dict[int, list[int]] = {}
    running: dict[int, tuple[int, list[Any] | None]] = {}
    rows: list[Row] = []
    clock, value = itertools.count(), itertools.count(1)
    while len(rows) < transactions:
        session = chance.randrange(sessions)
        begun, ops = running.get(session, (None, None))
        if begun is None:
            running[session] = next(clock), None
        elif ops is None:
            ops = []
            for _ in range(chance.randint(1, 4)):
                key = chance.randrange(keys)
                if chance.random() < 0.5:
                    ops.append(["append", key, next(value)])
                    state.setdefault(key, []).append(ops[-1][2])
                else:
                    ops.append(["r", key, list(state.get(key, []))])
            running[session] = begun, ops
        else:
            rows.append({"session": session, "type": "ok", "ops": ops, "t0": begun, "t1": next(clock)})
            del running[session]
    for session, (begun, ops) in running.items():  # what has taken effect may have been read
        if ops is not None:
            rows.append({"session": session, "type": "ok", "ops": ops, "t0": begun, "t1": next(clock)})
    return rows


@pytest.mark.thorough
def test_ten_thousand_histories_of_a_serial_store_are_valid() -> None:
    """At the strictest level: no false alarm."""
    for seed in range(10_000):
        rows = serial_store(random.Random(seed), transactions=12)
        report = judged(*rows, level="strict-serializable")
        assert report.valid is True, (seed, str(report))


def mutated(rows: list[Row], chance: random.Random) -> tuple[str, list[Row]] | None:
    """A lost append, two reads swapped, or a value that comes back; None where there was nothing to break."""
    rows = [{**row, "ops": [list(op) for op in row["ops"]]} for row in rows]
    reads = [op for row in rows for op in row["ops"] if op[0] == "r" and op[2]]
    kind = chance.choice(["lost", "swapped", "resurrected"])
    if kind == "lost":  # every read from some moment on misses an element that was read before
        op = chance.choice(reads)
        lost = chance.choice(op[2])
        later = [one for one in reads if one[1] == op[1] and lost in one[2]]
        for one in later[len(later) // 2 :]:
            one[2] = [value for value in one[2] if value != lost]
        changed = bool(later[len(later) // 2 :])
    elif kind == "swapped":
        one, other = chance.choice(reads), chance.choice(reads)
        changed = one[1] == other[1] and one[2] != other[2]
        one[2], other[2] = other[2], one[2]
    else:  # a read returns an older state of the list
        op = chance.choice(reads)
        op[2] = op[2][: chance.randrange(len(op[2]))]
        changed = True
    return (kind, rows) if changed else None


def still_explained(rows: list[Row]) -> bool:
    """Whether a search finds a serial order that keeps real time: a proof that a change was harmless."""
    remaining = frozenset(range(len(rows)))
    seen: set[tuple[frozenset[int], tuple]] = set()

    def search(left: frozenset[int], state: dict[int, tuple[int, ...]]) -> bool:
        if not left:
            return True
        mark = left, tuple(sorted(state.items()))
        if mark in seen:
            return False
        seen.add(mark)
        first_end = min(rows[i]["t1"] for i in left)
        for i in sorted(left, key=lambda i: rows[i]["t1"]):
            if rows[i]["t0"] > first_end:
                continue
            now = dict(state)
            for op in rows[i]["ops"]:
                if op[0] == "append":
                    now[op[1]] = (*now.get(op[1], ()), op[2])
                elif now.get(op[1], ()) != tuple(op[2]):
                    break
            else:
                if search(left - {i}, now):
                    return True
        return False

    return search(remaining, {})


@pytest.mark.thorough
def test_a_thousand_broken_histories_are_found_or_proved_harmless() -> None:
    """Where the checker says valid, an explanation must exist; and most changes do harm."""
    found = harmless = 0
    seed = 0
    while found + harmless < 1_000:
        seed += 1
        chance = random.Random(f"mutation {seed}")
        broken = mutated(serial_store(chance, transactions=25), chance)
        if broken is None:
            continue
        report = judged(*broken[1], level="strict-serializable")
        if report.valid is False:
            found += 1
        else:
            assert still_explained(broken[1]), (seed, broken[0])
            harmless += 1
    assert found > 700


def test_a_level_falls_with_every_level_below_it() -> None:
    """What rules out a level rules out all that imply it."""
    for anomaly in ("G0", "G1a", "lost-update", "G2-item-process", "G-single-item-realtime", "internal"):
        fallen = levels.violated_by(anomaly)
        assert all(one in fallen for one in levels.IMPLIES for below in levels.IMPLIES[one] if below in fallen)
        assert fallen
