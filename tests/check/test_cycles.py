"""Cycles by class, compared with all simple cycles of small graphs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zephyr_lab.check import cycles as module
from zephyr_lab.check.cycles import (
    ORDER_KINDS,
    Cycle,
    Step,
    components,
    cyclic_part,
    find,
    has_cycle,
    has_cycle_without_adjacent_rw,
)
from zephyr_lab.check.graph import Edges, Kind

WW, WR, RW, PROCESS, REALTIME, RW_ON, REALTIME_ON = Kind
Edge = tuple[int, int, Kind, bool]  # from, to, kind, by predicate
NODES = 5


def columns(edges: Sequence[Edge], nodes: int = NODES) -> Edges:
    source, target, kind, predicate = zip(*edges, strict=True) if edges else ((), (), (), ())
    number = np.arange(len(edges), dtype=np.int32)
    return Edges(
        np.array(source, np.int32),
        np.array(target, np.int32),
        np.array(kind, np.int8),
        number * 2,
        number * 2 + 1,
        np.array(predicate, np.bool_),
        nodes,
    )


def simple_cycles(edges: Sequence[Edge], nodes: int = NODES) -> Iterator[tuple[Edge, ...]]:
    """Every cycle that visits no node twice, from its lowest node on."""
    between: dict[tuple[int, int], list[Edge]] = {}
    for edge in edges:
        between.setdefault(edge[:2], []).append(edge)
    for size in range(2, nodes + 1):
        for first, *rest in itertools.permutations(range(nodes), size):
            if all(first < one for one in rest):
                pairs = itertools.pairwise([first, *rest, first])
                yield from itertools.product(*(between.get(pair, ()) for pair in pairs))


def class_of(kinds: Sequence[Kind], predicate: bool) -> str:
    """Adya's names (1999), by the edges of the cycle; G-nonadjacent as Elle has it."""
    rw = [kind is RW for kind in kinds]
    if not any(rw):
        return "G1c" if WR in kinds else "G0"
    in_a_row = any(one and other for one, other in zip(rw, rw[1:] + rw[:1], strict=True))
    name = "G2" if in_a_row else "G-single" if sum(rw) == 1 else "G-nonadjacent"
    return name if predicate else f"{name}-item"


def classes(edges: Sequence[Edge], order: str = "") -> dict[str, list[tuple[Edge, ...]]]:
    """All simple cycles, by class; with an order those that have an edge of it."""
    extra = ORDER_KINDS[order]
    found: dict[str, list[tuple[Edge, ...]]] = {}
    for cycle in simple_cycles([edge for edge in edges if edge[2] in (WW, WR, RW, *extra)]):
        kinds = [edge[2] for edge in cycle]
        if not extra or set(kinds) & set(extra):
            name = class_of(kinds, any(edge[3] and edge[2] is RW for edge in cycle)) + (f"-{order}" if order else "")
            found.setdefault(name, []).append(cycle)
    return found


def turns(cycle: Sequence[Edge]) -> list[list[Edge]]:
    return [[*cycle[turn:], *cycle[:turn]] for turn in range(len(cycle))]


def random_edges(chance: random.Random, order: str) -> list[Edge]:
    """Between transactions; with hubs of readers and, where time counts, a chain of two barriers."""
    kinds = [WW, WR, RW, *([PROCESS] if order == "process" else [])]
    edges: list[Edge] = []
    for _ in range(chance.randrange(11)):
        one, other = chance.sample(range(NODES), 2)
        kind = chance.choice(kinds)
        edges.append((one, other, kind, kind in (WR, RW) and chance.random() < 0.4))
    for hub in (NODES, NODES + 1):
        members = chance.sample(range(NODES), chance.choice([0, 2, 3, 4]))
        readers = chance.randint(1, max(len(members) - 1, 1))
        predicate = chance.random() < 0.4
        edges += [(one, hub, RW, predicate) for one in members[:readers]]
        edges += [(hub, one, RW_ON, predicate) for one in members[readers:]]
    if order == "realtime":
        a, b, c, d, e = chance.sample(range(NODES), NODES)
        first, second = NODES + 2, NODES + 3
        edges += [(a, first, REALTIME, False), (b, second, REALTIME, False), (c, second, REALTIME, False)]
        edges += [(first, b, REALTIME_ON, False), (first, second, REALTIME_ON, False)]
        edges += [(second, d, REALTIME_ON, False), (second, e, REALTIME_ON, False)]
    chance.shuffle(edges)
    return list(dict.fromkeys(edges))


def folded(edges: Sequence[Edge]) -> list[Edge]:
    """What the edges say of transactions: each way through auxiliary nodes as one edge of its first kind."""
    found = []
    ways = [edge for edge in edges if edge[0] < NODES]
    for source, target, kind, predicate in ways:
        if target < NODES:
            found.append((source, target, kind, predicate))
        else:
            ways += [(source, edge[1], kind, predicate or edge[3]) for edge in edges if edge[0] == target]
    return list(dict.fromkeys(found))


def edges_of(cycle: Cycle) -> list[Edge]:
    return [(step.source, step.target, step.kind, step.predicate) for step in cycle.steps]


def graphs(kinds: Iterable[Kind], most: int = 12) -> st.SearchStrategy[list[Edge]]:
    ends = st.integers(0, NODES - 1)
    one = st.tuples(ends, ends, st.sampled_from(list(kinds)), st.booleans()).filter(lambda edge: edge[0] != edge[1])
    return st.lists(one.map(lambda edge: (*edge[:3], edge[3] and edge[2] in (WR, RW))), max_size=most, unique=True)


@pytest.mark.parametrize(("order", "kind"), [("", WW), ("process", PROCESS), ("realtime", REALTIME)])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_each_class_of_which_a_cycle_exists_is_found_and_no_other(order: str, kind: Kind, data: st.DataObject) -> None:
    """Compared with all simple cycles. A cycle that is found is one, of its class; without rw in a row it is a
    shortest one. What has two or more rw may be found under a narrower name, or be proved to exist."""
    edges = data.draw(graphs({WW, WR, RW, kind}))
    there, found = classes(edges, order), find(columns(edges), order, NODES)
    for cycle in found:
        assert edges_of(cycle) in [turn for one in there.get(cycle.anomaly, []) for turn in turns(one)], cycle
    suffix = f"-{order}" if order else ""
    names = {cycle.anomaly.removesuffix(suffix) for cycle in found}
    label = components(*(np.array(one, np.int32) for one in _ends(edges, order)), NODES)
    for name in ("G0", "G1c", "G-single-item", "G-single"):
        lengths: dict[int, int] = {}
        for one in there.get(name + suffix, []):
            lengths[label[one[0][0]]] = min(lengths.get(label[one[0][0]], NODES), len(one))
        told = {label[one.steps[0].source]: len(one.steps) for one in found if one.anomaly == name + suffix}
        assert told == lengths, name
    for name in ("G2-item", "G2"):
        if name + suffix in there:
            narrower = {one for one in names if one.startswith("G") and one not in ("G0", "G1c")}
            assert narrower, name
            assert name in names or _is_found_otherwise(there, name + suffix)


@pytest.mark.parametrize("small", [module.SMALL, 0])
@pytest.mark.parametrize("order", ["", "process", "realtime"])
def test_through_hubs_and_barriers_and_in_big_components_a_cycle_is_of_its_class(
    small: int, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with all simple cycles of the graph without auxiliary nodes. What needs no second rw is missed nowhere,
    but where it must be by predicate or has an order's edge, and only a walk that meets itself is shorter."""
    monkeypatch.setattr(module, "SMALL", small)
    suffix = f"-{order}" if order else ""
    complete = ("G0", "G1c", "G-single-item", *(() if order else ("G-single",)))
    for seed in range(50):
        edges = random_edges(random.Random(seed), order)
        there = classes(folded(edges), order)
        found = find(columns(edges, NODES + 4), order, NODES)
        for cycle in found:
            assert edges_of(cycle) in [turn for one in there.get(cycle.anomaly, []) for turn in turns(one)], cycle
        missed = there.keys() - {cycle.anomaly for cycle in found}
        assert not missed & {name + suffix for name in complete}, (seed, edges)
        assert not (missed and not order), (seed, edges)


def test_of_a_big_component_the_edge_that_leads_farthest_back_has_a_shortest_cycle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the search for other cycles. A cycle of two edges is the shortest there can be, and comes first."""
    for name, value in (("SMALL", 0), ("VISITS", 1), ("VISITS_IN_ALL", 1), ("VISITS_AT_LEAST", 1)):
        monkeypatch.setattr(module, name, value)
    beginning = {"G0": WW, "G1c": WR, "G-single-item": RW}
    seen = dict.fromkeys(beginning, 0)
    for seed in range(80):
        chance = random.Random(seed)
        edges = list({(*chance.sample(range(NODES), 2), chance.choice([WW, WW, WR, WR, RW]), False) for _ in range(12)})
        there = classes(edges)
        label = components(*(np.array(one, np.int32) for one in _ends(edges, "")), NODES)
        found = find(columns(edges), "", NODES)
        for name, kind in beginning.items():
            lengths: dict[int, set[int]] = {}
            for component in {label[one[0][0]] for one in there.get(name, [])}:
                its = [one for one in there[name] if label[one[0][0]] == component]
                begin = {edge for one in its for edge in one if edge[2] is kind}
                back = max(edge[0] - edge[1] for edge in begin)
                shortest = {edge: min(len(one) for one in its if edge in one) for edge in begin}
                two = 2 in shortest.values()
                lengths[component] = {2} if two else {shortest[one] for one in begin if one[0] - one[1] == back}
                seen[name] += not two
            told = {label[one.steps[0].source]: len(one.steps) for one in found if one.anomaly == name}
            assert told.keys() == lengths.keys(), (seed, name)
            assert all(length in lengths[component] for component, length in told.items()), (seed, name)
    assert min(seen.values()) > 5


def _ends(edges: Sequence[Edge], order: str) -> tuple[list[int], list[int]]:
    chosen = [edge for edge in edges if edge[2] in (WW, WR, RW, *ORDER_KINDS[order])]
    return [edge[0] for edge in chosen], [edge[1] for edge in chosen]


def _is_found_otherwise(there: dict[str, list[tuple[Edge, ...]]], name: str) -> bool:
    """A search in breadth may meet, on its shortest ways, only walks that visit a node twice."""
    return len(there) > 1 and all(len(one) > 2 for one in there[name])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(graphs({WW, WR, RW, PROCESS}))
def test_whether_a_cycle_exists_is_decided_exactly(edges: list[Edge]) -> None:
    """Of some kinds of edges: as all simple cycles say. Without two rw in a row: as all walks say, which may visit a
    node twice (Cerone, Gotsman 2016)."""
    part = columns(edges)
    for kinds in ((WW,), (WW, WR), (WW, WR, RW), (WW, PROCESS), ()):
        some = [edge for edge in edges if edge[2] in kinds]
        assert has_cycle(part, kinds) is any(True for _ in simple_cycles(some))
    for data in ((WW, WR), (WW, WR, PROCESS)):
        used = [edge for edge in edges if edge[2] in (*data, RW)]
        walks = np.array([[one[1] == other[0] and not one[2] is other[2] is RW for other in used] for one in used])
        for middle in range(len(used)):
            walks |= np.outer(walks[:, middle], walks[middle])
        exists = bool(len(used) and walks.diagonal().any())
        assert has_cycle_without_adjacent_rw(columns(used), data) is exists


@settings(max_examples=40, deadline=None, derandomize=True)
@given(graphs({WW, WR, RW}))
def test_the_cyclic_part_has_the_edges_of_all_cycles(edges: list[Edge]) -> None:
    """And no others."""
    part = cyclic_part(columns(edges))
    kept = list(zip(part.source.tolist(), part.target.tolist(), map(Kind, part.kind.tolist()),
                    part.predicate.tolist(), strict=True))  # fmt: skip
    on_cycles = {edge for cycle in simple_cycles(edges) for edge in cycle}
    assert kept == [edge for edge in edges if edge in on_cycles]


def test_a_step_names_the_two_operations_that_prove_it() -> None:
    """Those of its edge."""
    edges = columns([(3, 1, WR, False), (1, 2, WW, False), (2, 1, RW, True)])
    (cycle,) = find(edges, "", NODES)
    assert cycle == Cycle("G-single", (Step(2, 1, RW, 4, 5, True), Step(1, 2, WW, 2, 3)))
    assert cycle.transactions == [2, 1]
    assert find(columns([]), "", NODES) == []


def test_auxiliary_nodes_are_folded_into_the_steps_around_them() -> None:
    """A hub of readers: 0 reads, and the hub 3 leads on to the writers 1 and 2."""
    edges = columns([(0, 3, RW, False), (3, 1, RW_ON, False), (3, 2, RW_ON, False), (2, 0, WR, False)])
    (cycle,) = find(edges, "", 3)
    assert cycle == Cycle("G-single-item", (Step(0, 2, RW, 0, 5), Step(2, 0, WR, 6, 7)))
    barriers = columns(
        [(0, 3, REALTIME, False), (3, 4, REALTIME_ON, False), (4, 2, REALTIME_ON, False), (2, 0, WW, False)]
    )
    (cycle,) = find(barriers, "realtime", 3)
    assert cycle == Cycle("G0-realtime", (Step(0, 2, REALTIME, 0, 5), Step(2, 0, WW, 6, 7)))


def test_an_order_that_is_not_asked_for_makes_no_cycle() -> None:
    """A session's order is none of the data's."""
    edges = columns([(0, 1, WW, False), (1, 0, PROCESS, False)])
    assert find(edges, "", 2) == find(edges, "realtime", 2) == []
    assert [cycle.anomaly for cycle in find(edges, "process", 2)] == ["G0-process"]


@pytest.mark.parametrize(
    ("kinds", "anomaly"),
    [((WW, WW), "G0"), ((WW, WR), "G1c"), ((WW, RW), "G-single-item"), ((RW, RW), "G2-item")],
)
def test_in_a_big_component_the_edge_that_leads_farthest_back_is_seen(kinds: tuple[Kind, Kind], anomaly: str) -> None:
    """Three hundred in a row, and one edge back from the last to the first; every other name needs what is not there.

    Of the last two edges both are of the second kind, so that two rw follow each other.
    """
    forward, back = kinds
    ring = [(i, i + 1, WW if i < 298 else forward, False) for i in range(299)]
    cycles = find(columns([*ring, (299, 0, back, False)], 300), "", 300)
    assert [cycle.anomaly for cycle in cycles] == [anomaly]
    assert len(cycles[0].steps) == 300
    assert sorted(cycles[0].transactions) == list(range(300))


def test_a_search_in_a_component_visits_so_many_nodes_and_in_all_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the others have the least that each is given; cycles of two edges need no search."""

    def told(rings: int, size: int = 30) -> list[int]:
        edges = [(r * size + i, r * size + (i + 1) % size, WW, False) for r in range(rings) for i in range(size)]
        return [one.steps[0].source // size for one in find(columns(edges, rings * size), "", rings * size)]

    def bounds(visits: int, in_all: int, at_least: int) -> None:
        for name, value in (("VISITS", visits), ("VISITS_IN_ALL", in_all), ("VISITS_AT_LEAST", at_least)):
            monkeypatch.setattr(module, name, value)

    bounds(20, 1000, 10)
    assert told(2) == []
    assert told(3, 2) == [0, 1, 2]
    bounds(1000, 1000, 10)
    assert told(1) == [0]
    bounds(40, 60, 10)
    assert told(3) == [0]
    bounds(40, 100, 10)
    assert told(4) == [0, 1]
    bounds(40, 60, 40)
    assert told(3) == [0, 1, 2]


def test_of_every_component_a_cycle_is_told() -> None:
    """Two pairs, each with a cycle of its own."""
    pairs = [(0, 1, WW, False), (1, 0, WW, False), (2, 3, WW, False), (3, 2, WW, False)]
    assert [sorted(one.transactions) for one in find(columns(pairs), "", NODES)] == [[0, 1], [2, 3]]
