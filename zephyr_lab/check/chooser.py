"""A SAT solver orders pairs of writes, until no cycle is closed, or every choice closes one.

Each cycle that its choice closes becomes a clause. It is bounded, and beyond that raises `Undecided`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.cycles import components
from zephyr_lab.check.reach import topological

ROUNDS = 400
CONFLICTS = 50_000


class Undecided(Exception):
    """The text names the bound that was exceeded."""


class Chooser:
    """A SAT solver that chooses which of two writes is first, and learns the cycles that it closes."""

    def __init__(self, nodes: int, source: Ints, target: Ints, rank: Ints, rounds: int) -> None:
        from pysat.solvers import Glucose4

        self.nodes, self.source, self.target, self.rounds = nodes, source, target, rounds
        self.at = np.empty(nodes, np.int64)
        self.at[topological(source, target, nodes, rank)] = np.arange(nodes)
        self.variables: dict[tuple[int, int], int] = {}
        self.solver = Glucose4(incr=False)

    def literal(self, one: int, other: int) -> int:
        """The literal for one before the other."""
        low, high = min(one, other), max(one, other)
        variable = self.variables.setdefault((low, high), len(self.variables) + 1)
        return variable if one == low else -variable

    def decide(self, chosen: Callable[[set[int]], dict[tuple[int, int], int]]) -> Ints | None:
        """Nodes in an order by the choice, or None if every choice closes a cycle. Raises Undecided.

        `chosen`: from true literals to edges, each with the literal that implies it.
        """
        found: list[Ints] = []

        def wrong(true: set[int]) -> list[list[int]]:
            edges = chosen(true)
            pairs = np.array(sorted(edges), np.int64).reshape(-1, 2)
            source = np.concatenate([self.source, pairs[:, 0]])
            target = np.concatenate([self.target, pairs[:, 1]])
            label = components(source, target, self.nodes)
            inside = label[source] == label[target]
            if inside.any():
                return self.cycles(source[inside], target[inside], edges)
            found.append(topological(source, target, self.nodes))
            return []

        return found[-1] if self.search(wrong) else None

    def search(self, wrong: Callable[[set[int]], list[list[int]]]) -> bool:
        """Whether there is a choice with which nothing is wrong. Raises Undecided.

        `wrong`: from true literals to clauses that exclude what is wrong with them.
        """
        solver = self.solver
        try:
            solver.set_phases(
                [v if self.at[low] < self.at[high] else -v for (low, high), v in self.variables.items()]
            )  # a likely order first
            for _ in range(self.rounds):
                solver.conf_budget(CONFLICTS)
                answer = solver.solve_limited()
                if answer is None:
                    break
                if not answer:
                    return False
                clauses = wrong(set(solver.get_model() or ()))
                if not clauses:
                    return True
                for clause in clauses:
                    solver.add_clause(clause)
            raise Undecided(f"no answer within {self.rounds} rounds of the SAT solver")
        finally:
            solver.delete()

    def cycles(self, source: Ints, target: Ints, edges: dict[tuple[int, int], int]) -> list[list[int]]:
        """For chosen edges on cycles, the clause that forbids a shortest cycle through each; at most some hundred."""
        out: dict[int, list[int]] = {}
        for one, other in zip(source.tolist(), target.tolist(), strict=True):
            out.setdefault(one, []).append(other)
        clauses: set[tuple[int, ...]] = set()
        through = [pair for pair in zip(source.tolist(), target.tolist(), strict=True) if pair in edges]
        step = max(len(through) // 100, 1)
        for one, other in through[::step]:
            came = {other: -1}
            queue = deque([other])
            while queue and one not in came:
                node = queue.popleft()
                for to in out.get(node, ()):
                    if to not in came:
                        came[to] = node
                        queue.append(to)
            if one not in came:
                continue
            path, node = [one], one
            while node != other:
                node = came[node]
                path.append(node)
            path.reverse()
            used = {edges[pair] for pair in zip(path, path[1:] + path[:1], strict=True) if pair in edges}
            clauses.add(tuple(sorted(-literal for literal in used)))
        return [list(clause) for clause in sorted(clauses)]
