"""Each anomaly with its definition, its source, its case, and what PostgreSQL is expected to do about it at each level.

The expectation is what the manual says (chapter 13.2, transaction isolation); the matrix and the notebooks measure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zephyr_lab.errors import BadInput
from zephyr_lab.explore.verdict import VerdictKind
from zephyr_lab.schedule.levels import IsolationLevel


@dataclass(frozen=True)
class Anomaly:
    """`case` is the spec in sql/schedules whose first permutation shows it; `expected` says what each level does."""

    name: str
    title: str
    phenomenon: str
    definition: str
    source: str
    case: str
    expected: Mapping[IsolationLevel, VerdictKind]


def _by_level(
    read_committed: VerdictKind, repeatable_read: VerdictKind, serializable: VerdictKind
) -> dict[IsolationLevel, VerdictKind]:
    """READ UNCOMMITTED is accepted by PostgreSQL and behaves as READ COMMITTED (manual, 13.2)."""
    levels = (read_committed, read_committed, repeatable_read, serializable)
    return dict(zip(IsolationLevel, levels, strict=True))


_BERENSON = "Berenson et al., A Critique of ANSI SQL Isolation Levels (1995)"
_MANUAL = "PostgreSQL manual, 13.2"

CATALOGUE: tuple[Anomaly, ...] = (
    Anomaly(
        "non-repeatable-read", "Non-repeatable read", "P2",
        "A transaction reads a row again and finds it changed by another transaction that committed in between.",
        f"{_BERENSON}, P2 (fuzzy read), in its strict form A2; {_MANUAL}", "non-repeatable-read",
        _by_level(VerdictKind.OCCURS, VerdictKind.PREVENTED, VerdictKind.PREVENTED),
    ),
    Anomaly(
        "phantom", "Phantom", "P3",
        "A transaction asks again for the rows that meet a condition and finds other rows, because another transaction "
        "that committed in between has put them there.",
        f"{_BERENSON}, P3, in its strict form A3; {_MANUAL}", "phantom",
        _by_level(VerdictKind.OCCURS, VerdictKind.PREVENTED, VerdictKind.PREVENTED),
    ),
    Anomaly(
        "lost-update", "Lost update", "P4",
        "Two transactions read the same row and write back what they computed from it; one write buries the other.",
        f"{_BERENSON}, P4; {_MANUAL}.2: could not serialize access due to concurrent update", "lost-update",
        _by_level(VerdictKind.OCCURS, VerdictKind.ABORTS_40001, VerdictKind.ABORTS_40001),
    ),
)  # fmt: skip


def anomaly(name: str) -> Anomaly:
    """An anomaly of the catalogue by its name. Raises BadInput, listing the names."""
    for one in CATALOGUE:
        if one.name == name:
            return one
    raise BadInput(f"unknown anomaly {name!r}; the catalogue has: {', '.join(one.name for one in CATALOGUE)}")
