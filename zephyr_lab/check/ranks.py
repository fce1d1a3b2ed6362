"""Whether transactions can be put in an order that all edges follow, where a likely order nearly is one.

A valid history of a real database is acyclic, and the order in which transactions began is nearly right: a transaction
that depends on one that began later is moved behind that one, and those that depend on it are too, until nothing moves
(the longest paths of Bellman and Ford, from where each transaction began). Few move, and not far. Where that does not
end soon there may be a cycle, and the strongly connected components say so.
"""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.graph import Edges
from zephyr_lab.check.history import History, Status

_ROUNDS = 500
_CHUNK = 1 << 16  # edges whose ranks fit in the cache
_SHIFT = 20  # places between two times


def ranked(history: History, parts: list[Edges], nodes: int, realtime: bool) -> bool:
    """Whether an order was found that follows all edges, and real time if asked; False says nothing."""
    n = len(history)
    rank = np.zeros(nodes, np.int64)  # hubs come first, and are moved
    if history.timed:
        counts = history.status != Status.FAIL
        if (history.begin[counts] < 0).any() or history.begin.max(initial=0) >= 1 << (62 - _SHIFT):
            return False
        rank[:n] = history.begin
    else:
        rank[:n] = np.arange(n)
    rank <<= _SHIFT
    if not _settled(rank, *(np.concatenate([getattr(part, end) for part in parts]) for end in ("source", "target"))):
        return False
    done = (history.status == Status.OK) & (history.end >= 0)
    # Whatever begins after a transaction's end has a higher rank than that end.
    return not realtime or not (rank[:n][done] >> _SHIFT > history.end[done]).any()


def _settled(rank: Ints, source: Ints, target: Ints) -> bool:
    """Moves nodes behind those that they depend on; whether all of them were."""
    bad = np.concatenate(
        [
            at + np.flatnonzero(rank.take(source[at : at + _CHUNK]) >= rank.take(target[at : at + _CHUNK]))
            for at in range(0, max(len(source), 1), _CHUNK)
        ]
    )
    if not len(bad):
        return True
    follows = target.take(np.argsort(source, kind="stable"))  # edges come in runs, which this makes use of
    starts = np.zeros(len(rank) + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=len(rank)), out=starts[1:])
    one, other, left = source.take(bad), target.take(bad), 2 * len(source) + 1_000
    for _ in range(_ROUNDS):
        np.maximum.at(rank, other, rank.take(one) + 1)
        other.sort()
        moved = other[np.append(True, other[1:] != other[:-1])]
        one, at = spread(moved, starts[moved], starts[moved + 1])
        left -= len(one)
        other = follows.take(at)
        bad = rank.take(one) >= rank.take(other)
        one, other = one[bad], other[bad]
        if not len(one):
            return True
        if left < 0:
            return False
    return False
