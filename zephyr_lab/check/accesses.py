"""What other transactions can notice of a transaction: its reads of others' writes, and its last writes.

The same for both workloads: a read of a list is one of the version that its last element made.
"""

from __future__ import annotations

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import chains
from zephyr_lab.check.history import NULL, READ, WRITE, History, Status, Workload
from zephyr_lab.check.versions import happened, writers


class Accesses:
    """The operations that other transactions can notice.

    Of each operation: `before`, `next_write` (see `chains`); `own`: the transaction's write of the key before it (-1:
    none); `ok`: whether what it read counts; `writer`: the operation that wrote what it read (-1: none). `seen`: reads
    that found something; `reads`: those before any other operation of their key; `writes`: last writes.
    """

    def __init__(self, history: History) -> None:
        self.history = h = history
        self.owner = h.owner
        of_key = chains(h)
        self.before, self.next_write = of_key.before, of_key.next_write
        self.final = (h.kind == WRITE) & (self.next_write < 0)
        self.codes = h.codes
        self.live, self.failed = writers(h, self.codes)
        self.happened = happened(h, self.codes, self.live)
        # The null of an indeterminate read is what was not told, and no read of nothing.
        told = h.size >= 0 if h.workload is Workload.LIST_APPEND else h.value != NULL
        self.ok = (h.status == Status.OK)[self.owner] | (self.happened[self.owner] & told)
        self.before = self._back_to((h.kind == WRITE) | self.ok)
        self.own = self._back_to(h.kind == WRITE)
        self.possible = (h.status != Status.FAIL)[self.owner]
        self.reads = np.flatnonzero((h.kind == READ) & (self.before < 0) & self.ok)
        self.seen = np.flatnonzero((h.kind == READ) & (h.value != NULL) & self.ok)
        self.writer = np.full(len(h.kind), -1, np.int64)
        self.writer[self.seen] = self.live.get(self.codes.of(h.key[self.seen], h.value[self.seen]))
        self.writes = np.flatnonzero(self.final & self.happened[self.owner])

    def _back_to(self, chosen: Bools) -> Ints:
        """Of each operation, the latest of the chosen ones before it in its chain."""
        found = self.before.copy()
        while (skip := (found >= 0) & ~chosen[found]).any():
            found[skip] = self.before[found[skip]]
        return found

    def of_others(self) -> tuple[Ints, Ints]:
        """Reads of what another transaction, or nobody, wrote last, and the write (-1: the initial state).

        The reads that are left out see no version of another transaction's: those of own writes, and those that are
        anomalies without a cycle, found by the inference.
        """
        h = self.history
        reads = np.flatnonzero((h.kind == READ) & self.ok & (self.own < 0))
        writer = self.writer[reads]
        of_other = (writer >= 0) & self.final[writer] & (self.owner[writer] != self.owner[reads])
        chosen = of_other | (h.value[reads] == NULL)
        return reads[chosen], np.where(of_other, writer, -1)[chosen]
