"""Operations of one transaction on one key as chains, and joins of ranges: shared by the inferences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.history import READ, History

_FEW = 32
"""Operations of a transaction up to which comparing each with those before it takes less than sorting."""


@dataclass(frozen=True)
class Chains:
    """For each operation, the one `before` it of the same transaction on the same key, and the `next_write` after it;
    -1: none."""

    before: Ints
    next_write: Ints


def chains(history: History) -> Chains:
    """The chains of a history."""
    h = history
    before = _before(h)
    later = np.flatnonzero(before >= 0)
    after = np.full(len(before), -1, np.int32)
    after[before[later]] = later
    next_write = after.copy()
    while len(skip := np.flatnonzero((next_write >= 0) & (h.kind[next_write] == READ))):
        next_write[skip] = after[next_write[skip]]
    return Chains(before, next_write)


def _before(history: History) -> Ints:
    owner, key = history.owner, history.key
    before = np.full(len(owner), -1, np.int32)
    longest = int(np.diff(history.start).max(initial=0))
    if longest > _FEW:
        group = owner.astype(np.int64) * max(len(history.keys), 1) + key
        order = np.argsort(group, kind="stable")
        same = group[order][1:] == group[order][:-1]
        before[order[1:][same]] = order[:-1][same]
        return before
    for back in range(1, longest):
        same = key[back:] == key[:-back]
        same &= owner[back:] == owner[:-back]
        same &= before[back:] < 0
        place = np.flatnonzero(same)
        before[place + back] = place
    return before


def spread(items: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins each item with the numbers from its start to its end."""
    count = end - start
    return np.repeat(items, count), np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - start, count)
