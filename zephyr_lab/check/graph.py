"""The dependency graph: edges between transactions as columns, and the auxiliary nodes that keep it linear in size.

The direct serialization graph is Adya's ("Weak Consistency", 1999): *ww* a version follows another, *wr* a read saw a
version, *rw* a read saw the version before (the anti-dependency). *process* is the order within a session, *realtime*
the order of a completion before an invocation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.history import History, Status
from zephyr_lab.errors import BadInput


class Kind(IntEnum):
    WW = 0
    WR = 1
    RW = 2
    PROCESS = 3
    REALTIME = 4
    RW_ON = 5  # from a hub of readers to a writer
    REALTIME_ON = 6  # from a barrier

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Edges:
    """`source`, `target`: nodes; `kind`; `first`, `second`: the two operations that prove an edge, -1 for none.

    `predicate`: a read by predicate is one of the two. Nodes from `transactions` on are auxiliary.
    """

    source: Ints
    target: Ints
    kind: Ints
    first: Ints
    second: Ints
    predicate: Bools
    nodes: int

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def of(
        cls,
        source: Ints,
        target: Ints,
        kind: int,
        nodes: int,
        first: Ints | None = None,
        second: Ints | None = None,
        predicate: bool = False,
    ) -> Edges:
        """Edges of one kind, without those from a node to itself."""
        other = source != target
        count = np.count_nonzero(other)
        none = np.full(count, -1, np.int32)

        def kept(column: Ints) -> Ints:
            return (column if count == len(column) else column[other]).astype(np.int32, copy=False)

        return cls(
            kept(source),
            kept(target),
            np.full(count, kind, np.int8),
            none if first is None else kept(first),
            none if second is None else kept(second),
            np.full(count, predicate, np.bool_),
            nodes,
        )

    @classmethod
    def joined(cls, parts: list[Edges], nodes: int) -> Edges:
        """The union. The parts' auxiliary nodes must have different numbers."""
        if not parts:
            parts = [cls.of(np.zeros(0, int), np.zeros(0, int), Kind.WW, nodes)]
        return cls(
            np.concatenate([part.source for part in parts]),
            np.concatenate([part.target for part in parts]),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.first for part in parts]),
            np.concatenate([part.second for part in parts]),
            np.concatenate([part.predicate for part in parts]),
            nodes,
        )

    def where(self, chosen: Bools | Ints) -> Edges:
        return Edges(
            self.source[chosen],
            self.target[chosen],
            self.kind[chosen],
            self.first[chosen],
            self.second[chosen],
            self.predicate[chosen],
            self.nodes,
        )


def process_edges(history: History, nodes: int) -> Edges:
    """Each session's committed transactions, one after the other; an indeterminate one follows the last of these, and
    precedes none, since it may take effect at any time. Raises BadInput where times contradict a session's order."""
    lines = by_session(history)
    committed = history.status[lines] == Status.OK
    last = np.where(committed, np.arange(len(lines)), -1)
    last = np.concatenate([np.full(min(len(lines), 1), -1), np.maximum.accumulate(last)[:-1]])
    same = last >= 0
    same[same] = history.session[lines[last[same]]] == history.session[lines[same]]
    source, target = lines[last[same]], lines[same]
    begin, end = history.begin[target], history.end[source]
    if (overlap := (begin >= 0) & (begin < end)).any():
        one, other = source[overlap][0], target[overlap][0]
        raise BadInput(
            f"{history.source}, line {history.line[other]}: begins at {history.begin[other]} in session "
            f"{history.sessions[int(history.session[other])]}, whose transaction of line {history.line[one]} ends at "
            f"{history.end[one]}: a session has one transaction at a time"
        )
    return Edges.of(source, target, Kind.PROCESS, nodes)


def by_session(history: History) -> Ints:
    """Possible transactions, session by session: by when they began, or as in the file where that is not known."""
    lines = np.flatnonzero(history.status != Status.FAIL)
    session, begin, end = history.session[lines], history.begin[lines], history.end[lines]
    unknown = np.zeros(len(history.sessions), np.bool_)
    unknown[session[begin < 0]] = True
    begin, end = (np.where(unknown[session], 0, one) for one in (begin, end))
    small = session.astype(np.int16) if len(history.sessions) < 1 << 15 else session  # these are sorted by their bits
    order = np.argsort(small, kind="stable")
    same = session[order][1:] == session[order][:-1]
    if (same & (begin[order][1:] <= begin[order][:-1])).any():  # a file mostly has a session in its order
        order = np.lexsort((end, begin, session))
    by: Ints = lines[order]
    return by


def realtime_edges(history: History, nodes: int) -> Edges:
    """Real-time order through a chain of barriers, one for each completion, so linear in size.

    The barrier of a completion follows that transaction and the barrier before; a transaction follows the last barrier
    before its invocation. Barriers are numbered from `nodes`.
    """
    done = np.flatnonzero((history.end >= 0) & (history.status == Status.OK))
    done = done[np.argsort(history.end[done], kind="stable")]
    ends = history.end[done]
    barrier = np.arange(len(done)) + nodes
    begun = np.flatnonzero((history.begin >= 0) & (history.status != Status.FAIL))
    before = np.searchsorted(ends, history.begin[begun], side="left") - 1
    follows = before >= 0
    total = nodes + len(done)
    return Edges.joined(
        [
            Edges.of(done, barrier, Kind.REALTIME, total),
            Edges.of(barrier[:-1], barrier[1:], Kind.REALTIME_ON, total),
            Edges.of(barrier[before[follows]], begun[follows], Kind.REALTIME_ON, total),
        ],
        total,
    )


def anti_dependencies(
    group_of_read: Ints,
    read_txn: Ints,
    read_op: Ints,
    group_of_write: Ints,
    write_txn: Ints,
    write_op: Ints,
    nodes: int,
) -> tuple[Edges, int]:
    """rw from every reader of a group to every writer of the same group, in linear size, and the new number of nodes.

    Few are linked pair by pair. If they are many, readers lead to a hub and the hub to the writers. A reader that
    writes too must not reach itself: such readers, each of which follows every other, are linked in a ring and lead to
    a hub of the other writers.
    """
    parts: list[_Columns] = []
    order_r, order_w = np.argsort(group_of_read, kind="stable"), np.argsort(group_of_write, kind="stable")
    groups, at_r, size_r = np.unique(group_of_read[order_r], return_index=True, return_counts=True)
    at_w = np.searchsorted(group_of_write[order_w], groups, side="left")
    size_w = np.searchsorted(group_of_write[order_w], groups, side="right") - at_w
    small = (size_r * size_w <= 4 * (size_r + size_w) + 64) & (size_w > 0)
    if small.any():  # the product of both, by group, without a loop
        counts = size_r[small] * size_w[small]
        group, within = spread(np.arange(len(counts)), np.zeros_like(counts), counts)
        of_r = order_r[at_r[small][group] + within // size_w[small][group]]
        of_w = order_w[at_w[small][group] + within % size_w[small][group]]
        parts.append(_columns(read_txn[of_r], write_txn[of_w], Kind.RW, read_op[of_r], write_op[of_w]))
    for number in np.flatnonzero(~small & (size_w > 0)):
        of_r = order_r[at_r[number] : at_r[number] + size_r[number]]
        of_w = order_w[at_w[number] : at_w[number] + size_w[number]]
        more, nodes = _through_hubs(read_txn[of_r], read_op[of_r], write_txn[of_w], write_op[of_w], nodes)
        parts += more
    if not parts:
        return Edges.joined([], nodes), nodes
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    other = columns[0] != columns[1]
    of, to, kinds, one, two = (column[other] for column in columns)
    edges = Edges(
        of.astype(np.int32),
        to.astype(np.int32),
        kinds.astype(np.int8),
        one.astype(np.int32),
        two.astype(np.int32),
        np.zeros(len(of), np.bool_),
        nodes,
    )
    return edges, nodes


_Columns = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Source, target, kind, first, second."""


def _columns(source: np.ndarray, target: np.ndarray, kind: Kind, first: np.ndarray, second: np.ndarray) -> _Columns:
    return source, target, np.full(len(source), kind), first, second


def _through_hubs(
    read_txn: np.ndarray, read_op: np.ndarray, write_txn: np.ndarray, write_op: np.ndarray, nodes: int
) -> tuple[list[_Columns], int]:
    """From every reader of one group to every writer, by hubs that are numbered from `nodes`."""
    parts: list[_Columns] = []
    both = np.intersect1d(read_txn, write_txn)
    only_r, only_w = ~np.isin(read_txn, both), ~np.isin(write_txn, both)
    hubs = []
    if only_r.any():
        hubs.append((only_r, np.ones(len(write_txn), np.bool_)))
    if not only_r.all() and only_w.any():
        hubs.append((~only_r, only_w))
    for readers, writers in hubs:
        before, after = np.full(int(readers.sum()), nodes), np.full(int(writers.sum()), nodes)
        none_before, none_after = np.full(len(before), -1), np.full(len(after), -1)
        parts.append(_columns(read_txn[readers], before, Kind.RW, read_op[readers], none_before))
        parts.append(_columns(after, write_txn[writers], Kind.RW_ON, none_after, write_op[writers]))
        nodes += 1
    if len(both) > 1:
        reads = dict(zip(read_txn[~only_r].tolist(), read_op[~only_r].tolist(), strict=True))
        writes = dict(zip(write_txn[~only_w].tolist(), write_op[~only_w].tolist(), strict=True))
        ring = np.roll(both, -1)
        for one, other in ((both, ring), (ring, both)):
            first = np.array([reads[txn] for txn in one.tolist()])
            second = np.array([writes[txn] for txn in other.tolist()])
            parts.append(_columns(one, other, Kind.RW, first, second))
    return parts, nodes
