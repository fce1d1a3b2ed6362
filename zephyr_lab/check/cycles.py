"""Finds cycles in the dependency graph: whether any of a kind exists, and a shortest one of each class of anomaly.

Classes are Adya's by the edges of the cycle: G0 only ww; G1c ww and wr; G-single exactly one rw; G-nonadjacent several,
no two in a row; G2 two in a row. `-item` where no rw comes from a predicate; `-process` and `-realtime` where the
order of a session or of time is one of the edges. Whether a cycle exists is decided for the whole graph in linear time
by strongly connected components: of the edges allowed, or, for snapshot isolation, of pairs (node, last edge was rw),
in which no two rw can follow each other. A search then finds an example in each component. It is bounded by the
number of nodes that it may visit, so that the worst component costs no more than a big one.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.chords import shortened
from zephyr_lab.check.graph import Edges, Kind
from zephyr_lab.check.levels import Order

_DATA = (Kind.WW, Kind.WR)
_RW = (Kind.RW, Kind.RW_ON)
ORDER_KINDS = {Order.DATA: (), Order.PROCESS: (Kind.PROCESS,), Order.REALTIME: (Kind.REALTIME, Kind.REALTIME_ON)}
VISITS, VISITS_IN_ALL, VISITS_AT_LEAST = 60_000, 1_000_000, 500
FAR = 16
MOST_PAIRS = 4 << 20
SMALL, VISITS_FOR_SHORTER = 200, 400_000


class Rw(Enum):
    """The rw edges of a class of cycles: how many, and whether two are in a row."""

    NONE = 0
    SINGLE = 1
    NONADJACENT = 2
    ADJACENT = 3


# What a walk contains, as bits of a plain int: an IntFlag's operators take thirty times as long.
_LAST_IS_RW, _SECOND_RW, _ADJACENT_RW, _ORDERED, _BY_PREDICATE = 1, 2, 4, 8, 16
_NEEDED = {Rw.NONE: 0, Rw.SINGLE: 0, Rw.NONADJACENT: _SECOND_RW, Rw.ADJACENT: _ADJACENT_RW}


@dataclass(frozen=True)
class Step:
    """An edge between transactions: its kind, and the operations that prove it (-1: none), or a note."""

    source: int
    target: int
    kind: Kind
    first: int = -1
    second: int = -1
    predicate: bool = False
    note: str = ""
    forced: bool = False  # not seen in the history: the other order would close a cycle


@dataclass(frozen=True)
class Cycle:
    """Steps from transaction to transaction, the last back to the first."""

    anomaly: str
    steps: tuple[Step, ...]

    @property
    def transactions(self) -> list[int]:
        return [step.source for step in self.steps]


_State = tuple[int, int]
"""A state of the search: the node, and what the walk to it contains."""


def components(source: Ints, target: Ints, nodes: int) -> Ints:
    """The strongly connected component of each node, numbered."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components  # a third of the start of a check, and seldom needed

    graph = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(nodes, nodes))
    labels: Ints = connected_components(graph, directed=True, connection="strong")[1]
    return labels


def cyclic_part(edges: Edges) -> Edges:
    """Only the edges that lie on some cycle."""
    label = components(edges.source, edges.target, edges.nodes)
    return edges.where(label[edges.source] == label[edges.target])


def _among(edges: Edges, kinds: tuple[Kind, ...]) -> Bools:
    return np.isin(edges.kind, np.array(kinds, np.int8))


def by_predicate(edges: Edges) -> Bools:
    """Anti-dependencies by predicate. Adya's G2-item has none; its cycles may well have other predicate edges."""
    anti: Bools = edges.predicate & _among(edges, _RW)
    return anti


def has_cycle(edges: Edges, kinds: tuple[Kind, ...]) -> bool:
    part = edges.where(_among(edges, kinds))
    if not len(part):
        return False
    label = components(part.source, part.target, part.nodes)
    return bool((label[part.source] == label[part.target]).any())


def _lonely_rw(edges: Edges, data: tuple[Kind, ...]) -> tuple[Ints, Bools]:
    """Component of every (node, 0) and (node + nodes, last edge was rw), for walks without two rw in a row."""
    n, plain, rw, on = edges.nodes, _among(edges, data), edges.kind == Kind.RW, edges.kind == Kind.RW_ON
    s, t = edges.source.astype(np.int64), edges.target.astype(np.int64)
    source = np.concatenate([s[plain], s[plain] + n, s[rw], s[on] + n])
    target = np.concatenate([t[plain], t[plain], t[rw] + n, t[on] + n])
    label = components(source, target, 2 * n)
    return label, label[source] == label[target]


def has_cycle_without_adjacent_rw(edges: Edges, data: tuple[Kind, ...]) -> bool:
    """Whether snapshot isolation is violated (Cerone, Gotsman 2016, theorem 10)."""
    return len(edges) > 0 and bool(_lonely_rw(edges, data)[1].any())


def find(edges: Edges, order: Order, transactions: int) -> list[Cycle]:
    """A shortest cycle of each class in each component of the data edges with those of `order`.

    With an order, only cycles with an edge of it are looked for. Nodes from `transactions` on are auxiliary.
    """
    extra = ORDER_KINDS[order]
    edges = cyclic_part(edges.where(_among(edges, _DATA + _RW + extra)))
    return [] if not len(edges) else Finder(edges, extra, f"-{order}" if order else "", transactions).find()


class Finder:
    def __init__(self, edges: Edges, extra: tuple[Kind, ...], suffix: str, transactions: int) -> None:
        self.nodes, edges = _renumbered(edges)
        self.edges, self.extra, self.suffix, self.transactions = edges, extra, suffix, transactions
        self.data = _DATA + extra
        self.label = components(edges.source, edges.target, edges.nodes)
        size = np.bincount(self.label, minlength=edges.nodes)
        self.large = size[self.label] > SMALL
        by_source = np.argsort(edges.source, kind="stable")
        self.starts = np.searchsorted(edges.source[by_source], np.arange(edges.nodes + 1)).tolist()
        self.out = by_source.tolist()
        self.s, self.t, self.k = edges.source.tolist(), edges.target.tolist(), edges.kind.tolist()
        self.p = by_predicate(edges).tolist()
        self.extra_set = set(map(int, extra))
        self.visits_for_shorter = [VISITS_FOR_SHORTER]

    def find(self) -> list[Cycle]:
        e = self.edges
        anti = by_predicate(e)
        item = not anti.any()
        kinds = {kind: e.kind == kind for kind in Kind}
        ww = _among(e, (Kind.WW, *self.extra))
        data = _among(e, self.data)
        begins = _among(e, self.extra) & (e.kind != Kind.REALTIME_ON) if self.extra else None
        rw = kinds[Kind.RW]
        cycles: list[Cycle] = []
        inside = self._inside(ww)
        cycles += self._each("G0", inside & (kinds[Kind.WW] if begins is None else begins), {Kind.WW, *self.extra})
        inside = self._inside(data)
        cycles += self._each("G1c", inside & kinds[Kind.WR], set(self.data))
        for only_items in (True,) if item else (True, False):
            allowed = ~anti if only_items else np.ones(len(e), np.bool_)
            names = (
                ("G-single-item", "G-nonadjacent-item", "G2-item")
                if only_items
                else ("G-single", "G-nonadjacent", "G2")
            )
            lonely = self._inside_lonely(allowed) & rw
            cycles += self._each(names[0], lonely, set(self.data), rw=Rw.SINGLE, items=only_items)
            cycles += self._each(names[1], lonely, {*self.data, *_RW}, rw=Rw.NONADJACENT, items=only_items)
            both = self._inside(allowed) & rw
            followed = np.zeros(e.nodes, np.bool_)
            followed[e.source[self._inside(allowed) & _among(e, _RW)]] = True
            cycles += self._each(
                names[2], both & followed[e.target], {*self.data, *_RW}, rw=Rw.ADJACENT, items=only_items
            )
        return cycles

    def _inside(self, chosen: Bools) -> Bools:
        e = self.edges
        label = components(e.source[chosen], e.target[chosen], e.nodes)
        inside: Bools = chosen & (label[e.source] == label[e.target])
        return inside

    def _inside_lonely(self, allowed: Bools) -> Bools:
        """Which rw edges lie on a walk without two rw in a row."""
        e = self.edges
        label, _ = _lonely_rw(e.where(allowed), self.data)
        inside: Bools = allowed & (label[e.source] == label[e.target + e.nodes])
        return inside

    def _each(
        self, name: str, starting: Bools, allowed: set[int], rw: Rw = Rw.NONE, items: bool | None = None
    ) -> Iterator[Cycle]:
        """One cycle for each component with a start edge: the shortest, or in a big component one of the first few."""
        allowed = {int(kind) for kind in allowed} | (set() if rw is Rw.NONE else {int(Kind.RW_ON)})
        first = np.flatnonzero(starting)
        if not len(first):
            return
        span = np.abs(self.nodes[self.edges.source[first]] - self.nodes[self.edges.target[first]])
        first = first[np.lexsort((span, self.label[self.edges.source[first]]))]
        label = self.label[self.edges.source[first]]
        bounds = [*np.flatnonzero(np.append(True, label[1:] != label[:-1])).tolist(), len(first)]
        starts, label_of = first.tolist(), label.tolist()
        short = self._two_steps(starting, allowed, rw, items)
        in_all = VISITS_IN_ALL
        for begin, end in itertools.pairwise(bounds):
            best, left = short.get(label_of[begin]), [max(min(VISITS, in_all), VISITS_AT_LEAST)]
            given = left[0]
            large = self.large[self.s[starts[begin]]]
            tries = () if best else starts[begin:end]
            if large and tries and rw is not Rw.NONADJACENT:
                best = self._far(tries, allowed, rw, items)
                tries = () if best else tries
            for start in tries:
                limit = len(best) if best else None
                found = self.around(start, allowed, rw, items, left, limit)
                if found and (best is None or len(found) < len(best)):
                    best = found
                if left[0] <= 0 or (best and (large or len(best) == 2)):
                    break
            in_all -= given - left[0]
            if best:
                yield Cycle(name + self.suffix, self._steps(shortened(self, best, starting, allowed, rw, items)))

    @cached_property
    def _pairs(self) -> tuple[Ints, Ints]:
        """Pairs of edges that form a cycle."""
        e = self.edges
        forth = e.source.astype(np.int64) * e.nodes + e.target
        back = e.target.astype(np.int64) * e.nodes + e.source
        order = np.argsort(forth, kind="stable")
        begin = np.searchsorted(forth[order], back, side="left")
        count = np.searchsorted(forth[order], back, side="right") - begin
        count[np.cumsum(count) > MOST_PAIRS] = 0
        one, at = spread(np.arange(len(e)), begin, begin + count)
        return one, order[at]

    def _two_steps(self, starting: Bools, allowed: set[int], rw: Rw, items: bool | None) -> dict[int, list[int]]:
        """By component, a cycle of two edges that begins with one of these: none can be shorter."""
        if rw is Rw.NONADJACENT:
            return {}
        e, (one, two) = self.edges, self._pairs
        hit = starting[one] & np.isin(e.kind[two], np.array(sorted(allowed), np.int8))
        if rw is not Rw.NONE:
            hit &= (e.kind[two] == Kind.RW) == (rw is Rw.ADJACENT)
        if self.extra:
            hit &= _among(e, self.extra)[one] | _among(e, self.extra)[two]
        if items is not None:
            anti = by_predicate(e)
            hit &= (anti[one] | anti[two]) != items
        one, two = one[hit], two[hit]
        label = self.label[e.source[one]]
        label, at = np.unique(label, return_index=True)
        return {int(key): [int(one[i]), int(two[i])] for key, i in zip(label, at, strict=True)}

    def _far(self, starts: list[int], allowed: set[int], rw: Rw, items: bool | None) -> list[int] | None:
        """In a big component, a shortest path back for the edges that lead farthest against the order of the file:
        those are suspicious. Each is one search of the whole component, in C."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import breadth_first_order

        e = self.edges
        usable = _among(e, tuple(Kind(kind) for kind in allowed)) & (~by_predicate(e) if items else True)
        at = np.flatnonzero(usable)
        # Numbers of edges as data, from 1: one of several between two nodes is kept.
        pair = e.source[at].astype(np.int64) * e.nodes + e.target[at]
        _, once = np.unique(pair, return_index=True)
        at = at[once]
        graph = csr_matrix((at + 1, (e.source[at], e.target[at])), shape=(e.nodes, e.nodes))
        back = self.nodes[e.source[starts]] - self.nodes[e.target[starts]]
        for start in np.array(starts)[np.argsort(-back, kind="stable")][:FAR].tolist():
            home = self.s[start]
            begun = [start, *(self._next_rw(start, usable) if rw is Rw.ADJACENT else ())]
            if rw is Rw.ADJACENT and len(begun) == 1:
                continue
            reached = self.t[begun[-1]]
            _, came = breadth_first_order(graph, reached, directed=True, return_predecessors=True)
            path, node = [], home
            while node != reached and came[node] >= 0:
                path.append(int(graph[came[node], node]) - 1)
                node = int(came[node])
            if node == reached:
                path = begun + path[::-1]
                ordered = not self.extra_set or not self.extra_set.isdisjoint(self.k[edge] for edge in path)
                if ordered and (items is not False or any(self.p[edge] for edge in path)) and self._simple(path):
                    return path
        return None

    def _next_rw(self, start: int, usable: Bools) -> list[int]:
        """From an rw edge to a second one that follows it, through a hub if it leads to one."""
        ways = [[start]]
        for way in ways:
            at = self.t[way[-1]]
            for edge in self.out[self.starts[at] : self.starts[at + 1]]:
                if usable[edge] and self.k[edge] == Kind.RW:
                    return [*way[1:], edge]
                if usable[edge] and self.k[edge] == Kind.RW_ON:
                    ways.append([*way, edge])
        return []

    def around(
        self, start: int, allowed: set[int], rw: Rw, items: bool | None, left: list[int], limit: int | None
    ) -> list[int] | None:
        """The shortest path from an edge's target back to its source, by breadth first; None if there is none."""
        s, t, k, p, out, starts = self.s, self.t, self.k, self.p, self.out, self.starts
        home, first, extra = s[start], t[start], self.extra_set
        an_rw, rw_on, realtime_on = int(Kind.RW), int(Kind.RW_ON), int(Kind.REALTIME_ON)
        may_be_adjacent, may_end_in_rw = rw is Rw.ADJACENT, rw is not Rw.NONADJACENT
        need = _NEEDED[rw] | (_ORDERED if extra else 0) | (_BY_PREDICATE if items is False else 0)
        flags = 0 if rw is Rw.NONE else _LAST_IS_RW
        flags |= (_ORDERED if k[start] in extra else 0) | (_BY_PREDICATE if p[start] else 0)
        came: dict[_State, tuple[_State | None, int]] = {(first, flags): (None, start)}
        queue = deque([(first, flags, 1)])
        while queue:
            node, had, length = queue.popleft()
            if limit is not None and length + 1 >= limit:
                return None
            left[0] -= 1
            if left[0] <= 0:
                return None
            for edge in out[starts[node] : starts[node + 1]]:
                kind = k[edge]
                if kind not in allowed or (items and p[edge]):
                    continue
                now = had if kind == rw_on else had & ~_LAST_IS_RW
                if kind == an_rw:
                    if had & _LAST_IS_RW:
                        if not may_be_adjacent:
                            continue
                        now |= _ADJACENT_RW
                    now |= _SECOND_RW | _LAST_IS_RW
                elif kind in extra:
                    now |= _ORDERED
                if p[edge]:
                    now |= _BY_PREDICATE
                to = t[edge]
                if to == home:  # the first edge is rw, and follows the last
                    done = now | (_ADJACENT_RW if may_be_adjacent and now & _LAST_IS_RW else 0)
                    if done & need == need and (may_end_in_rw or not now & _LAST_IS_RW):
                        path = self._back(came, (node, had), edge)
                        if self._simple(path):
                            return path
                    continue
                state = (to, now)
                if state not in came:
                    came[state] = ((node, had), edge)
                    queue.append((to, now, length + (kind not in (rw_on, realtime_on))))
        return None

    def _back(self, came: dict[_State, tuple[_State | None, int]], state: _State | None, edge: int) -> list[int]:
        path = [edge]
        while state is not None:
            state, edge = came[state]
            path.append(edge)
        return path[::-1]

    def _simple(self, path: list[int]) -> bool:
        nodes = [self.s[edge] for edge in path]
        return len(set(nodes)) == len(nodes)

    def _steps(self, path: list[int]) -> tuple[Step, ...]:
        """The path with its auxiliary nodes contracted."""
        e, steps = self.edges, []
        if self.nodes[self.s[path[0]]] >= self.transactions:  # begin at a transaction
            turn = next(i for i, edge in enumerate(path) if self.nodes[self.s[edge]] < self.transactions)
            path = path[turn:] + path[:turn]
        held: list[int] = []
        for edge in path:
            held.append(edge)
            if self.nodes[self.t[edge]] < self.transactions:
                first, last = held[0], held[-1]
                steps.append(
                    Step(
                        int(self.nodes[self.s[first]]),
                        int(self.nodes[self.t[last]]),
                        Kind(self.k[first]),
                        int(e.first[first]),
                        int(e.second[last]),
                        bool(e.predicate[held].any()),
                    )
                )
                held = []
        return tuple(steps)


def _renumbered(edges: Edges) -> tuple[Ints, Edges]:
    """The same edges with their nodes renumbered compactly, and the old number of each node."""
    nodes, places = np.unique(np.concatenate([edges.source, edges.target]), return_inverse=True)
    half = len(edges)
    return nodes, Edges(
        places[:half].astype(np.int32),
        places[half:].astype(np.int32),
        edges.kind,
        edges.first,
        edges.second,
        edges.predicate,
        len(nodes),
    )
