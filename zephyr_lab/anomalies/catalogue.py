"""Each anomaly with its definition, its source, its case, and what PostgreSQL is expected to do about it at each level.

The entries are data (data/catalogue.toml). An expectation is for all schedules of the case; the matrix, the notebooks
and the tests measure it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.explore.verdict import VerdictKind
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.shipped import shipped

GROUPS = ("dirty", "reads", "writes", "skew", "guards", "inserts", "queues and locks", "serializable")
"""The first four are the literature's anomalies, the others remedies, good or bad."""


@dataclass(frozen=True)
class Anomaly:
    """An anomaly, or a flawed remedy; the latter has no `phenomenon` in the literature.

    `case` is the spec in sql/schedules whose first permutation shows it. `expected` is the verdict at a level over all
    schedules: `occurs` if any does; else `aborts ...` if any aborts a transaction, 40001 before 40P01 before other
    errors; else `prevented`.
    """

    name: str
    title: str
    group: str
    phenomenon: str
    definition: str
    source: str
    case: str
    expected: Mapping[IsolationLevel, VerdictKind]


def _entry(fields: dict[str, Any]) -> Anomaly:
    read_committed, *above = map(VerdictKind, fields.pop("expected"))
    # READ UNCOMMITTED is accepted by PostgreSQL and behaves as READ COMMITTED (manual, 13.2).
    levels = zip(IsolationLevel, (read_committed, read_committed, *above), strict=True)
    return Anomaly(**fields, case=fields["name"], expected=dict(levels))


def _read() -> tuple[Anomaly, ...]:
    text = shipped("data", "catalogue.toml").read_text(encoding="utf-8")
    return tuple(map(_entry, tomllib.loads(text)["anomaly"]))


CATALOGUE: tuple[Anomaly, ...] = _read()


def anomaly(name: str) -> Anomaly:
    """An anomaly of the catalogue by its name. Raises BadInput, listing the names."""
    for one in CATALOGUE:
        if one.name == name:
            return one
    raise BadInput(f"unknown anomaly {name!r}; the catalogue has: {', '.join(one.name for one in CATALOGUE)}")
