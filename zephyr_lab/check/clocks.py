"""What reaches what, where transactions are in a few chains: for each, how many of every chain precede it.

Vector clocks (Mattern 1989), as in the near-linear checks of causal consistency of Plume (Liu et al., OOPSLA 2024) and
AWDIT (Moldrup, Pavlogiannis, PLDI 2025): of a chain only the latest writer of a key that precedes a read matters.
"""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.graph import by_session
from zephyr_lab.check.history import History, Status
from zephyr_lab.check.reach import topological

LARGEST = 64 << 20
"""Numbers that are kept: 256 MB."""


class Clocks:
    """`chain`, `place`: of each transaction; `count`: chains; `rows[i, c]`: how many of chain c precede i.

    A session is a chain; what is indeterminate, and so precedes nothing in its session, is one of its own.
    """

    def __init__(self, history: History, source: Ints, target: Ints) -> None:
        n = len(history)
        self.chain, self.place, self.count = _chains(history)
        self.rows = rows = np.zeros((n + 1, self.count), np.int32)
        by_target = np.argsort(target, kind="stable")
        starts = np.searchsorted(target[by_target], np.arange(n + 2)).tolist()
        before = source[by_target].tolist()
        chain, after = self.chain.tolist(), (self.place + 1).tolist()
        for node in topological(source, target, n + 1).tolist():
            row = rows[node]
            for one in before[starts[node] : starts[node + 1]]:
                np.maximum(row, rows[one], out=row)
                if row[chain[one]] < after[one]:
                    row[chain[one]] = after[one]

    @staticmethod
    def fit(history: History) -> bool:
        """Whether they are few enough."""
        chains = len(history.sessions) + int((history.status == Status.INFO).sum())
        return (len(history) + 1) * chains <= LARGEST


def _chains(history: History) -> tuple[Ints, Ints, int]:
    n = len(history)
    order = by_session(history)
    alone = np.flatnonzero(history.status != Status.OK)
    chain, place = history.session.astype(np.int64), np.zeros(n, np.int64)
    certain = order[history.status[order] == Status.OK]
    first = np.searchsorted(chain[certain], chain[certain], side="left")
    place[certain] = np.arange(len(certain)) - first
    possible = alone[history.status[alone] == Status.INFO]
    chain[possible] = len(history.sessions) + np.arange(len(possible))
    return chain, place, len(history.sessions) + len(possible)
