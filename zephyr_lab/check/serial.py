"""Whether some order of the writes is serializable: implied edges to a fixed point, a likely order, a SAT solver."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.chooser import Chooser
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.history import Status
from zephyr_lab.check.polygraph import Column, Polygraph, column
from zephyr_lab.check.reach import Closure, topological
from zephyr_lab.check.solver import EVERY_ORDER, MOST_CHOICES, Decision, Solver

_CHUNK = 1 << 21


def serial(problem: Polygraph, order: Ints) -> list[int]:
    """The transactions that happened, one after another."""
    p = problem
    happened = p.writing[: p.count] | (p.history.status[p.numbers] == Status.OK)
    return [int(p.numbers[node]) for node in order if node < p.count and happened[node]]


class Serializable(Solver):
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
            return Decision(True, order=serial(p, closure.order))
        for rank in (p.rank, np.arange(p.nodes), self._by_session()):
            order = topological(source, target, p.nodes, rank)
            if self._explains(order, read, place):
                return Decision(True, order=serial(p, order))
        return self._solve(read, place)

    def _by_session(self) -> Ints:
        """The first transactions of all sessions, then the second ones, and so on."""
        rank = np.zeros(self.p.nodes, np.int64)
        session = self.p.history.session
        order = np.argsort(session, kind="stable")
        within = np.arange(len(order)) - np.searchsorted(session[order], session[order])
        rank[order] = within
        return rank

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
        return Decision(False, EVERY_ORDER) if order is None else Decision(True, order=serial(p, order))
