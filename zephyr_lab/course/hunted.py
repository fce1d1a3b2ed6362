"""The order service under the hunt: which of its requests race, and which are not atomic when something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from zephyr_lab.course.strategies import own_level
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.functions.once import once
from zephyr_lab.orders import example
from zephyr_lab.orders.requests import NOT_ITS_OWN, requests
from zephyr_lab.orders.strategies import STRATEGIES, strategy

FAILURES: dict[str, dict[str, Any]] = {
    "a process dies": {"faults": {"crash": 1}},
    "the answer to COMMIT is lost": {"faults": {"lost-commit": 1}},
    "Redis answers too late": {"faults": {"redis-timeout": 1}},
    "both, and it is sent again": {"faults": {"crash": 1, "lost-commit": 1}, "retry": True},
}
"""What a request meets when it is alone: options of `Lab.explore`."""


@dataclass(frozen=True)
class Row:
    """A strategy at its own level: the pairs of requests that race when nothing fails, of so many schedules; and by
    failure, the requests that do not happen wholly or not at all, or exactly once where they are sent again."""

    strategy: str
    races: tuple[str, ...]
    schedules: int
    gaps: dict[str, tuple[str, ...]]
    open: tuple[str, ...] = ()

    def cells(self) -> list[str]:
        races = ", ".join(self.races) or f"none in {self.schedules:,}"
        undecided = f"; not decided: {', '.join(self.open)}" if self.open else ""
        return [races + undecided, *(", ".join(self.gaps[name]) or "-" for name in FAILURES)]


def hunted(lab: Any, names: Iterable[str] = STRATEGIES, on_progress: Callable[[Row], None] | None = None) -> list[Row]:
    """Hunts every pair of the service's requests, and explores each alone with each failure; a minute a strategy.

    `lab` is a `Lab`. Raises BadInput for a name that there is not.
    """
    rows = []
    for name in names:
        rows.append(_row(lab, name))
        if on_progress:
            on_progress(rows[-1])
    return rows


def _row(lab: Any, name: str) -> Row:
    one = strategy(name)
    setup = example.setup(one)
    options: dict[str, Any] = {
        "setup": setup if isinstance(setup, str) else once(setup),
        "isolation": own_level(name),
        "ignore": NOT_ITS_OWN,
    }
    asked = requests(one)
    # The service keeps nothing in memory that its requests share.
    pairs = lab.hunt(asked, reduction=True, **options)
    gaps: dict[str, tuple[str, ...]] = {}
    open_ = [" + ".join(one.operations) for one in pairs.undecided]
    for failure, faults in FAILURES.items():
        found: dict[str, Exploration] = {
            request: lab.explore([function], **options, **faults, may_raise=True, shrink=False)
            for request, function in asked.items()
        }
        gaps[failure] = tuple(request for request, alone in found.items() if alone.anomalous)
        open_ += [f"{request}, {failure}" for request, alone in found.items() if not alone.complete]
    schedules = sum(one.schedules for one in pairs.decisions.values())
    races = tuple(sorted(" + ".join(one.operations) for one in pairs.races))
    return Row(name, races, schedules, gaps, tuple(open_))


def to_markdown(rows: Iterable[Row]) -> str:
    """A row for each strategy."""
    lines = ["| strategy | pairs that race | " + " | ".join(FAILURES) + " |", "|---" * (len(FAILURES) + 2) + "|"]
    return "\n".join(lines + [f"| {row.strategy} | " + " | ".join(row.cells()) + " |" for row in rows])
