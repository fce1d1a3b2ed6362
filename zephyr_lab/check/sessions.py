"""Session guarantees, and PRAM: what a session sees of its own transactions, and of those that it has read from before.

Terry, Demers, Petersen, Spreitzer, Theimer, Welch, "Session Guarantees for Weakly Consistent Replicated Data" (PDIS
1994), of transactions in place of single reads and writes, as Adya and Crooks et al. have them. A read was of a copy of
the data, and all versions have one order, as Bayou's write order is. Writers that must be in the copy of a read come
before the one that it read from, if they wrote its key:
    read your writes      the writers before it in its session;
    monotonic reads       those that transactions before it in its session read from.
A copy that has a write has others, which come before it:
    monotonic writes      the writes before it in its session;
    writes follow reads   those that transactions before it in its session read from.
PRAM (Lipton, Sandberg 1988) is the first three at a time (Brzezinski, Sobaniec, Wawrzyniak, "From Session Causality to
Causal Consistency", PDP 2004), with one order of versions for all; all four hold where causal consistency does. What a
transaction's own reads owe each other is monotonic atomic view. As everywhere, what is read is committed.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from zephyr_lab.check.accesses import Accesses
from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.axioms import Axiom, Checking, Forced, Part, Verdict
from zephyr_lab.check.chains import spread
from zephyr_lab.check.clocks import Clocks
from zephyr_lab.check.graph import Edges, Kind, by_session
from zephyr_lab.check.history import History, Status

MOST_PAIRS = 4 << 20


class Guarantee(StrEnum):
    READ_YOUR_WRITES = "read-your-writes"
    MONOTONIC_READS = "monotonic-reads"
    MONOTONIC_WRITES = "monotonic-writes"
    WRITES_FOLLOW_READS = "writes-follow-reads"
    PRAM = "pram"


ANOMALY = {
    Guarantee.READ_YOUR_WRITES: "own-session-write-unseen",
    Guarantee.MONOTONIC_READS: "non-monotonic-session-read",
    Guarantee.MONOTONIC_WRITES: "non-monotonic-write",
    Guarantee.WRITES_FOLLOW_READS: "write-before-read",
    Guarantee.PRAM: "non-pram-read",
}


def check(history: History, guarantee: Guarantee, inferred: Edges | None = None) -> Verdict:
    """Whether a guarantee holds; `inferred` has the orders of versions that are known."""
    return _Session(Accesses(history), guarantee, inferred).check()


class _Session(Checking):
    """`place`: of each transaction in its session; `before`: the committed one before it there, -1 for none."""

    def __init__(self, accesses: Accesses, guarantee: Guarantee, inferred: Edges | None) -> None:
        super().__init__(accesses, Axiom.CAUSAL, True, inferred)
        self.guarantee = guarantee
        assert self.process is not None  # which is also what refuses sessions whose times overlap
        self.before = np.full(self.n, -1, np.int64)
        self.before[self.process.target] = self.process.source
        self.process = None
        self.order = by_session(self.h)
        self.place = np.full(self.n, -1, np.int64)
        self.place[self.order] = np.arange(len(self.order))
        self.committed = self.h.status == Status.OK
        self.from_other = np.flatnonzero(self.source != self.init)
        self.stands_for: dict[int, int] = {}

    def base(self) -> list[Part]:
        parts = super().base()
        if self.guarantee in (Guarantee.MONOTONIC_WRITES, Guarantee.PRAM):
            parts.append(self._writes_in_order())
        elif self.guarantee is Guarantee.WRITES_FOLLOW_READS:
            parts += self._writes_after_reads()
        return parts

    def forced(self, base: list[Part]) -> list[Part]:
        if self.guarantee is Guarantee.PRAM:
            return [(one, other, Kind.WW, write, read) for one, other, write, read in self._pram()]
        if self.guarantee is Guarantee.READ_YOUR_WRITES:
            own = self.committed[self.w_txn]
            return self._in_copies(self.w_txn[own], self.w_txn[own], self.w_key[own], self.w_op[own])
        if self.guarantee is Guarantee.MONOTONIC_READS:
            seen = self.from_other[self.committed[self.reader[self.from_other]]]
            start = np.searchsorted(self.by_txn, self.source[seen], side="left")
            read, write = spread(seen, start, np.searchsorted(self.by_txn, self.source[seen], side="right"))
            write = self.w_by_txn[write]
            return self._in_copies(self.reader[read], self.source[read], self.h.key[write], write)
        return []

    def _writes_in_order(self) -> Part:
        """Each writer after the last committed one before it in its session."""
        writes = np.zeros(self.n, np.bool_)
        writes[self.w_txn] = True
        order = self.order[writes[self.order]]
        last = np.where(self.committed[order], np.arange(len(order)), -1)
        last = np.concatenate([np.full(min(len(order), 1), -1), np.maximum.accumulate(last)[:-1]])
        same = last >= 0
        same[same] = self.h.session[order[last[same]]] == self.h.session[order[same]]
        none = np.full(int(same.sum()), -1)
        return order[last[same]].astype(np.int64), order[same].astype(np.int64), Kind.PROCESS, none, none

    def _writes_after_reads(self) -> list[Part]:
        """A node for what each transaction and those before it in its session read: it leads to the writers after."""
        reads = self.nodes + np.arange(self.n)
        self.nodes += self.n
        self.stands_for = {self.n + 1 + i: i for i in range(self.n)}
        seen = self.from_other
        later = np.flatnonzero(self.before >= 0)
        writes = np.zeros(self.n, np.bool_)
        writes[self.w_txn] = True
        written = later[writes[later]]

        def none(count: Ints) -> Ints:
            return np.full(len(count), -1)

        return [
            (self.source[seen], reads[self.reader[seen]], Kind.WR, self.writer[seen], self.reads[seen]),
            (reads[self.before[later]], reads[later], Kind.PROCESS, none(later), none(later)),
            (reads[self.before[written]], written, Kind.PROCESS, none(written), none(written)),
        ]

    def _in_copies(self, at: Ints, writer: Ints, key: Ints, write: Ints) -> list[Part]:
        """The writers that are in all copies which a session reads after a transaction `at`, before what was read.

        Each entry of a session and key has a node, which its writer and the entry before lead to.
        """
        h, span = self.h, self.n + 1
        group = h.session[at].astype(np.int64) * max(len(h.keys), 1) + key
        order = np.lexsort((self.place[at], writer, group))
        first = np.append(True, (group[order][1:] != group[order][:-1]) | (writer[order][1:] != writer[order][:-1]))
        order = order[first[: len(order)]]  # of several entries of a writer, the first
        order = order[np.lexsort((self.place[at[order]], group[order]))]
        group, writer, write = group[order], writer[order].astype(np.int64), write[order]
        since = group * span + self.place[at[order]]
        node = self.nodes + np.arange(len(order))
        self.nodes += len(order)
        none = np.full(len(order), -1)
        parts: list[Part] = [(writer, node, Kind.WW, write, none)]
        follows = np.flatnonzero(group[1:] == group[:-1])
        parts.append((node[follows], node[follows + 1], Kind.WW, none[follows], none[follows]))
        # Each read, the entries that are in its copy, and where among these what it read from is.
        wanted = h.session[self.reader].astype(np.int64) * max(len(h.keys), 1) + h.key[self.reads]
        low = np.searchsorted(since, wanted * span, side="left")
        high = np.searchsorted(since, wanted * span + self.place[self.reader], side="left")
        by_writer = np.argsort(group * span + writer, kind="stable")
        mine, own = (
            self._entry((group * span + writer)[by_writer], by_writer, wanted * span + txn, low, high)
            for txn in (self.source, self.reader)
        )
        plain = np.flatnonzero((high > low) & (own < 0))
        last = np.where(mine[plain] >= 0, mine[plain], high[plain]) - 1
        chosen, last = plain[last >= low[plain]], last[last >= low[plain]]
        parts.append((node[last], self.source[chosen], Kind.WW, none[last], self.reads[chosen]))
        after = np.where(own >= 0, low, np.where(mine >= 0, mine + 1, high))
        if int(np.maximum(high - after, 0).sum()) > MOST_PAIRS:
            raise MemoryError
        read, entry = spread(np.arange(len(self.reads)), after, np.maximum(high, after))
        hit = (writer[entry] != self.source[read]) & (writer[entry] != self.reader[read])
        read, entry = read[hit], entry[hit]
        parts.append((writer[entry], self.source[read], Kind.WW, write[entry], self.reads[read]))
        return parts

    @staticmethod
    def _entry(codes: Ints, places: Ints, wanted: Ints, low: Ints, high: Ints) -> Ints:
        """The entry of a writer between two, -1 if there is none."""
        if not len(codes):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        found = np.where(codes[at] == wanted, places[at], -1)
        return np.where((found >= low) & (found < high), found, -1)

    def _pram(self) -> list[Forced]:
        """Of each session the latest writer of a read's key that must be in its copy: those before come before it."""
        if not Clocks.fit(self.h):
            raise MemoryError
        nothing = np.zeros(0, np.int64)
        clocks = Clocks(self.h, nothing, nothing)
        read_from: dict[int, list[int]] = {}
        for txn, source in zip(
            self.reader[self.from_other].tolist(), self.source[self.from_other].tolist(), strict=True
        ):
            read_from.setdefault(txn, []).append(source)
        rows, chain, place = clocks.rows, clocks.chain.tolist(), clocks.place.tolist()
        before = self.before.tolist()
        for txn in self.order.tolist():
            if (last := before[txn]) < 0:
                continue
            row = rows[txn]
            row[:] = rows[last]
            for one in (last, *read_from.get(last, ())):
                for seen in (one, before[one]):
                    if seen >= 0:
                        row[chain[seen]] = max(row[chain[seen]], place[seen] + 1)
            if row[chain[txn]] == place[txn] + 1:  # read from before it began: what counts are those before it
                row[chain[txn]] -= 1
        return list(self.by_chains(clocks))

    def told(self, path: list[int], parts: list[Part]) -> list[tuple[int, int, Kind, int, int]]:
        """Without the nodes that stand between transactions."""
        steps = super().told(path, parts)
        begin = next((i for i, step in enumerate(steps) if step[0] <= self.n or step[0] in self.stands_for), 0)
        found: list[tuple[int, int, Kind, int, int]] = []
        for source, target, kind, first, second in [*steps[begin:], *steps[:begin]]:
            if found and found[-1][1] > self.n and found[-1][1] not in self.stands_for:
                source, first = found[-1][0], found[-1][3]
                found.pop()
            found.append((source, target, kind, first, second))
        return [(self.stands_for.get(a, a), self.stands_for.get(b, b), *rest) for a, b, *rest in found]  # type: ignore[misc]
