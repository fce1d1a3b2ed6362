"""The order service under the hunt: which of its requests race, and which are not atomic when something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zephyr_lab.course.strategies import own_level
from zephyr_lab.functions.once import once
from zephyr_lab.hunt.decision import Decision
from zephyr_lab.hunt.report import Hunt
from zephyr_lab.orders import example
from zephyr_lab.orders.requests import NOT_ITS_OWN, requests
from zephyr_lab.orders.strategies import STRATEGIES, strategy

NOTHING = ""
FAULTS = {
    NOTHING: "nothing fails",
    "crash": "a process dies",
    "lost-commit": "the answer to COMMIT is lost",
    "redis-timeout": "Redis does not answer",
}
"""The columns of the table, by the fault that each schedule may have one of."""


@dataclass(frozen=True)
class Row:
    """A strategy at its own level: the decisions on its requests, by fault."""

    strategy: str
    hunts: dict[str, Hunt]

    def races(self, fault: str) -> list[str]:
        """What races with at most one such fault, and would not without it; sorted."""
        found = {_name(one) for one in self.hunts[fault].races}
        return sorted(found - (set(self.races(NOTHING)) if fault and NOTHING in self.hunts else set()))

    def cell(self, fault: str) -> str:
        """What races; `not decided` beside it where that is so."""
        open_ = [_name(one) for one in self.hunts[fault].undecided]
        schedules = sum(one.schedules for one in self.hunts[fault].decisions.values())
        said = ", ".join(self.races(fault)) or f"nothing in {schedules:,}"
        return said + (f"; not decided: {', '.join(open_)}" if open_ else "")


def _name(decision: Decision) -> str:
    return " + ".join(decision.operations)


def hunted(
    lab: Any,
    names: Iterable[str] = STRATEGIES,
    faults: Sequence[str] = tuple(FAULTS),
    on_progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Hunts every pair of the service's requests, for each strategy at its own level, once for each fault.

    `lab` is a `Lab`; one strategy takes half a minute without faults, and some minutes with them.
    """
    rows = []
    for name in names:
        row = Row(name, {fault: _hunt(lab, name, fault) for fault in faults})
        rows.append(row)
        if on_progress:
            on_progress(row)
    return rows


def _hunt(lab: Any, name: str, fault: str) -> Hunt:
    one = strategy(name)
    setup = example.setup(one)
    found: Hunt = lab.hunt(
        requests(one),
        setup=setup if isinstance(setup, str) else once(setup),
        isolation=own_level(name),
        ignore=NOT_ITS_OWN,
        reduction=True,  # the service keeps nothing in memory that its requests share
        faults={fault: 1} if fault else {},
    )
    return found


def to_markdown(rows: Iterable[Row]) -> str:
    """A row for each strategy, a column for each fault."""
    rows = list(rows)
    faults = list(rows[0].hunts)
    lines = ["| strategy | " + " | ".join(FAULTS[one] for one in faults) + " |", "|---" * (len(faults) + 1) + "|"]
    lines += [f"| {row.strategy} | " + " | ".join(row.cell(fault) for fault in faults) + " |" for row in rows]
    return "\n".join(lines)
