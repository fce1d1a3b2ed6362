"""Versions of keys: tables by the codes of keys with values (see `codes`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import spread
from zephyr_lab.check.codes import Codes
from zephyr_lab.check.history import NULL, READ, WRITE, History, Status, Workload

_DENSE = 64 << 20


class Table:
    """From codes to numbers (32 bits); -1 if there is none. A later entry of a code wins."""

    def __init__(self, codes: Ints, numbers: Ints, size: int) -> None:
        self._dense = size <= min(_DENSE, 16 * len(codes) + (1 << 20))
        if self._dense:
            self._numbers = np.full(size, -1, np.int32)
            self._numbers[codes] = numbers
        else:
            order = np.argsort(codes, kind="stable")
            codes = codes[order]
            last = np.append(codes[1:] != codes[:-1], True) if len(codes) else np.zeros(0, bool)
            self._codes, self._numbers = codes[last], numbers[order][last].astype(np.int32)

    def get(self, codes: Ints) -> Ints:
        if self._dense:
            numbers: Ints = self._numbers.take(codes)
            return numbers
        if not len(self._codes):
            return np.full(len(codes), -1, np.int32)
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[place] == codes, self._numbers[place], np.int32(-1))


def writers(history: History, codes: Codes) -> tuple[Table, Table]:
    """From versions to the operation that wrote each: of possible (ok or info) transactions, and of failed ones.

    A committed write wins over an indeterminate one, which was retried.
    """
    ops = np.flatnonzero(history.kind == WRITE)
    status = history.status[history.owner[ops]]
    of_writes = codes.of(history.key[ops], history.value[ops])
    # The table keeps the last of a code: first the indeterminate, then the committed.
    possible = [ops[status == wanted] for wanted in (Status.INFO, Status.OK)]
    ordered = np.concatenate(possible)
    live = np.concatenate([of_writes[status == wanted] for wanted in (Status.INFO, Status.OK)])
    failed = status == Status.FAIL
    return Table(live, ordered, codes.size), Table(of_writes[failed], ops[failed], codes.size)


def happened(history: History, codes: Codes, live: Table) -> Bools:
    """Of each transaction, whether it did: committed ones, and indeterminate ones that these read from, or others that
    happened. What nobody saw of an indeterminate one may not have."""
    h = history
    known: Bools = h.status == Status.OK
    if not (h.status == Status.INFO).any():
        return known
    reads = np.flatnonzero((h.kind == READ) & (h.value != NULL) & (h.status != Status.FAIL)[h.owner])
    if h.workload is Workload.LIST_APPEND:
        reads, at = spread(reads, h.at[reads], h.at[reads] + h.size[reads])
        seen = h.elements[at]
    else:
        seen = h.value[reads]
    writer = live.get(codes.of(h.key[reads], seen))
    source, target = h.owner[writer[writer >= 0]], h.owner[reads[writer >= 0]]
    while (more := known[target] & ~known[source]).any():
        known[source[more]] = True
    return known


def duplicate_write(history: History) -> tuple[int, int, Any, Any] | None:
    """The lines of two committed transactions (or one) that write the same value to a key, the key and the value."""
    ops = np.flatnonzero(history.kind == WRITE)
    owner = history.owner[ops]
    if (history.status != Status.OK).any():
        certain = history.status[owner] == Status.OK
        ops, owner = ops[certain], owner[certain]
    codes = history.codes
    of_writes = codes.of(history.key[ops], history.value[ops])
    dense = codes.size <= min(_DENSE, 16 * len(ops) + (1 << 20))
    if not len(ops) or (dense and np.bincount(of_writes).max() < 2):
        return None
    order = np.argsort(of_writes, kind="stable")
    again = np.flatnonzero(of_writes[order][1:] == of_writes[order][:-1])
    if not len(again):
        return None
    pairs = np.stack([order[again], order[again + 1]])
    first, second = pairs[:, pairs[1].argmin()]
    op = int(ops[second])
    return (int(history.line[owner[first]]), int(history.line[owner[second]]), history.key_of(op), history.value_of(op))
