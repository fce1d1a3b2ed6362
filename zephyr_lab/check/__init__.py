"""Histories of transactions: which isolation level one satisfies, and the cycle that proves that it does not.

A **history** is transactions with what they read and wrote, as columns (`columns`, `history`), read from three forms
(`files`, `forms`, `edn`; `records` says what is wrong with a transaction; `scan` reads most JSON lines without an
object per value; `foreign` and `mapping` what others wrote).
`lists` infers the order of versions from the longest read of each key, `registers` only what is certain or recorded,
`predicates` the versions that a predicate must have read; each gives edges (ww, wr, rw) and the anomalies that need
no graph. `graph` adds session order and real time, the latter through a chain of barriers, one per completion, so
that it stays linear; many readers and writers of one version are linked by a hub. `ranks` looks for an order that all
edges follow, which most valid histories have; else `cycles` decides by strongly connected components whether a cycle
of each class exists (for snapshot isolation in a graph of pairs: node, and whether an rw led to it), and then
searches for a shortest one in each component, within a bounded number of nodes, and makes it shorter (`chords`): a
cycle that is proved but not found is reported as `LEVEL-cycle-exists`. `levels` is the lattice: which anomaly rules
out which levels. `verdict` decides what no anomaly rules out, or says why it cannot: for registers only the history's
facts are used, and of lists what lies on a cycle. `polygraph` has what is known and what is open; `serial`,
`snapshot` and `orders` (with the cycles of `shapes`) add what follows, to a fixed point on bit rows, and leave the
rest to a SAT solver that learns each cycle as a clause (`chooser`); `likely` does so for large histories without bit
rows, choosing only where a likely order is wrong. `axioms` are the weak levels, polynomial, and near-linear by vector
clocks (`clocks`); `sessions` the guarantees of sessions. Past all bounds the answer is *cannot tell*. `report` and
`explain` describe a cycle, `views/dependencies` draws it. `operations` are Jepsen's workloads without transactions.
docs/checker.md says which level is decided how.

Names and verdicts are Elle's, with four differences: all classes of a component are reported, not the worst alone;
with real time the order of sessions counts as well, so that the weakest violated level is named; register histories are
decided; and a value that nobody wrote is an anomaly. If two reads of a key are equally long and disagree, the first in
the file gives the order, and the anomaly *incompatible-order* reports it. `tests/oracles/test_labelled_histories.py`
compares with 216 published histories; `tests/check/test_against_explorer.py` with the explorer, schedule by schedule;
`tests/check/brute.py` has the levels by definition, over every order of versions.
"""

from zephyr_lab.extras import needed_by

with needed_by("zephyr_lab.check"):
    from zephyr_lab.check.checker import check
    from zephyr_lab.check.history import History, Workload
    from zephyr_lab.check.many import check_all
    from zephyr_lab.check.read import from_transactions, parse, read, write
    from zephyr_lab.check.registers import Assumptions
    from zephyr_lab.check.report import Finding, Report

__all__ = [
    "Assumptions",
    "Finding",
    "History",
    "Report",
    "Workload",
    "check",
    "check_all",
    "from_transactions",
    "parse",
    "read",
    "write",
]
