"""What the deciders of register histories share: the edges so far, and how a cycle among them is reported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.cycles import Step
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.polygraph import Column, Polygraph

MOST_CHOICES = 400_000
EVERY_ORDER = "every order of the writes closes a cycle; no single cycle shows it"


@dataclass
class Decision:
    """`holds`: None if undecided, and `why`. `steps`: the cycle that every order closes, if there is a single one;
    `order`: the transactions one after another, if the history is serializable."""

    holds: bool | None
    why: str = ""
    steps: tuple[Step, ...] = ()
    order: list[int] = field(default_factory=list)


class Solver:
    """Shared by both levels: the edges so far, and how to report a cycle among them."""

    def __init__(self, problem: Polygraph, rounds: int) -> None:
        self.p, self.rounds = problem, rounds
        self.edges: list[Column] = list(problem.known)
        self.seen = sum(len(part[0]) for part in self.edges)

    def _arrays(self) -> list[Ints]:
        return [np.concatenate([part[i] for part in self.edges]) for i in range(5)]

    def steps(self, path: list[int]) -> tuple[Step, ...]:
        """The steps along a path of nodes, without barriers."""
        n, nodes = self.p.count, self.p.nodes
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
        turn = next((i for i, one in enumerate(told) if one[0] < n), 0)
        steps: list[Step] = []
        for one, other, of, a, b, forced in told[turn:] + told[:turn]:
            to = int(self.p.numbers[other]) if other < n else -1
            if one >= n:  # from a barrier of time on
                steps[-1] = replace(steps[-1], target=to)
            else:
                steps.append(Step(int(self.p.numbers[one]), to, Kind(of), a, b, forced=forced))
        return tuple(steps)
