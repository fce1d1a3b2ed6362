"""Operations of one transaction on one key as chains, and joins of ranges: shared by the inferences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zephyr_lab.check.history import READ, History


@dataclass(frozen=True)
class Chains:
    """For each operation the one `before` it and `after` it, of the same transaction on the same key; -1: none.

    `order` has the operations chain after chain; `same[i]`: `order[i + 1]` is in the chain of `order[i]`.
    `next_write` leaves out the reads in between.
    """

    order: np.ndarray
    same: np.ndarray
    before: np.ndarray
    after: np.ndarray
    next_write: np.ndarray


def chains(history: History) -> Chains:
    """The chains of a history."""
    h = history
    group = h.owner.astype(np.int64) * max(len(h.keys), 1) + h.key
    order = np.argsort(group, kind="stable")
    same = group[order][1:] == group[order][:-1]
    before, after = np.full((2, len(group)), -1, np.int64)
    before[order[1:][same]] = order[:-1][same]
    after[order[:-1][same]] = order[1:][same]
    next_write = after.copy()
    while (skip := (next_write >= 0) & (h.kind[next_write] == READ)).any():
        next_write[skip] = after[next_write[skip]]
    return Chains(order, same, before, after, next_write)


def spread(items: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins each item with the numbers from its start to its end."""
    count = end - start
    return np.repeat(items, count), np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - start, count)
