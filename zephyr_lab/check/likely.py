"""Serializability of large register histories: only the choices that some order gets wrong are made, as they are met.

An order that follows the known edges explains most reads. Where another write comes between a write and its reader, it
belongs before the one or after the other. Which, a short path often says; otherwise it becomes a clause for the SAT
solver, as does each cycle that its choice closes. Each round is near-linear; where times are known, few are needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.chooser import ROUNDS, Chooser, Undecided
from zephyr_lab.check.cycles import components
from zephyr_lab.check.polygraph import Polygraph
from zephyr_lab.check.reach import Cyclic, short_cycle, topological

NEAR = 400
"""Nodes that are visited to find a path: it is short where only what happens at the same time is in a wrong order."""
_Pair = tuple[int, int]


def serial_order(problem: Polygraph, rounds: int = ROUNDS) -> Ints | bool | None:
    """The nodes in an order that explains every read; False if there is none, None if undecided. Raises Cyclic.

    `rounds`: how often the solver may choose among a million transactions; among some 10,000 twice that.
    """
    lazy = _Lazy(problem, rounds + rounds * 10_000 // max(problem.nodes, 10_000))
    try:
        return lazy.order if lazy.chooser.search(lazy.wrong) else False
    except Undecided:
        return None


class _Lazy:
    def __init__(self, problem: Polygraph, rounds: int) -> None:
        self.p = problem
        self.known = [np.concatenate([part[i] for part in problem.known]) for i in (0, 1)]
        self.chooser = Chooser(problem.nodes, self.known[0], self.known[1], problem.rank, rounds)
        self.choices: dict[tuple[_Pair, _Pair], None] = {}
        self.order: Ints = np.zeros(0, np.int64)

    def wrong(self, true: set[int]) -> list[list[int]]:
        """Clauses for what is wrong with a choice; none if its order explains every read."""
        edges = self._chosen(true)
        while True:
            pairs = np.array(list(edges), np.int64).reshape(-1, 2)
            source, target = (np.concatenate([self.known[i], pairs[:, i]]) for i in (0, 1))
            label = components(source, target, self.p.nodes)
            inside = label[source] == label[target]
            if inside.any():
                clauses = self.chooser.cycles(source[inside], target[inside], edges)
                if not clauses:  # without any choice
                    raise Cyclic(short_cycle(source, target, self.p.nodes))
                return clauses
            self.order = topological(source, target, self.p.nodes, self.p.rank)
            at = np.empty(self.p.nodes, np.int64)
            at[self.order] = np.arange(self.p.nodes)
            certain, open_ = self._between(at)
            if not certain:
                return list(self._clauses(open_, at))
            more = np.array(certain, np.int64).reshape(-1, 2)
            self.known = [np.concatenate([self.known[i], more[:, i]]) for i in (0, 1)]

    def _chosen(self, true: set[int]) -> dict[_Pair, int]:
        edges: dict[_Pair, int] = {}
        for ways in self.choices:
            held = [way for way in ways if self.chooser.literal(*way) in true]
            if not any(way in edges for way in held):
                edges[held[0]] = self.chooser.literal(*held[0])
        return edges

    def _clauses(self, choices: list[tuple[_Pair, _Pair]], at: Ints) -> Iterator[list[int]]:
        """New choices as clauses; the order so far is the likely one."""
        for ways in choices:
            self.choices[ways] = None
            literals = [self.chooser.literal(*way) for way in ways]
            self.chooser.solver.set_phases(
                [
                    literal if at[one] < at[other] else -literal
                    for literal, (one, other) in zip(literals, ways, strict=True)
                ]
            )
            yield literals

    def _between(self, at: Ints) -> tuple[list[_Pair], list[tuple[_Pair, _Pair]]]:
        """For reads between which and their writers another one wrote the key: edges that follow, or both choices."""
        p = self.p
        place = p.w_key.astype(np.int64) * p.nodes + at[p.w_txn]
        by_place = np.argsort(place, kind="stable")
        key = p.r_key.astype(np.int64) * p.nodes
        last = np.searchsorted(place[by_place], key + at[p.r_txn], side="left") - 1
        there = last >= np.searchsorted(place[by_place], key, side="left")
        other = np.where(there, p.w_txn[by_place[np.maximum(last, 0)]] if len(by_place) else -1, -1)
        wrong = np.flatnonzero(other != p.r_from)
        paths = _Paths(self.known[0], self.known[1], at) if len(wrong) else None
        certain: dict[_Pair, None] = {}
        open_: dict[tuple[_Pair, _Pair], None] = {}
        triples = (p.r_from[wrong], p.r_txn[wrong], other[wrong])
        for writer, reader, o in zip(*(column.tolist() for column in triples), strict=True):
            assert paths is not None
            if writer < 0 or paths.lead(writer, o):
                certain[reader, o] = None
            elif paths.lead(o, reader):
                certain[o, writer] = None
            else:
                open_[(o, writer), (reader, o)] = None
        return list(certain), list(open_)


class _Paths:
    """Whether a node leads to another one, by short paths between their places in a topological order."""

    def __init__(self, source: Ints, target: Ints, at: Ints) -> None:
        by_source = np.argsort(source, kind="stable")
        self.starts = np.searchsorted(source[by_source], np.arange(len(at) + 1)).tolist()
        self.to = target[by_source].tolist()
        self.at = at.tolist()

    def lead(self, one: int, other: int) -> bool:
        last, seen, waiting = self.at[other], {one}, [one]
        while waiting and len(seen) < NEAR:
            node = waiting.pop()
            for i in range(self.starts[node], self.starts[node + 1]):
                to = self.to[i]
                if to == other:
                    return True
                if self.at[to] < last and to not in seen:
                    seen.add(to)
                    waiting.append(to)
        return False
