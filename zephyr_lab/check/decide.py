"""Decides whether some order of the writes explains a register history: serializable, or snapshot isolation.

Reads-from is known, and the order of two writes is not: that is a choice for each pair, and the history is allowed if
choices exist that close no forbidden cycle (Papadimitriou, "The Serializability of Concurrent Database Updates", 1979,
calls it a polygraph; Tan et al., "Cobra", OSDI 2020; Huang et al., "PolySI", VLDB 2023). First all implied edges are
added, to a fixed point: most histories of real databases end here, with a cycle or without a choice. Then a likely
order is tried. The rest goes to a SAT solver; each cycle that its choice closes becomes a clause, until there is none
or no choice left. Both are bounded, and beyond that the answer is *cannot tell*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.chooser import ROUNDS, Chooser, Undecided
from zephyr_lab.check.cycles import Step
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.history import History
from zephyr_lab.check.levels import Order
from zephyr_lab.check.polygraph import Column, Polygraph, column
from zephyr_lab.check.reach import Closure, Cyclic, topological

_CHUNK = 1 << 21
MOST_NODES = 40_000
MOST_CHOICES = 400_000
_EVERY_ORDER = "every order of the writes closes a cycle; no single cycle shows it"

Readers = tuple[Ints, Ints]
"""For readers of a pair's write: the pair's number, and the read."""


class Model(StrEnum):
    SERIALIZABLE = "serializable"
    SNAPSHOT_ISOLATION = "snapshot-isolation"


@dataclass
class Decision:
    """`holds`: None if undecided, and `why`. `steps`: the cycle that every order closes, if there is a single one;
    `order`: the transactions one after another, if the history is serializable."""

    holds: bool | None
    why: str = ""
    steps: tuple[Step, ...] = ()
    order: list[int] = field(default_factory=list)


def decide(history: History, model: Model, order: Order = Order.DATA, rounds: int = ROUNDS) -> Decision:
    """`rounds`: how often the SAT solver may choose."""
    problem = Polygraph(history, order)
    if problem.nodes * (2 if model is Model.SNAPSHOT_ISOLATION else 1) > MOST_NODES:
        return Decision(None, f"{len(history):,} transactions are too many to try all orders of their writes")
    solver = (_Serializable if model is Model.SERIALIZABLE else _Snapshot)(problem, rounds)
    try:
        return solver.decide()
    except Cyclic as cyclic:
        return Decision(False, steps=solver.steps(cyclic.path))
    except Undecided as undecided:
        return Decision(None, str(undecided))


class _Solver:
    """Shared by both levels: the edges so far, and how to report a cycle among them."""

    def __init__(self, problem: Polygraph, rounds: int) -> None:
        self.p, self.rounds = problem, rounds
        self.edges: list[Column] = [*problem.known, problem.first_state]
        self.seen = sum(len(part[0]) for part in self.edges)

    def _arrays(self) -> list[Ints]:
        return [np.concatenate([part[i] for part in self.edges]) for i in range(5)]

    def steps(self, path: list[int]) -> tuple[Step, ...]:
        """The steps along a path of nodes, without barriers."""
        n, nodes = len(self.p.history), self.p.nodes
        path = [node % nodes for node in path]
        source, target, kind, first, second = self._arrays()
        told: list[tuple[int, int, int, int, int, bool]] = []
        for one, other in zip(path, path[1:] + path[:1], strict=True):
            hit = np.flatnonzero((source == one) & (target == other))
            # A cycle without adjacent rw was found by its states; of two edges, one that is not rw is the safer to
            # report.
            hit = hit[np.argsort(kind[hit] == Kind.RW, kind="stable")]
            told.append(
                (one, other, int(kind[hit[0]]), int(first[hit[0]]), int(second[hit[0]]), bool(hit[0] >= self.seen))
            )
        barriers = {node for node in path if n <= node}
        turn = next((i for i, one in enumerate(told) if one[0] not in barriers), 0)
        told = told[turn:] + told[:turn]
        steps: list[Step] = []
        for one, other, of, a, b, forced in told:
            if one in barriers:
                last = steps.pop()
                steps.append(Step(last.source, other, last.kind, last.first, last.second))
            else:
                steps.append(Step(one, other, Kind(of), a, b, forced=forced))
        return tuple(steps)


class _Serializable(_Solver):
    def decide(self) -> Decision:
        p = self.p
        undecided: tuple[Ints, Ints] | None = None
        while True:
            source, target, *_ = self._arrays()
            closure = Closure(source, target, p.nodes, p.rank)
            forced, undecided = self._forced(closure, undecided)
            if not forced:
                break
            self.edges += forced
        read, place = undecided
        if not len(read):
            return Decision(True, order=self._serial(closure.order))
        for rank in (p.rank, np.arange(p.nodes), self._by_session()):
            order = topological(source, target, p.nodes, rank)
            if self._explains(order, read, place):
                return Decision(True, order=self._serial(order))
        return self._solve(read, place)

    def _by_session(self) -> Ints:
        """The first transactions of all sessions, then the second ones, and so on."""
        rank = np.zeros(self.p.nodes, np.int64)
        session = self.p.history.session
        order = np.argsort(session, kind="stable")
        within = np.arange(len(order)) - np.searchsorted(session[order], session[order])
        rank[order] = within
        return rank

    def _serial(self, order: Ints) -> list[int]:
        return [int(node) for node in order if node < len(self.p.history) and self.p.accesses.happened[node]]

    def _candidates(self) -> Iterator[tuple[Ints, Ints]]:
        """Chunks of (read, index of another writer of its key)."""
        p = self.p
        real = np.flatnonzero(p.r_from >= 0)
        start, end = p.w_start[p.r_key[real]], p.w_start[p.r_key[real] + 1]
        stops = np.cumsum(end - start)
        begin = 0
        while begin < len(real):
            base = stops[begin - 1] if begin else 0
            until = max(int(np.searchsorted(stops, base + _CHUNK, side="right")), begin + 1)
            read, place = spread(real[begin:until], start[begin:until], end[begin:until])
            other = (p.w_txn[place] != p.r_from[read]) & (p.w_txn[place] != p.r_txn[read])
            yield read[other], place[other]
            begin = until

    def _forced(self, closure: Closure, undecided: tuple[Ints, Ints] | None) -> tuple[list[Column], tuple[Ints, Ints]]:
        """Implied edges: another writer of the key is before a write or after its reader."""
        p, forced, left = self.p, list[Column](), list[tuple[Ints, Ints]]()
        for read, place in [undecided] if undecided is not None else self._candidates():
            w, r, other = p.r_from[read], p.r_txn[read], p.w_txn[place]
            after_w, before_r = closure.reaches(w, other), closure.reaches(other, r)
            settled = closure.reaches(other, w) | closure.reaches(r, other)
            to_front, to_back = before_r & ~settled, after_w & ~settled
            for chosen, one, two, kind in ((to_front, other, w, Kind.WW), (to_back, r, other, Kind.RW)):
                if chosen.any():
                    pair = one[chosen] * np.int64(p.nodes) + two[chosen]
                    _, once = np.unique(pair, return_index=True)
                    at = np.flatnonzero(chosen)[once]
                    first, second = (p.w_op[place[at]], p.r_write[read[at]]) if kind is Kind.WW else (
                        p.r_op[read[at]], p.w_op[place[at]])  # fmt: skip
                    forced.append(column(one[at], two[at], kind, first, second))
            open_ = ~settled & ~to_front & ~to_back
            left.append((read[open_], place[open_]))
        if not left:
            return forced, (np.zeros(0, np.int64), np.zeros(0, np.int64))
        return forced, (np.concatenate([read for read, _ in left]), np.concatenate([place for _, place in left]))

    def _explains(self, order: Ints, read: Ints, place: Ints) -> bool:
        p = self.p
        at = np.empty(p.nodes, np.int64)
        at[order] = np.arange(p.nodes)
        w, r, other = at[p.r_from[read]], at[p.r_txn[read]], at[p.w_txn[place]]
        return not bool(((w < other) & (other < r)).any())

    def _solve(self, read: Ints, place: Ints) -> Decision:
        p = self.p
        if len(read) > MOST_CHOICES:
            return Decision(None, f"{len(read):,} choices are left open, too many to try")
        triples = np.unique(np.stack([p.r_from[read], p.r_txn[read], p.w_txn[place]]), axis=1).T.tolist()
        source, target, *_ = self._arrays()
        chooser = Chooser(p.nodes, source, target, p.rank, self.rounds)
        options = []
        for w, r, other in triples:
            pair = (chooser.literal(other, w), chooser.literal(r, other))
            chooser.solver.add_clause(pair)
            options.append((pair, ((other, w), (r, other))))

        def chosen(true: set[int]) -> dict[tuple[int, int], int]:
            edges: dict[tuple[int, int], int] = {}
            for literals, ways in options:
                held = [way for literal, way in zip(literals, ways, strict=True) if literal in true]
                if not any(way in edges for way in held):
                    way = held[0]
                    edges[way] = chooser.literal(*way)
            return edges

        order = chooser.decide(chosen)
        return Decision(False, _EVERY_ORDER) if order is None else Decision(True, order=self._serial(order))


class _Snapshot(_Solver):
    """Walks without two rw in a row: every node has a copy, to which rw edges lead and from which none leave."""

    def decide(self) -> Decision:
        p = self.p
        a, b, key = self._pairs()
        if len(a) > MOST_CHOICES:
            return Decision(None, f"the order of {len(a):,} pairs of writes is open, too many to try")
        self.readers = self._readers_of(a, b, key)
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
            self.readers = self._readers_of(a, b, key)
        if not len(a):
            return Decision(True)
        return self._solve(a, b)

    def _pairs(self) -> tuple[Ints, Ints, Ints]:
        """Every two writers of a key."""
        p = self.p
        at = np.arange(len(p.w_txn))
        one, two = spread(at, at + 1, p.w_start[p.w_key + 1]) if len(at) else (at, at)
        return one, two, p.w_key[one]

    def _readers_of(self, a: Ints, b: Ints, key: Ints) -> tuple[Readers, Readers]:
        """For each pair (indices of writes), the readers of the first write; and those of the second."""
        p = self.p
        place = p.r_key.astype(np.int64) * p.nodes + np.maximum(p.r_from, 0)
        real = np.flatnonzero(p.r_from >= 0)
        by_place = real[np.argsort(place[real], kind="stable")]

        def of(one: Ints, two: Ints) -> Readers:
            wanted = key.astype(np.int64) * p.nodes + p.w_txn[one]
            start, end = (np.searchsorted(place[by_place], wanted, side=side) for side in ("left", "right"))
            pair, at = spread(np.arange(len(one)), start, end)
            read = by_place[at]
            other = p.r_txn[read] != p.w_txn[two[pair]]
            return pair[other], read[other]

        return of(a, b), of(b, a)

    def _doubled(self) -> tuple[Ints, Ints]:
        n = self.p.nodes
        source, target, kind, *_ = self._arrays()
        rw = kind == Kind.RW
        return (
            np.concatenate([source[~rw], source[~rw] + n, source[rw]]),
            np.concatenate([target[~rw], target[~rw], target[rw] + n]),
        )

    def _impossible(self, closure: Closure, one: Ints, two: Ints, readers: Readers) -> Bools:
        """Which pairs cannot have the first write before the second: a cycle would close, by ww or a reader's rw."""
        p, n = self.p, self.p.nodes
        a, b = p.w_txn[one], p.w_txn[two]
        wrong: Bools = closure.reaches(b, a) | closure.reaches(b, a + n)
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
                ways.setdefault(chooser.literal(x, y), []).extend([(x, y), (x + n, y)])
            for pair, reader in zip(pairs.tolist(), p.r_txn[reads].tolist(), strict=True):
                x, y = int(p.w_txn[one[pair]]), int(p.w_txn[two[pair]])
                ways[chooser.literal(x, y)].append((reader, y + n))

        def chosen(true: set[int]) -> dict[tuple[int, int], int]:
            return {way: literal for literal in sorted(true) for way in ways.get(literal, ())}

        return Decision(False, _EVERY_ORDER) if chooser.decide(chosen) is None else Decision(True)
