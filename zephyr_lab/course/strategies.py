"""The order service's strategies over all schedules of two or three sessions: which oversell, at which level."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.functions.once import once
from zephyr_lab.orders import example
from zephyr_lab.orders.strategies import STRATEGIES, strategy
from zephyr_lab.schedule.levels import IsolationLevel

DRAWN = 8
"""Random schedules of three sessions at a level that is not a strategy's own; no proof, but most errors show."""

MANY = frozenset({"serializable-retry"})
"""Strategies of which reduction leaves too many schedules of three sessions: more than 5,000."""

LEVELS = [level for level in IsolationLevel if level is not IsolationLevel.READ_UNCOMMITTED]


@dataclass(frozen=True)
class Cell:
    """A strategy at a level: how many of the schedules are anomalous, oversell, or abort a session with 40001."""

    strategy: str
    level: str
    sessions: int
    kind: str
    schedules: int
    anomalous: int
    oversold: int
    aborted: int
    complete: bool

    def __str__(self) -> str:
        of = f"{self.schedules}" if self.complete else f"{self.schedules} drawn"
        if self.oversold != self.anomalous:
            return f"{self.kind}, oversold in {self.oversold} of {of}"  # a case that oversells in any serial order
        if self.anomalous:
            return f"{self.kind}: {self.anomalous} of {of}"
        return f"{self.kind}: {self.aborted} of {of}" if self.aborted else f"{self.kind} in {of}"


def explore_strategy(
    lab: Any, name: str, isolation: Any, *, sessions: int = 2, samples: int | None = None, partitioned: bool = False
) -> Exploration:
    """Sessions that each want the slot's last place, at a level that overrides the strategy's own.

    All schedules of two, of more those that reduction leaves; or `samples` random ones. `lab` is a `Lab`. Raises
    BadInput.
    """
    one = strategy(name)
    setup = example.setup(one, partitioned=partitioned)
    explorer = lab.function_explorer(
        [example.booking(one, number + 1) for number in range(sessions)],
        setup=setup if isinstance(setup, str) else once(setup),
        isolation=isolation,
        invariant=example.INVARIANT,
    )
    if samples is None and sessions > 2:
        reduced: Exploration = explorer.search(True)
        return reduced
    found: Exploration = explorer.explore(Exhaustive() if samples is None else Sampled(range(samples), 0))
    return found


def own_level(name: str) -> IsolationLevel:
    """The level that a strategy is meant for: READ COMMITTED unless it says otherwise."""
    own = strategy(name).isolation
    return IsolationLevel.READ_COMMITTED if own is None else IsolationLevel.of(own)


def measure(
    lab: Any,
    names: Iterable[str] = STRATEGIES,
    *,
    sessions: int = 2,
    samples: int | None = None,
    on_progress: Callable[[Cell], None] | None = None,
) -> list[Cell]:
    """Every strategy at every level: all schedules of two sessions.

    Of more, all at a strategy's own level, and `DRAWN` random ones at others, or if they are too `MANY`; unless
    `samples` says how many.
    """
    cells = []
    for name in names:
        for level in LEVELS:
            all_of_them = sessions == 2 or (level is own_level(name) and name not in MANY)
            drawn = samples if samples or all_of_them else DRAWN
            found = explore_strategy(lab, name, level, sessions=sessions, samples=drawn)
            known, kind = found.known, str(found.kind)
            counts = (known.schedules, known.anomalous, known.violated, known.aborted)
            cells.append(Cell(name, str(level), sessions, kind, *counts, found.complete))
            if on_progress:
                on_progress(cells[-1])
    return cells


def to_markdown(cells: Iterable[Cell]) -> str:
    """A row for each strategy, a column for each level; its own level in bold."""
    cells = list(cells)
    lines = ["| strategy | " + " | ".join(map(str, LEVELS)) + " |", "|---" * (len(LEVELS) + 1) + "|"]
    for name in dict.fromkeys(cell.strategy for cell in cells):
        mine = str(own_level(name))
        row = {
            cell.level: f"**{cell}**" if cell.level == mine else str(cell) for cell in cells if cell.strategy == name
        }
        lines.append(f"| {name} | " + " | ".join(row[str(level)] for level in LEVELS) + " |")
    return "\n".join(lines)


def to_frame(cells: Iterable[Cell]) -> Any:
    """As a pandas DataFrame, a row for each cell."""
    import pandas as pd

    return pd.DataFrame([asdict(cell) for cell in cells])
