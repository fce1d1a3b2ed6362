"""Whether some order of the writes is snapshot-isolated, or has the prefix property."""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chooser import Chooser
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.polygraph import Readers, column
from zephyr_lab.check.reach import Closure
from zephyr_lab.check.solver import EVERY_ORDER, MOST_CHOICES, Decision, Solver


class Snapshot(Solver):
    """Snapshot isolation: walks without two rw in a row. Every node has a copy, to which rw edges lead and from which
    none leave: the node stands for the transaction's reads, and the copy for its writes."""

    ww_to_copy = False

    def decide(self) -> Decision:
        p = self.p
        a, b, key = p.pairs()
        if len(a) > MOST_CHOICES:
            return Decision(None, f"the order of {len(a):,} pairs of writes is open, too many to try")
        self.readers = p.readers_of(a, b, key)
        while True:
            source, target = self._doubled()
            closure = Closure(source, target, 2 * p.nodes, np.tile(p.rank, 2))
            forward, backward = (
                self._impossible(closure, a, b, self.readers[0]),
                self._impossible(closure, b, a, self.readers[1]),
            )
            settled = np.zeros(len(a), np.bool_)
            for wrong, one, two, of in ((backward, a, b, self.readers[0]), (forward, b, a, self.readers[1])):
                chosen = np.flatnonzero(wrong & ~settled)
                self._add(chosen, one, two, of)
                settled |= wrong
            if not settled.any():
                break
            a, b, key = a[~settled], b[~settled], key[~settled]
            self.readers = p.readers_of(a, b, key)
        if not len(a):
            return Decision(True)
        return self._solve(a, b)

    def _doubled(self) -> tuple[Ints, Ints]:
        n = self.p.nodes
        source, target, kind, *_ = self._arrays()
        rw = kind == Kind.RW
        to = target + n * (self.ww_to_copy & (kind == Kind.WW))
        return (
            np.concatenate([source[~rw], source[~rw] + n, source[rw]]),
            np.concatenate([to[~rw], to[~rw], target[rw] + n]),
        )

    def _impossible(self, closure: Closure, one: Ints, two: Ints, readers: Readers) -> Bools:
        """Which pairs cannot have the first write before the second: a cycle would close, by ww or a reader's rw."""
        p, n = self.p, self.p.nodes
        a, b = p.w_txn[one], p.w_txn[two] + n * self.ww_to_copy
        wrong: Bools = closure.reaches(b, a) | closure.reaches(b, a + n)
        b = p.w_txn[two]
        pair, read = readers
        by_rw = closure.reaches(b[pair] + n, p.r_txn[read])
        wrong[pair[by_rw]] = True
        return wrong

    def _add(self, chosen: Ints, one: Ints, two: Ints, readers: Readers) -> None:
        """One write of each chosen pair before the other, and readers of the one before the writer of the other."""
        p = self.p
        self.edges.append(
            column(p.w_txn[one[chosen]], p.w_txn[two[chosen]], Kind.WW, p.w_op[one[chosen]], p.w_op[two[chosen]])
        )
        pair, read = readers
        hit = np.isin(pair, chosen)
        self.edges.append(
            column(p.r_txn[read[hit]], p.w_txn[two[pair[hit]]], Kind.RW, p.r_op[read[hit]], p.w_op[two[pair[hit]]])
        )

    def _solve(self, a: Ints, b: Ints) -> Decision:
        p, n = self.p, self.p.nodes
        chooser = Chooser(2 * n, *self._doubled(), np.tile(p.rank, 2), self.rounds)
        ways: dict[int, list[tuple[int, int]]] = {}
        for (one, two), (pairs, reads) in zip(((a, b), (b, a)), self.readers, strict=True):
            for x, y in zip(p.w_txn[one].tolist(), p.w_txn[two].tolist(), strict=True):
                to = y + n * self.ww_to_copy
                ways.setdefault(chooser.literal(x, y), []).extend([(x, to), (x + n, to)])
            for pair, reader in zip(pairs.tolist(), p.r_txn[reads].tolist(), strict=True):
                x, y = int(p.w_txn[one[pair]]), int(p.w_txn[two[pair]])
                ways[chooser.literal(x, y)].append((reader, y + n))

        def chosen(true: set[int]) -> dict[tuple[int, int], int]:
            return {way: literal for literal in sorted(true) for way in ways.get(literal, ())}

        return Decision(False, EVERY_ORDER) if chooser.decide(chosen) is None else Decision(True)


class Prefix(Snapshot):
    """Prefix consistency: what a transaction writes need not follow, in its reads, the writes before it. That is
    serializability of histories whose transactions are split in reads and writes (Biswas and Enea, OOPSLA 2019)."""

    ww_to_copy = True
