"""A register history as Papadimitriou's polygraph: reads-from, writers by key, and the known order."""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.graph import Kind, process_edges, realtime_edges
from zephyr_lab.check.history import NULL, READ, History, Status
from zephyr_lab.check.levels import Order
from zephyr_lab.check.registers import Accesses


class Polygraph:
    """Reads-from, writers by key, and the known edges. Nodes: transactions, then barriers.

    A read of a value that nobody wrote is left out: the history lacks its writer, and so what that one did besides."""

    def __init__(self, history: History, order: Order) -> None:
        self.history, self.accesses = history, Accesses(history)
        h, a = self.history, self.accesses
        n = len(h)
        edges = [process_edges(h, n)] if order else []
        if order is Order.REALTIME and h.timed:
            edges.append(realtime_edges(h, n))
        self.nodes = edges[-1].nodes if edges else n
        reads = np.flatnonzero((h.kind == READ) & a.ok)
        writer = a.writer[reads]
        good = (writer >= 0) & a.final[np.maximum(writer, 0)]
        nothing = (h.value[reads] == NULL) & (a.before[reads] < 0)
        source = np.where(good, a.owner[np.maximum(writer, 0)], -1)
        chosen = (good | nothing) & (source != a.owner[reads])
        self.r_op, self.r_from = reads[chosen], source[chosen]
        self.r_txn, self.r_key = a.owner[self.r_op], h.key[self.r_op]
        self.r_write = np.where(good, writer, -1)[chosen]
        by_key = np.lexsort((a.owner[a.writes], h.key[a.writes]))
        self.w_op = a.writes[by_key]
        self.w_key, self.w_txn = h.key[self.w_op], a.owner[self.w_op].astype(np.int64)
        self.w_start = np.searchsorted(self.w_key, np.arange(len(h.keys) + 1))
        self.known: list[Column] = [
            (e.source.astype(np.int64), e.target.astype(np.int64), e.kind, e.first, e.second) for e in edges
        ]
        real = self.r_from >= 0
        self.known.append(column(self.r_from[real], self.r_txn[real], Kind.WR, self.r_write[real], self.r_op[real]))
        # Readers of a key's initial state precede all its writers.
        first = np.flatnonzero(~real)
        read, place = spread(first, self.w_start[self.r_key[first]], self.w_start[self.r_key[first] + 1])
        other = self.w_txn[place] != self.r_txn[read]
        read, place = read[other], place[other]
        self.first_state = column(self.r_txn[read], self.w_txn[place], Kind.RW, self.r_op[read], self.w_op[place])
        done = np.flatnonzero(h.status == Status.OK)
        self.rank = np.zeros(self.nodes, np.int64)
        self.rank[done] = np.argsort(np.argsort(np.where(h.end[done] >= 0, h.end[done], done), kind="stable"))


Column = tuple[Ints, Ints, Ints, Ints, Ints]
"""For edges of one kind: from, to, the kind, and the operations at both ends."""


def column(source: Ints, target: Ints, kind: Kind, first: Ints, second: Ints) -> Column:
    return source.astype(np.int64), target.astype(np.int64), np.full(len(source), kind, np.int8), first, second
