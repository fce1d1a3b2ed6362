"""Whether some order of the writes leaves none of the cycles that a level forbids (see `shapes`).

As in `snapshot`: orders that a cycle without rw implies are added first; a SAT solver chooses the rest, and each cycle
that its choice closes becomes a clause.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zephyr_lab.check import shapes
from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.chooser import Chooser
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.polygraph import Column, Polygraph, column
from zephyr_lab.check.reach import Closure
from zephyr_lab.check.shapes import Graph
from zephyr_lab.check.solver import EVERY_ORDER, Decision, Solver

MOST_OPEN = 100_000

Shape = Callable[[Graph], list[list[int]]]


class Orders(Solver):
    def __init__(self, problem: Polygraph, rounds: int, shape: Shape, direct: bool) -> None:
        super().__init__(problem, rounds)
        self.shape, self.direct = shape, direct
        self.seen_by = dict(zip(problem.r_op.tolist(), problem.r_from.tolist(), strict=True))

    def decide(self) -> Decision:
        p = self.p
        a, b, key = p.pairs()
        if len(a) > MOST_OPEN:
            return Decision(None, f"the order of {len(a):,} pairs of writes is open, too many to try")
        while len(a):
            closure = Closure(*self._plain(), p.nodes, p.rank)
            one, other = p.w_txn[a], p.w_txn[b]
            forward, backward = closure.reaches(one, other), closure.reaches(other, one)
            if not (settled := forward | backward).any():
                break
            self.edges += [*self._before(a[forward], b[forward]), *self._before(b[backward], a[backward])]
            a, b, key = a[~settled], b[~settled], key[~settled]
        if not len(a):
            return self._of_one_order()
        return self._solve(a, b)

    def _plain(self) -> tuple[Ints, Ints]:
        source, target, kind, *_ = self._arrays()
        return source[kind != Kind.RW], target[kind != Kind.RW]

    def _before(self, one: Ints, other: Ints) -> list[Column]:
        """The edges of writes that come before others, pair by pair: ww, and rw from the readers of the first ones."""
        p = self.p
        pair, read = p.readers_of(one, other, p.w_key[one])[0]
        to = other[pair]
        return [
            column(p.w_txn[one], p.w_txn[other], Kind.WW, p.w_op[one], p.w_op[other]),
            column(p.r_txn[read], p.w_txn[to], Kind.RW, p.r_op[read], p.w_op[to]),
        ]

    def _graph(self) -> Graph:
        source, target, kind, first, second = self._arrays()
        h = self.p.history
        op = np.maximum(first, second)
        key = np.where(op >= 0, h.key[op], -1) if len(h.key) else np.full(len(op), -1, np.int64)
        return Graph(source, target, kind, first, second, key.astype(np.int64), self.p.writing)

    def _wrong(self, graph: Graph) -> tuple[Graph, list[list[int]]]:
        """Forbidden cycles, and the graph that has them."""
        if cycles := shapes.circular(graph):
            return graph, cycles
        if self.direct:
            graph = shapes.expanded(graph)
        return graph, self.shape(graph)

    def _of_one_order(self) -> Decision:
        graph, cycles = self._wrong(self._graph())
        if not cycles:
            return Decision(True)
        return self._refuted(graph, cycles)

    def _refuted(self, graph: Graph, cycles: list[list[int]]) -> Decision:
        self.edges = [(graph.source, graph.target, graph.kind, graph.first, graph.second)]
        self.seen = len(graph.source)
        return Decision(False, steps=self.steps([int(graph.source[edge]) for edge in min(cycles, key=len)]))

    def _solve(self, a: Ints, b: Ints) -> Decision:
        p = self.p
        chooser = Chooser(p.nodes, *self._plain(), p.rank, self.rounds)
        firm, proof = list(self.edges), list[Decision]()
        one, other = np.concatenate([a, b]), np.concatenate([b, a])
        pairs = zip(p.w_txn[one].tolist(), p.w_txn[other].tolist(), strict=True)
        literal = np.array([chooser.literal(*pair) for pair in pairs])

        def wrong(true: set[int]) -> list[list[int]]:
            held = np.isin(literal, np.array(sorted(true)))
            self.edges = [*firm, *self._before(one[held], other[held])]
            graph, cycles = self._wrong(self._graph())
            clauses = [self._clause(graph, cycle, chooser) for cycle in cycles]
            if [] in clauses:  # whatever is chosen
                proof.append(self._refuted(graph, [cycles[clauses.index([])]]))
                return [[int(literal[0])], [-int(literal[0])]]
            return clauses

        if chooser.search(wrong):
            return Decision(True)
        return proof[0] if proof else Decision(False, EVERY_ORDER)

    def _clause(self, graph: Graph, cycle: list[int], chooser: Chooser) -> list[int]:
        """What excludes a cycle: one of the orders that were chosen for it is the other way round."""
        clause = set()
        for edge in cycle:
            one, other = int(graph.source[edge]), int(graph.target[edge])
            if graph.kind[edge] == Kind.RW:
                one = self.seen_by.get(int(graph.first[edge]), -1)
            if (min(one, other), max(one, other)) in chooser.variables and graph.kind[edge] in (Kind.WW, Kind.RW):
                clause.add(-chooser.literal(one, other))
        return sorted(clause)
