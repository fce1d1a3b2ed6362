"""A shorter cycle of the same class among the transactions of one that was found: by the edges that cut it short.

In a big component the search takes the first cycle that it finds, which may have thousands of transactions. Among
these alone, or in a component of some thousands, a search is cheap, and finds a shortest one, unless its bound is
reached.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.graph import Edges

SHORT, MOST_NODES, CHORDS = 8, 5_000, 1_000
Class = TypeVar("Class", contravariant=True)


class Search(Protocol[Class]):
    """What `cycles.Finder` has: edges by source in `out`, from `starts` on; `label`: of nodes, their components."""

    edges: Edges
    nodes: Ints
    label: Ints
    transactions: int
    out: list[int]
    starts: list[int]
    visits_for_shorter: list[int]

    def around(
        self, start: int, allowed: set[int], rw: Class, items: bool | None, left: list[int], limit: int | None
    ) -> list[int] | None: ...


def shortened(
    finder: Search[Class], path: list[int], starting: Bools, allowed: set[int], rw: Class, items: bool | None
) -> list[int]:
    """The shortest of the cycles among the nodes of a long path of edges and, of few, of its component."""
    if len(path) <= SHORT:
        return path
    edges = finder.edges
    nodes = edges.source[path]
    place = np.full(edges.nodes, -1, np.int64)
    place[nodes] = np.arange(len(path))
    # A hub of readers is a node of its own, and not in the path where that goes another way.
    hubs = edges.target[(place[edges.source] >= 0) & (finder.nodes[edges.target] >= finder.transactions)]
    inside = place >= 0
    inside[hubs] = True
    component = finder.label == finder.label[nodes[0]]
    if np.count_nonzero(component) <= MOST_NODES:
        inside |= component
    among = np.flatnonzero(inside[edges.source] & inside[edges.target])
    by_source = among[np.argsort(edges.source[among], kind="stable")]
    within = copy.copy(finder)
    within.out = by_source.tolist()
    within.starts = np.searchsorted(edges.source[by_source], np.arange(edges.nodes + 1)).tolist()
    best, left = path, finder.visits_for_shorter
    for start in _starts(path, among, place, finder, starting):
        found = within.around(start, allowed, rw, items, left, len(best))
        if found and len(found) < len(best):
            best = found
        if left[0] <= 0 or len(best) == 2:
            break
    return best


def _starts(path: list[int], among: Ints, place: Ints, finder: Search[Class], starting: Bools) -> Iterator[int]:
    """Where to begin: with the chord that leaves the least of the path, or on that; then anywhere."""
    edges, length = finder.edges, len(path)
    one, other = place[edges.source[among]], place[edges.target[among]]
    left = np.where((one >= 0) & (other >= 0), (one - other) % length, length)
    chords = np.flatnonzero(left < length - 1)
    for chord in chords[np.argsort(left[chords], kind="stable")][:CHORDS].tolist():
        edge, begin = int(among[chord]), int(other[chord])
        on_path = (path[(begin + i) % length] for i in range(int(left[chord])))
        yield from itertools.islice((each for each in (edge, *on_path) if starting[each]), 3)
    yield from among[starting[among]].tolist()
