"""The weak levels, as Biswas and Enea define them ("On the Complexity of Checking Transactional
Consistency", OOPSLA 2019): some order of all transactions (arbitration) extends reads-from and session order, and
    if t3 reads x from t1, and t2, another writer of x, is visible to t3, then t2 is arbitrated before t1.
Visibility defines the level. *monotonic-atomic-view* (they call it read committed): transactions that t3 has read
from before that read. *read-atomic*: those t3 reads from at all, or follows in its session. *causal*: all that reach
t3. Each check is polynomial: add the orders that the axiom forces, and look for a cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from zephyr_lab.check.accesses import Accesses
from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.clocks import Clocks
from zephyr_lab.check.graph import Edges, Kind, by_session, process_edges
from zephyr_lab.check.history import History, Status
from zephyr_lab.check.reach import Closure, Cyclic, topological


class Axiom(StrEnum):
    MONOTONIC_ATOMIC_VIEW = "monotonic-atomic-view"
    READ_ATOMIC = "read-atomic"
    CAUSAL = "causal"


ANOMALY = {
    Axiom.MONOTONIC_ATOMIC_VIEW: "non-monotonic-read",
    Axiom.READ_ATOMIC: "fractured-read",
    Axiom.CAUSAL: "non-causal-read",
}
LARGEST = 40_000
_CHUNK = 1 << 21
Part = tuple[Ints, Ints, Kind, Ints, Ints]
"""Edges of one kind: from, to, the kind, and the operations at both ends."""
Forced = tuple[Ints, Ints, Ints, Ints]
"""Implied orders of two writes: the earlier writer, the later one, the earlier's write, the read that implies it."""


@dataclass
class Verdict:
    """`holds`: None if the history was too big. `cycle`: steps of (source, target, kind, first, second)."""

    holds: bool | None
    steps: list[tuple[int, int, Kind, int, int]]


def check(history: History, axiom: Axiom, sessions: bool, inferred: Edges | None = None) -> Verdict:
    """Whether an axiom holds, with session order or without; `inferred` has the orders of versions that are known."""
    return Checking(Accesses(history), axiom, sessions, inferred).check()


class Checking:
    """One axiom on one history. `nodes`: transactions, the initial state, and what stands between these."""

    def __init__(self, accesses: Accesses, axiom: Axiom, sessions: bool, inferred: Edges | None) -> None:
        self.a, self.h, self.axiom = accesses, accesses.history, axiom
        self.n = len(self.h)
        self.init = self.n  # one more node: the writer of the initial state
        self.nodes = self.n + 1
        h, a = self.h, self.a
        self.reads, self.writer = a.of_others()
        self.source = np.where(self.writer >= 0, a.owner[self.writer], self.init)
        self.reader = a.owner[self.reads]
        self.process = process_edges(h, self.n) if sessions else None
        self.versions = None if inferred is None else inferred.where(inferred.kind == Kind.WW)
        # Writers of each key, by key and transaction.
        key, txn = h.key[a.writes], a.owner[a.writes]
        order = np.lexsort((txn, key))
        self.w_op, self.w_key, self.w_txn = a.writes[order], key[order], txn[order]
        self.key_start = np.searchsorted(self.w_key, np.arange(len(h.keys) + 1))
        self.pair = self.w_key.astype(np.int64) * (self.n + 1) + self.w_txn
        by_txn = np.argsort(self.w_txn, kind="stable")
        self.w_by_txn, self.by_txn = self.w_op[by_txn], self.w_txn[by_txn]

    def check(self) -> Verdict:
        base = self.base()
        forced: list[Part] = []
        try:
            forced = self.forced(base)
            source, target = (np.concatenate([part[i] for part in [*base, *forced]]) for i in (0, 1))
            topological(source, target, self.nodes)
        except Cyclic as cyclic:
            return Verdict(False, self.told(cyclic.path, [*base, *forced]))
        except MemoryError:
            return Verdict(None, [])
        return Verdict(True, [])

    def base(self) -> list[Part]:
        """The orders that are known: of reads after writes, of the initial state, of versions, and of sessions."""
        from_other = self.source != self.init
        writers = np.unique(self.w_txn)
        none = np.full(len(writers), -1)
        base: list[Part] = [
            (
                self.source[from_other],
                self.reader[from_other],
                Kind.WR,
                self.writer[from_other],
                self.reads[from_other],
            ),
            (np.full(len(writers), self.init), writers, Kind.WW, none, none),
        ]
        for edges, kind in ((self.process, Kind.PROCESS), (self.versions, Kind.WW)):
            if edges is not None:
                ends = edges.source.astype(np.int64), edges.target.astype(np.int64)
                base.append((*ends, kind, edges.first, edges.second))
        return base

    def forced(self, base: list[Part]) -> list[Part]:
        """The orders that the axiom implies. Raises MemoryError if they are too many."""
        if self.axiom is Axiom.MONOTONIC_ATOMIC_VIEW:
            pairs = self._read_from(everywhere=False)
        elif self.axiom is Axiom.READ_ATOMIC:
            # Of what came before in the session, the latest writer of a key represents those before it.
            pairs = self._read_from(everywhere=True) + (self._in_session() if self.process is not None else [])
        else:
            pairs = self._reached(base)
        return [(t2, t1, Kind.WW, w2, read) for t2, t1, w2, read in pairs]

    def write_of(self, key: Ints, txn: Ints) -> Ints:
        """The last write of a key by a transaction, -1 if it has none."""
        wanted = key.astype(np.int64) * (self.n + 1) + txn
        if not len(self.pair):
            return np.full(len(wanted), -1)
        place = np.minimum(np.searchsorted(self.pair, wanted), len(self.pair) - 1)
        return np.where(self.pair[place] == wanted, self.w_op[place], -1)

    def _force(self, visible: Ints, read: Ints) -> Forced:
        """Those pairs (visible transaction, index of a read) of which the transaction wrote the read's key, too."""
        write = self.write_of(self.h.key[self.reads[read]], visible)
        hit = (write >= 0) & (visible != self.source[read]) & (visible != self.reader[read])
        return visible[hit], self.source[read[hit]], write[hit], self.reads[read[hit]]

    def _read_from(self, everywhere: bool) -> list[Forced]:
        """Reads from a transaction from which the same reader also reads something else: before, or anywhere."""
        h = self.h
        from_other = np.flatnonzero(self.source != self.init)
        pair = self.reader[from_other].astype(np.int64) * (self.n + 1) + self.source[from_other]
        _, first = np.unique(pair, return_index=True)
        seen: Ints = from_other[first]  # of each reader and writer, the first read
        start = np.searchsorted(self.by_txn, self.source[seen], side="left")
        seen, write = spread(seen, start, np.searchsorted(self.by_txn, self.source[seen], side="right"))
        write = self.w_by_txn[write]
        # The same reader's reads of the key that was written.
        place = self.reader.astype(np.int64) * max(len(h.keys), 1) + h.key[self.reads]
        by_place = np.argsort(place, kind="stable")
        wanted = self.reader[seen].astype(np.int64) * max(len(h.keys), 1) + h.key[write]
        start = np.searchsorted(place[by_place], wanted, side="left")
        end = np.searchsorted(place[by_place], wanted, side="right")
        which, read = spread(np.arange(len(seen)), start, end)
        read = by_place[read]
        hit = self.source[read] != self.source[seen[which]]
        if not everywhere:
            hit &= self.reads[read] > self.reads[seen[which]]
        read, which = read[hit], which[hit]
        return [(self.source[seen[which]], self.source[read], write[which], self.reads[read])]

    def _in_session(self) -> list[Forced]:
        """For each read the latest writer of its key before its reader in the session: those before come before it."""
        order = by_session(self.h)
        place = np.full(self.n, -1, np.int64)
        place[order] = np.arange(len(order))
        sessions, span = self.h.session.astype(np.int64), self.n + 1
        many = int(sessions.max(initial=0)) + 1
        committed = np.flatnonzero(self.h.status[self.w_txn] == Status.OK)
        txn = self.w_txn[committed]
        held = (self.w_key[committed].astype(np.int64) * many + sessions[txn]) * span + place[txn]
        by_place = np.argsort(held, kind="stable")
        held, txn = held[by_place], txn[by_place]
        wanted = self.h.key[self.reads].astype(np.int64) * many + sessions[self.reader]
        at = np.searchsorted(held, wanted * span + place[self.reader], side="left") - 1
        good = at >= 0
        good[good] = held[at[good]] // span == wanted[good]
        read = np.flatnonzero(good)
        return [self._force(txn[at[read]], read)]

    def _reached(self, base: list[Part]) -> list[Forced]:
        visible = [part for part in base if part[2] in (Kind.WR, Kind.PROCESS)]
        source, target = (np.concatenate([part[i] for part in visible]) for i in (0, 1))
        if self.process is not None and Clocks.fit(self.h):
            return list(self.by_chains(Clocks(self.h, source, target)))
        if self.n > LARGEST:
            raise MemoryError
        closure = Closure(source, target, self.n + 1)
        key = self.h.key[self.reads]
        count = self.key_start[key + 1] - self.key_start[key]

        def writer(read: Ints, within: Ints) -> Ints:
            found: Ints = self.w_txn[self.key_start[key[read]] + within]
            return found

        return list(self._spread(count, writer, lambda txn, read: closure.reaches(txn, self.reader[read])))

    def by_chains(self, clocks: Clocks) -> Iterator[Forced]:
        """Of each chain the latest writer of the read's key that precedes the reader: those before come before it."""
        span, many = self.n + 2, clocks.count
        held = (self.w_key.astype(np.int64) * many + clocks.chain[self.w_txn]) * span + clocks.place[self.w_txn]
        by_place = np.argsort(held, kind="stable")
        held, txn = held[by_place], self.w_txn[by_place]
        step = max(_CHUNK // max(many, 1), 1)
        for begin in range(0, len(self.reads), step):
            read = np.arange(begin, min(begin + step, len(self.reads)))
            group = self.h.key[self.reads[read]].astype(np.int64)[:, None] * many + np.arange(many)
            wanted = group * span + clocks.rows[self.reader[read]]
            at = np.searchsorted(held, wanted, side="left") - 1
            good = at >= 0
            good[good] = held[at[good]] // span == group[good]
            which, chain = np.nonzero(good)
            earlier, later, write, reading = self._force(txn[at[which, chain]], read[which])
            _, once = np.unique(earlier * span + later, return_index=True)
            yield earlier[once], later[once], write[once], reading[once]

    def _spread(
        self, count: Ints, visible: Callable[[Ints, Ints], Ints], keep: Callable[[Ints, Ints], Bools] | None = None
    ) -> Iterator[Forced]:
        """For every read the candidates that force an order, in chunks."""
        stops = np.cumsum(count)
        begin = 0
        while begin < len(count):
            base = stops[begin - 1] if begin else 0
            end = max(int(np.searchsorted(stops, base + _CHUNK, side="right")), begin + 1)
            of = count[begin:end]
            read, within = spread(np.arange(begin, end), np.zeros_like(of), of)
            seen = visible(read, within)
            chosen = seen != self.init
            if keep is not None:
                chosen &= keep(seen, read)
            yield self._force(seen[chosen], read[chosen])
            begin = end

    def told(self, path: list[int], parts: list[Part]) -> list[tuple[int, int, Kind, int, int]]:
        """The edges along a path of nodes; the initial state is represented by the read that saw it."""
        steps = []
        for one, other in zip(path, path[1:] + path[:1], strict=True):
            for source, target, kind, first, second in parts:
                hit = np.flatnonzero((source == one) & (target == other))
                if len(hit):
                    steps.append((one, other, kind, int(first[hit[0]]), int(second[hit[0]])))
                    break
        return steps
