"""The dependency graph's edges, compared with their definitions pair by pair."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from zephyr_lab.check.graph import Edges, Kind, anti_dependencies, process_edges, realtime_edges
from zephyr_lab.check.history import History, Status
from zephyr_lab.check.read import from_transactions
from zephyr_lab.errors import BadInput

Pairs = set[tuple[int, int]]


def history_of(rows: list[dict[str, Any]]) -> History:
    return from_transactions({"type": "ok", "ops": [["append", "x", i]], **row} for i, row in enumerate(rows))


def random_history(seed: int) -> tuple[list[dict[str, Any]], History]:
    """Transactions of three sessions; some failed, of some nobody knows how they ended, or no time."""
    chance = random.Random(seed)
    rows = []
    for _ in range(chance.randint(0, 12)):
        row: dict[str, Any] = {"session": chance.randrange(3), "type": chance.choice(["ok", "ok", "fail", "info"])}
        if chance.random() < 0.8:
            row["t0"] = chance.randrange(20)
            row["t1"] = row["t0"] + chance.randrange(6)
        rows.append(row)
    return rows, history_of(rows or [{"session": 0}])


def columns(edges: Edges) -> list[tuple[int, ...]]:
    names = ("source", "target", "kind", "first", "second")
    return list(zip(*(getattr(edges, name).tolist() for name in names), strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_a_session_is_an_order_of_what_was_committed(seed: int) -> None:
    """Adya's "Weak Consistency" (1999), 4.4: each leads to the session's next; those that failed never were, and what
    is indeterminate may take effect at any time after what was committed before it."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    clocks = [0, 0, 0]
    for _ in range(chance.randint(0, 12)):
        session = chance.randrange(3)
        begin = clocks[session] + 1 + chance.randrange(3)
        clocks[session] = begin + chance.randrange(3)
        status = chance.choice(["ok", "ok", "fail", "info"])
        rows.append({"session": session, "type": status, "t0": begin, "t1": clocks[session]})
    in_order = list(rows)
    if seed % 2:  # the file's order where no time is known, or that of times
        rows = [{**row, "t0": None, "t1": None} for row in rows]
    else:
        chance.shuffle(rows)
    wanted: Pairs = set()
    for session in range(3):
        last = None
        for row in in_order if not seed % 2 else rows:
            if row["session"] == session and row["type"] != "fail":
                at = next(i for i, one in enumerate(rows) if one is row)
                wanted |= {(last, at)} if last is not None else set()
                last = at if row["type"] == "ok" else last
    edges = process_edges(history_of(rows or [{"session": 0}]), 50)
    found = {row[:3] for row in columns(edges)}
    assert found == {(*pair, Kind.PROCESS) for pair in wanted}
    assert edges.nodes == 50


def test_times_that_contradict_the_order_of_a_session_are_refused() -> None:
    """One transaction of a session cannot begin before another one of it ends."""
    rows = [{"session": 7, "t0": 0, "t1": 5}, {"session": 7, "t0": 3, "t1": 8}]
    with pytest.raises(BadInput, match="line 2: begins at 3 in session 7, whose transaction of line 1 ends at 5"):
        process_edges(history_of(rows), 2)
    rows[0]["type"] = "info"  # type: ignore[assignment]
    assert not len(process_edges(history_of(rows), 2))


@pytest.mark.parametrize("seed", range(40))
def test_barriers_lead_from_who_had_ended_to_who_began_later_and_to_nobody_else(seed: int) -> None:
    """Real time as Herlihy and Wing (1990) have it: a completion before an invocation, of what is known of both."""
    rows, history = random_history(seed)
    n = len(history)
    wanted = {
        (i, j)
        for i, one in enumerate(rows)
        for j, other in enumerate(rows)
        if i != j
        and one["type"] == "ok"
        and other["type"] != "fail"
        and "t1" in one
        and "t0" in other
        and one["t1"] < other["t0"]
    }
    edges = realtime_edges(history, n)
    out: dict[int, list[int]] = {}
    for source, target, kind, *proof in columns(edges):
        assert kind == (Kind.REALTIME if source < n else Kind.REALTIME_ON)
        assert proof == [-1, -1]
        assert max(source, target) < edges.nodes
        out.setdefault(source, []).append(target)
    found = set()
    for start in range(n):
        left = [one for one in out.get(start, []) if one >= n]
        while left:
            for target in out.get(left.pop(), []):
                if target < n:
                    found.add((start, target))
                else:
                    left.append(target)
    assert found == wanted
    assert len(edges) <= 3 * n


def groups_of(seed: int) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    """Readers and writers of up to three versions: few, many, or many of whom some do both."""
    chance = random.Random(seed)
    nodes = 60
    reads, writes = [], []
    for group in range(chance.randint(1, 3)):
        for rows in (reads, writes):
            size = chance.choice([0, 1, 2, 3, 25, 40])
            rows += [(group, txn) for txn in chance.sample(range(nodes), size)]
    chance.shuffle(reads)
    chance.shuffle(writes)
    return nodes, reads, writes


def folded(edges: Edges, transactions: int) -> set[tuple[int, int, int, int]]:
    """Edges between transactions, through the hubs, with the operations that prove them."""
    onward: dict[int, list[tuple[int, int]]] = {}
    for source, target, kind, first, second in columns(edges):
        assert kind == (Kind.RW_ON if source >= transactions else Kind.RW)
        if source >= transactions:
            assert first == -1
            onward.setdefault(source, []).append((target, second))
    return {
        (source, other, first, proof)
        for source, target, _, first, second in columns(edges)
        if source < transactions
        for other, proof in (onward[target] if target >= transactions else [(target, second)])
    }


@pytest.mark.parametrize("seed", range(60))
def test_hubs_lead_every_reader_to_every_other_writer_and_nobody_to_itself(seed: int) -> None:
    """Adya's anti-dependencies, group by group; a way through a hub counts as one edge. Of those who both read and
    write each reaches each, if not at once. Operations are numbered as their rows are, writes from 1000 on."""
    nodes, reads, writes = groups_of(seed)

    def told(rows: list[tuple[int, int]], first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        group, txn = np.array(rows, np.int32).reshape(-1, 2).T
        return group, txn, np.arange(len(rows)) + first

    edges, total = anti_dependencies(*told(reads, 0), *told(writes, 1000), nodes)
    assert total == edges.nodes
    found = folded(edges, nodes)
    direct = {row[:2] for row in found}
    wanted = {(r, w) for of_r, r in reads for of_w, w in writes if of_r == of_w and r != w}
    assert direct <= wanted
    out: dict[int, set[int]] = {}
    for one, other in direct:
        out.setdefault(one, set()).add(other)
    for one, other in wanted - direct:
        group = next(of for of, txn in reads if txn == one and (of, other) in writes and (of, other) in reads)
        assert (group, one) in writes
        seen, left = set(), [one]
        while left:
            new = out.get(left.pop(), set()) - seen
            seen |= new
            left += new
        assert other in seen
    for one, other, first, second in found:
        assert (reads[first], writes[second - 1000]) == ((reads[first][0], one), (reads[first][0], other))
    assert len(edges) <= 8 * (len(reads) + len(writes)) + 200
    assert not edges.predicate.any()


def test_edges_of_one_kind_leave_out_those_from_a_node_to_itself() -> None:
    """With the operations that prove them, -1 for none."""
    source, target, first = np.array([0, 1, 2]), np.array([1, 1, 0]), np.array([5, 6, 7])
    edges = Edges.of(source, target, Kind.WR, 3, first, first + 10, predicate=True)
    assert columns(edges) == [(0, 1, Kind.WR, 5, 15), (2, 0, Kind.WR, 7, 17)]
    assert (edges.predicate.tolist(), edges.nodes, len(edges)) == ([True, True], 3, 2)
    bare = Edges.of(source, target, Kind.WW, 3)
    assert columns(bare) == [(0, 1, Kind.WW, -1, -1), (2, 0, Kind.WW, -1, -1)]
    assert not bare.predicate.any()
    both = Edges.joined([edges, bare], 9)
    assert (columns(both), both.nodes) == (columns(edges) + columns(bare), 9)
    assert both.predicate.tolist() == [True, True, False, False]
    kept = both.where(both.kind == Kind.WW)
    assert (columns(kept), kept.nodes) == (columns(bare), 9)
    assert (len(Edges.joined([], 4)), Edges.joined([], 4).nodes) == (0, 4)
    assert [kind.word for kind in (Kind.WW, Kind.REALTIME_ON)] == ["ww", "realtime_on"]


def test_the_columns_are_as_narrow_as_their_values() -> None:
    """A history of a million operations has tens of millions of edges."""
    edges = Edges.of(np.array([0]), np.array([1]), Kind.WW, 2, np.array([3]), np.array([4]))
    assert [one.dtype for one in (edges.source, edges.target, edges.first, edges.second)] == [np.int32] * 4
    assert (edges.kind.dtype, edges.predicate.dtype) == (np.int8, np.bool_)
    reads, writes = np.array([0, 0]), np.array([0])
    edges, _ = anti_dependencies(reads, np.array([0, 1]), reads, writes, np.array([2]), writes, 3)
    assert [one.dtype for one in (edges.source, edges.target, edges.first, edges.second)] == [np.int32] * 4
    assert edges.kind.dtype == np.int8


def test_a_status_is_known_to_the_graph() -> None:
    """`fail` never was, `info` may have been: it follows its session's transactions, and begins, but never ended."""
    rows = [{"session": 0, "t0": 0, "t1": 1, "type": "info"}, {"session": 0, "t0": 5, "t1": 6}]
    history = history_of(rows)
    assert history.status.tolist() == [Status.INFO, Status.OK]
    assert not len(process_edges(history, 2))
    assert [row[:2] for row in columns(realtime_edges(history, 2))] == [(1, 2)]
    rows[0] |= {"t0": 7, "t1": 8}
    assert [row[:2] for row in columns(process_edges(history_of(rows), 2))] == [(1, 0)]
