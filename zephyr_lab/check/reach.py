"""Reachability as bit rows: transitive closures of graphs of some ten thousand nodes."""

from __future__ import annotations

from collections import deque

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.cycles import components


class Cyclic(Exception):
    """The graph has a cycle: `path` has its nodes in order."""

    def __init__(self, path: list[int]) -> None:
        super().__init__(path)
        self.path = path


def topological(source: Ints, target: Ints, nodes: int, rank: Ints | None = None) -> Ints:
    """A topological order; of the ready nodes, the lowest `rank` first. Raises Cyclic with a short cycle."""
    import heapq

    by_source = np.argsort(source, kind="stable")
    starts = np.searchsorted(source[by_source], np.arange(nodes + 1)).tolist()
    to = target[by_source].tolist()
    waits = np.bincount(target, minlength=nodes).tolist()
    ranks = (np.arange(nodes) if rank is None else rank).tolist()
    ready = [(ranks[node], node) for node in range(nodes) if not waits[node]]
    heapq.heapify(ready)
    order = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for i in range(starts[node], starts[node + 1]):
            waits[to[i]] -= 1
            if not waits[to[i]]:
                heapq.heappush(ready, (ranks[to[i]], to[i]))
    if len(order) < nodes:
        raise Cyclic(short_cycle(source, target, nodes))
    return np.array(order, np.int64)


def short_cycle(source: Ints, target: Ints, nodes: int, tries: int = 64) -> list[int]:
    """The nodes of a short cycle in a graph that has one: the shortest through some nodes of the smallest component."""
    label = components(source, target, nodes)
    inside = label[source] == label[target]
    sizes = np.bincount(label)
    sizes[np.setdiff1d(np.arange(len(sizes)), label[source[inside]])] = nodes + 1
    chosen = int(sizes.argmin())
    keep = inside & (label[source] == chosen)
    out: dict[int, list[int]] = {}
    for one, other in zip(source[keep].tolist(), target[keep].tolist(), strict=True):
        out.setdefault(one, []).append(other)
    best: list[int] = []
    for start in sorted(out)[:tries]:
        came: dict[int, int] = {start: -1}
        queue = deque([start])
        found = -1
        while queue and found < 0:
            node = queue.popleft()
            for other in out.get(node, ()):
                if other == start:
                    found = node
                    break
                if other not in came:
                    came[other] = node
                    queue.append(other)
        path = []
        while found >= 0:
            path.append(found)
            found = came[found]
        if path and (not best or len(path) < len(best)):
            best = path[::-1]
        if len(best) == 2:
            break
    return best


class Closure:
    """Row i, bit j: whether i reaches j by one edge or more. Raises Cyclic."""

    def __init__(self, source: Ints, target: Ints, nodes: int, rank: Ints | None = None) -> None:
        self.order = topological(source, target, nodes, rank)
        self.rows = rows = np.zeros((nodes, (nodes + 7) // 8), np.uint8)
        by_source = np.argsort(source, kind="stable")
        starts = np.searchsorted(source[by_source], np.arange(nodes + 1))
        to = target[by_source]
        bits = (1 << (np.arange(nodes) & 7)).astype(np.uint8)
        for node in self.order[::-1].tolist():
            next_ = to[starts[node] : starts[node + 1]]
            if len(next_):
                np.bitwise_or.reduce(rows[next_], axis=0, out=rows[node])
                np.bitwise_or.at(rows[node], next_ >> 3, bits[next_])

    def reaches(self, one: Ints, other: Ints) -> Bools:
        reached: Bools = (self.rows[one, other >> 3] >> (other & 7).astype(np.uint8)) & 1 > 0
        return reached
