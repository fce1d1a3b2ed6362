"""Closures of graphs, compared with Floyd and Warshall's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyr_lab.check.reach import Closure, Cyclic, short_cycle, topological

Pairs = list[tuple[int, int]]
NODES = 20


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    source, target = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(source, np.int32), np.array(target, np.int32)


def reachable(pairs: Pairs, nodes: int) -> set[tuple[int, int]]:
    """Warshall (1962): the paths through the first nodes, and one node more at a time."""
    found = np.zeros((nodes, nodes), bool)
    for pair in pairs:
        found[pair] = True
    for middle, one in itertools.product(range(nodes), repeat=2):
        if found[one, middle]:
            found[one] |= found[middle]
    return {(int(one), int(other)) for one, other in np.argwhere(found)}


def shortest_cycle(pairs: Pairs, nodes: int) -> int | None:
    """The fewest edges of a closed walk, by powers of the adjacency matrix."""
    matrix = np.zeros((nodes, nodes), bool)
    for pair in pairs:
        matrix[pair] = True
    power = matrix
    for length in range(1, nodes + 1):
        if power.diagonal().any():
            return length
        power = (power.astype(int) @ matrix.astype(int)) > 0
    return None


def graphs(nodes: int, most: int) -> st.SearchStrategy[Pairs]:
    ends = st.integers(0, nodes - 1)
    return st.lists(st.tuples(ends, ends).filter(lambda pair: pair[0] != pair[1]), max_size=most)


acyclic = st.permutations(range(NODES)).flatmap(
    lambda names: graphs(NODES, 40).map(lambda pairs: [(names[min(pair)], names[max(pair)]) for pair in pairs])
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(acyclic, st.permutations(range(NODES)))
def test_a_closure_has_every_path_and_no_other(pairs: Pairs, rank: list[int]) -> None:
    """As Warshall's algorithm has it; its order leads every edge forward."""
    one, other = np.divmod(np.arange(NODES * NODES), NODES)
    for ranks in (None, np.array(rank)):
        closure = Closure(*columns(pairs), NODES, ranks)
        assert {(int(i), int(j)) for i, j in np.argwhere(closure.reaches(one, other).reshape(NODES, NODES))} == (
            reachable(pairs, NODES)
        )
        place = {node: i for i, node in enumerate(closure.order.tolist())}
        assert len(place) == NODES
        assert all(place[source] < place[target] for source, target in pairs)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(acyclic, st.permutations(range(NODES)))
def test_of_the_nodes_that_are_ready_the_lowest_rank_comes_first(pairs: Pairs, rank: list[int]) -> None:
    """By definition: the least of those whose predecessors have all come; by number where nobody ranks them."""
    for ranks in (rank, list(range(NODES))):
        order: list[int] = []
        while len(order) < NODES:
            waiting = {target for source, target in pairs if source not in order}
            order.append(min((n for n in range(NODES) if n not in order and n not in waiting), key=ranks.__getitem__))
        given_ranks = None if ranks == list(range(NODES)) else np.array(ranks)
        assert topological(*columns(pairs), NODES, given_ranks).tolist() == order


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs(7, 14))
def test_a_graph_has_either_an_order_or_a_cycle(pairs: Pairs) -> None:
    """The cycle's nodes lead each to the next and the last to the first; it is the shortest one of its component."""
    length = shortest_cycle(pairs, 7)
    if length is None:
        assert sorted(topological(*columns(pairs), 7).tolist()) == list(range(7))
        return
    for build in (topological, Closure):
        with pytest.raises(Cyclic) as raised:
            build(*columns(pairs), 7)
        path = raised.value.path
        assert {(path[i - 1], path[i]) for i in range(len(path))} <= set(pairs)
        assert len(set(path)) == len(path) >= length
        paths = reachable(pairs, 7)
        component = [pair for pair in pairs if {(path[0], pair[0]), (pair[1], path[0])} <= paths | {(path[0],) * 2}]
        assert len(path) == shortest_cycle(component, 7)


def test_of_several_components_the_smallest_one_gives_the_cycle() -> None:
    """A node on no cycle is a component as well, and smaller; three nodes come before four, whatever their numbers."""
    big, small = [(1, 2), (2, 3), (3, 4), (4, 1), (2, 1)], [(6, 7), (7, 5), (5, 6)]
    assert short_cycle(*columns([(0, 1), *big, (4, 5), *small, (7, 8)]), 9) == [5, 6, 7]
    assert short_cycle(*columns([*small, (7, 1), *big]), 9) == [5, 6, 7]


def test_a_search_for_a_short_cycle_is_bounded() -> None:
    """From so many nodes it starts, the lowest first: here the ring is seen from 0, the pair from 3 only."""
    ring = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (4, 3)]
    assert short_cycle(*columns(ring), 6, tries=1) == [0, 1, 2, 3, 4, 5]
    assert short_cycle(*columns(ring), 6, tries=3) == [0, 1, 2, 3, 4, 5]
    assert short_cycle(*columns(ring), 6, tries=4) == [3, 4]
    assert short_cycle(*columns(ring), 6) == [3, 4]


def test_a_graph_without_edges_has_an_order_and_reaches_nothing() -> None:
    """Also of no node at all."""
    closure = Closure(*columns([]), 3)
    assert closure.order.tolist() == [0, 1, 2]
    assert not closure.reaches(np.array([0, 1]), np.array([1, 0])).any()
    assert Closure(*columns([]), 0).order.tolist() == []
