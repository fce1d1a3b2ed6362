"""A history as Papadimitriou's polygraph: known edges, reads-from, and the writers of a key whose order is open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zephyr_lab.check.accesses import Accesses
from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.cycles import components
from zephyr_lab.check.graph import Edges, Kind, process_edges, realtime_edges
from zephyr_lab.check.history import WRITE, History, Status
from zephyr_lab.check.levels import Order

Column = tuple[Ints, Ints, Ints, Ints, Ints]
"""For edges of one kind: from, to, the kind, and the operations at both ends."""
Readers = tuple[Ints, Ints]
"""For readers of a pair's write: the pair's number, and the read."""
MOST_FLAT = 4 << 20


class TooMany(Exception):
    """The text says of what there are too many."""


def column(source: Ints, target: Ints, kind: Kind, first: Ints, second: Ints) -> Column:
    return source.astype(np.int64), target.astype(np.int64), np.full(len(source), kind, np.int8), first, second


@dataclass
class Polygraph:
    """Nodes: `count` transactions, whose numbers in the history are `numbers`, and then barriers of time.

    `known`: edges that every order of the writes has. `r_op`, `r_write`, `r_from`, `r_txn`, `r_key`: of reads the
    operation, the write it saw and that one's node (-1: the initial state), its own node, its key. `w_op`, `w_txn`,
    `w_key`: last writes by key, a key's from `w_start` on. `writing`: which nodes write. `rank`: a likely order.
    """

    history: History
    nodes: int
    count: int
    numbers: Ints
    known: list[Column]
    r_op: Ints
    r_write: Ints
    r_from: Ints
    r_txn: Ints
    r_key: Ints
    w_op: Ints
    w_txn: Ints
    w_key: Ints
    w_start: Ints
    writing: Bools
    rank: Ints

    def pairs(self) -> tuple[Ints, Ints, Ints]:
        """Every two writers of a key, as indices of writes, and the key."""
        at = np.arange(len(self.w_txn))
        one, two = spread(at, at + 1, self.w_start[self.w_key + 1]) if len(at) else (at, at)
        return one, two, self.w_key[one]

    def readers_of(self, a: Ints, b: Ints, key: Ints) -> tuple[Readers, Readers]:
        """For each pair (indices of writes), the readers of the first write; and those of the second."""
        place = self.r_key.astype(np.int64) * self.nodes + np.maximum(self.r_from, 0)
        real = np.flatnonzero(self.r_from >= 0)
        by_place = real[np.argsort(place[real], kind="stable")]

        def of(one: Ints, two: Ints) -> Readers:
            wanted = key.astype(np.int64) * self.nodes + self.w_txn[one]
            start, end = (np.searchsorted(place[by_place], wanted, side=side) for side in ("left", "right"))
            pair, at = spread(np.arange(len(one)), start, end)
            read = by_place[at]
            other = self.r_txn[read] != self.w_txn[two[pair]]
            return pair[other], read[other]

        return of(a, b), of(b, a)


def _orders(history: History, order: Order, nodes: int) -> list[Edges]:
    """The edges of sessions and of time, where these count."""
    edges = [process_edges(history, nodes)] if order else []
    if order is Order.REALTIME and history.timed:
        edges.append(realtime_edges(history, nodes))
    return edges


def _likely(history: History, nodes: int) -> Ints:
    """Committed transactions by when they ended."""
    done = np.flatnonzero(history.status == Status.OK)
    rank = np.zeros(nodes, np.int64)
    rank[done] = np.argsort(np.argsort(np.where(history.end[done] >= 0, history.end[done], done), kind="stable"))
    return rank


def of_registers(history: History, order: Order, inferred: Edges | None = None) -> Polygraph:
    """The whole history; `inferred`: of its edges, the orders of versions that were told or assumed count."""
    h, a, n = history, Accesses(history), len(history)
    edges = _orders(h, order, n)
    nodes = edges[-1].nodes if edges else n
    r_op, r_write = a.of_others()
    r_from = np.where(r_write >= 0, a.owner[r_write], -1)
    r_txn, r_key = a.owner[r_op], h.key[r_op]
    by_key = np.lexsort((a.owner[a.writes], h.key[a.writes]))
    w_op = a.writes[by_key]
    w_key, w_txn = h.key[w_op], a.owner[w_op].astype(np.int64)
    w_start = np.searchsorted(w_key, np.arange(len(h.keys) + 1))
    known = [_column_of(e) for e in edges]
    if inferred is not None:
        known.append(_column_of(inferred.where(inferred.kind == Kind.WW)))
    real = r_from >= 0
    known.append(column(r_from[real], r_txn[real], Kind.WR, r_write[real], r_op[real]))
    # Readers of a key's initial state precede all its writers.
    first = np.flatnonzero(~real)
    read, place = spread(first, w_start[r_key[first]], w_start[r_key[first] + 1])
    other = w_txn[place] != r_txn[read]
    read, place = read[other], place[other]
    known.append(column(r_txn[read], w_txn[place], Kind.RW, r_op[read], w_op[place]))
    writing = np.zeros(nodes, np.bool_)
    writing[w_txn] = True
    return Polygraph(
        h, nodes, n, np.arange(n), known, r_op, r_write, r_from, r_txn, r_key, w_op, w_txn, w_key, w_start, writing,
        _likely(h, nodes),
    )  # fmt: skip


def of_edges(history: History, inner: Edges, open_writes: Ints) -> Polygraph:
    """Of edges that leave no order open but that of `open_writes`, of which nobody read one: what lies on a cycle,
    `inner`. Elsewhere any order that follows the edges closes no cycle. Raises TooMany."""
    n, part = len(history), _flat(inner, len(history))
    old = np.unique(np.concatenate([part.source, part.target]))
    count = int(np.searchsorted(old, n))
    known = [_column_of(part, old)]
    label = components(known[0][0], known[0][1], len(old)) if len(old) else np.zeros(0, np.int32)
    w_op, w_txn, w_key = _open(history, open_writes, old[:count], label)
    writing = np.zeros(len(old), np.bool_)
    writers = np.unique(history.owner[history.kind == WRITE]) if not history.records else _writers(history)
    writing[:count] = np.isin(old[:count], writers)
    empty = np.zeros(0, np.int64)
    rank = np.zeros(len(old), np.int64)
    rank[:count] = _likely(history, n)[old[:count]]
    w_start = np.searchsorted(w_key, np.arange(len(history.keys) + 1))
    return Polygraph(
        history, len(old), count, old[:count], known, empty, empty, empty, empty, empty, w_op, w_txn, w_key, w_start,
        writing, rank,
    )  # fmt: skip


def _open(history: History, ops: Ints, numbers: Ints, label: Ints) -> tuple[Ints, Ints, Ints]:
    """Those of the operations whose transactions are nodes, and by key: with another one of the same component."""
    ops = ops[np.isin(history.owner[ops], numbers)]
    node = np.searchsorted(numbers, history.owner[ops])
    place = history.key[ops].astype(np.int64) * (int(label.max(initial=0)) + 1) + label[node]
    _, which, many = np.unique(place, return_inverse=True, return_counts=True)
    some = many[which] > 1 if len(ops) else np.zeros(0, np.bool_)
    ops, node = ops[some], node[some]
    by_key = np.lexsort((node, history.key[ops]))
    return ops[by_key], node[by_key].astype(np.int64), history.key[ops[by_key]]


def _writers(history: History) -> Ints:
    """The transactions of a history with predicates that write."""
    found = [one.number for one in history.records if any(op[0] not in ("r", "rp") for op in one.ops)]
    return np.array(found, np.int64)


def _column_of(edges: Edges, numbers: Ints | None = None) -> Column:
    source, target = edges.source.astype(np.int64), edges.target.astype(np.int64)
    if numbers is not None:
        source, target = np.searchsorted(numbers, source), np.searchsorted(numbers, target)
    return source, target, edges.kind, edges.first.astype(np.int64), edges.second.astype(np.int64)


def _flat(edges: Edges, transactions: int) -> Edges:
    """Without hubs: an edge from each reader to each writer."""
    into = np.flatnonzero((edges.kind == Kind.RW) & (edges.target >= transactions))
    on = np.flatnonzero(edges.kind == Kind.RW_ON)
    on = on[np.argsort(edges.source[on], kind="stable")]
    start, end = (np.searchsorted(edges.source[on], edges.target[into], side=side) for side in ("left", "right"))
    if int((end - start).sum()) > MOST_FLAT:
        raise TooMany(f"{int((end - start).sum()):,} anti-dependencies are too many to follow one by one")
    one, at = spread(into, start, end)
    two = on[at]
    direct = edges.where((edges.kind != Kind.RW_ON) & ~((edges.kind == Kind.RW) & (edges.target >= transactions)))
    through = Edges(
        edges.source[one],
        edges.target[two],
        np.full(len(one), Kind.RW, np.int8),
        edges.first[one],
        edges.second[two],
        edges.predicate[one] | edges.predicate[two],
        edges.nodes,
    )
    return Edges.joined([direct, through.where(through.source != through.target)], edges.nodes)
