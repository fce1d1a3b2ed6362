"""The cycles that the levels between read committed and serializable forbid, once every order of versions is known.

Adya, "Weak Consistency" (1999): G-single (PL-2+), G-cursor, G-monotonic (the reads of a transaction, one after another,
are nodes of their own), G-update (cycles of the transactions that write and one that only reads). Cerone, Bernardi,
Gotsman (CONCUR 2015), as graphs in Cerone, Gotsman, Yang, "Algebraic Laws for Weak Consistency" (CONCUR 2017): parallel
snapshot isolation, which forbids a cycle with at most one rw, and update atomic, where the edges are direct.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.cycles import components
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.polygraph import TooMany
from zephyr_lab.check.reach import Closure

SHOWN = 100
MOST_JOINED = 4 << 20


@dataclass(frozen=True)
class Graph:
    """Edges as columns: nodes, kinds, the operations that prove them, and their keys; `writing`: of nodes."""

    source: Ints
    target: Ints
    kind: Ints
    first: Ints
    second: Ints
    key: Ints
    writing: Bools

    @property
    def nodes(self) -> int:
        return len(self.writing)

    @property
    def rw(self) -> Bools:
        anti: Bools = self.kind == Kind.RW
        return anti

    def cyclic(self, chosen: Bools) -> Ints:
        """Those of the chosen edges that lie on a cycle of them."""
        label = components(self.source[chosen], self.target[chosen], self.nodes)
        return np.flatnonzero(chosen & (label[self.source] == label[self.target]))

    def closure(self, chosen: Bools) -> Closure:
        return Closure(self.source[chosen], self.target[chosen], self.nodes)

    def paths(self, chosen: Bools) -> Callable[[int, int], list[int]]:
        """From two nodes to a shortest path of chosen edges between them, as their numbers."""
        out: dict[int, list[int]] = {}
        source, target = self.source.tolist(), self.target.tolist()
        for edge in np.flatnonzero(chosen).tolist():
            out.setdefault(source[edge], []).append(edge)

        def path(one: int, other: int) -> list[int]:
            came: dict[int, int] = {one: -1}
            queue = deque([one])
            while queue and other not in came:
                for edge in out.get(queue.popleft(), ()):
                    if target[edge] not in came:
                        came[target[edge]] = edge
                        queue.append(target[edge])
            found = []
            while other != one:
                found.append(came[other])
                other = source[came[other]]
            return found[::-1]

        return path


def around(graph: Graph, starts: Ints, chosen: Bools) -> list[list[int]]:
    """For some of the edges a cycle with chosen ones, of which each has one."""
    path = graph.paths(chosen)
    some = starts[:: max(len(starts) // SHOWN, 1)][:SHOWN].tolist()
    return [[edge, *path(int(graph.target[edge]), int(graph.source[edge]))] for edge in some]


def circular(graph: Graph) -> list[list[int]]:
    """Cycles without rw, which all these levels forbid."""
    return around(graph, graph.cyclic(~graph.rw), ~graph.rw)


def single(graph: Graph) -> list[list[int]]:
    """Cycles with one rw."""
    closure = graph.closure(~graph.rw)
    rw = np.flatnonzero(graph.rw)
    return around(graph, rw[closure.reaches(graph.target[rw], graph.source[rw])], ~graph.rw)


def _joined(one: Ints, at_one: Ints, two: Ints, at_two: Ints) -> tuple[Ints, Ints]:
    """All pairs of the one and the other at the same place. Raises TooMany."""
    by = np.argsort(at_two, kind="stable")
    start, end = (np.searchsorted(at_two[by], at_one, side=side) for side in ("left", "right"))
    if int((end - start).sum()) > MOST_JOINED:
        raise TooMany(f"{int((end - start).sum()):,} pairs of dependencies are too many to follow one by one")
    first, at = spread(one, start, end)
    return first, two[by][at]


def _through(graph: Graph, out: Ints, into: Ints, inner: Bools) -> list[list[int]]:
    """Cycles of an edge out of a node, inner edges, and an edge into that node; `out` and `into` are paired."""
    closure = graph.closure(inner)
    one, other = graph.target[out], graph.source[into]
    hit = (one == other) | closure.reaches(one, other)
    path = graph.paths(inner)
    return [
        [leaves, *path(int(graph.target[leaves]), int(graph.source[enters])), enters]
        for leaves, enters in zip(out[hit][:SHOWN].tolist(), into[hit][:SHOWN].tolist(), strict=True)
    ]


def monotonic(graph: Graph) -> list[list[int]]:
    """A read did not see what an operation before it, of the same transaction, depends on."""
    rw, other = np.flatnonzero(graph.rw), np.flatnonzero(~graph.rw)
    out, into = _joined(rw, graph.source[rw], other, graph.target[other])
    before = graph.second[into] < graph.first[out]
    return _through(graph, out[before], into[before], ~graph.rw)


def update(graph: Graph) -> list[list[int]]:
    """Cycles of transactions that write, and of these and one that does not."""
    inner = graph.writing[graph.source] & graph.writing[graph.target]
    if len(cyclic := graph.cyclic(inner)):
        return around(graph, cyclic, inner)
    rw = np.flatnonzero(graph.rw & ~graph.writing[graph.source])
    seen = np.flatnonzero(~graph.rw & ~graph.writing[graph.target])
    out, into = _joined(rw, graph.source[rw], seen, graph.target[seen])
    return _through(graph, out, into, inner)


def cursor(graph: Graph) -> list[list[int]]:
    """Another write between the version that a transaction read and the one that it wrote. Needs `expanded`."""
    rw, ww = np.flatnonzero(graph.rw), np.flatnonzero(graph.kind == Kind.WW)
    return _pairs(graph, rw, ww, same_key=True)


def atomic(graph: Graph) -> list[list[int]]:
    """A transaction did not see the write of one that it depends on directly. Needs `expanded`."""
    return _pairs(graph, np.flatnonzero(graph.rw), np.flatnonzero(~graph.rw), same_key=False)


def _pairs(graph: Graph, one: Ints, other: Ints, same_key: bool) -> list[list[int]]:
    n = graph.nodes
    first, second = _joined(
        one, graph.source[one] * n + graph.target[one], other, graph.target[other] * n + graph.source[other]
    )
    if same_key:
        same = graph.key[first] == graph.key[second]
        first, second = first[same], second[same]
    return [[a, b] for a, b in zip(first[:SHOWN].tolist(), second[:SHOWN].tolist(), strict=True)]


def expanded(graph: Graph) -> Graph:
    """With an edge from each version, and from each of its readers, to all later ones of its key. Raises TooMany."""
    n = graph.nodes
    ww, rw = np.flatnonzero(graph.kind == Kind.WW), np.flatnonzero(graph.rw)
    ends = [graph.source[ww], graph.target[ww], graph.target[rw]]
    keys = [graph.key[ww], graph.key[ww], graph.key[rw]]
    versions, place = np.unique(np.concatenate(keys) * n + np.concatenate(ends), return_inverse=True)
    older, newer, not_seen = np.split(place, [len(ww), 2 * len(ww)])
    op = np.full(len(versions), -1, np.int64)
    op[older], op[newer], op[not_seen] = graph.first[ww], graph.second[ww], graph.second[rw]
    of, txn = versions // n, versions % n
    every = np.arange(len(versions))
    one, other = _joined(every, of, every, of)
    later = Closure(older, newer, len(versions)).reaches(one, other)
    one, other = one[later], other[later]
    reads, via = _joined(rw, not_seen, np.arange(len(one)), one)
    to = other[via]
    parts = zip(
        (graph.source, graph.target, graph.kind, graph.first, graph.second, graph.key),
        (txn[one], txn[other], np.full(len(one), Kind.WW), op[one], op[other], of[one]),
        (graph.source[reads], txn[to], np.full(len(to), Kind.RW), graph.first[reads], op[to], of[to]),
        strict=True,
    )
    columns = [np.concatenate(part) for part in parts]
    other_node = columns[0] != columns[1]
    source, target, kind, first, second, key = (column[other_node] for column in columns)
    return Graph(source, target, kind, first, second, key, graph.writing)
