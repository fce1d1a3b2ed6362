"""Anomalies down, isolation levels across: what happened in each cell's schedule, with the transcript as evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zephyr_lab.anomalies.catalogue import Anomaly, anomaly
from zephyr_lab.explore.verdict import Verdict
from zephyr_lab.schedule.levels import IsolationLevel

LEGEND = {
    "prevented": "the outcome is one that a serial order gives",
    "occurs": "no serial order gives the outcome",
    "aborts 40001": "a session is sent away with a serialization failure and must retry its whole transaction",
}


@dataclass(frozen=True)
class Matrix:
    """Measured verdicts by anomaly (its name) and level. `server` is the server's name and version."""

    server: str
    cells: Mapping[tuple[str, IsolationLevel], Verdict]

    @property
    def anomalies(self) -> list[Anomaly]:
        return [anomaly(name) for name in dict.fromkeys(name for name, _ in self.cells)]

    def rows(self) -> list[tuple[str, ...]]:
        """One row an anomaly: its name, then its verdict at each of the four levels."""
        return [
            (one.name, *(str(self.cells[one.name, level].kind) for level in IsolationLevel)) for one in self.anomalies
        ]

    def unexpected(self) -> list[str]:
        """Cells that differ from the catalogue's expectation, in words; empty when all is as the manual says."""
        return [
            f"{one.name} at {level}: expected {one.expected[level]}, measured {self.cells[one.name, level].kind}"
            for one in self.anomalies
            for level in IsolationLevel
            if self.cells[one.name, level].kind is not one.expected[level]
        ]

    def to_dict(self) -> dict[str, Any]:
        """`matrix` is the verdict by anomaly and level, `evidence` the schedule, outcomes and transcript behind it."""
        names = [one.name for one in self.anomalies]
        return {
            "server": self.server,
            "levels": [str(level) for level in IsolationLevel],
            "matrix": {
                name: {str(level): str(self.cells[name, level].kind) for level in IsolationLevel} for name in names
            },
            "evidence": {
                name: {str(level): self.cells[name, level].to_dict() for level in IsolationLevel} for name in names
            },
            "unexpected": self.unexpected(),
        }

    def to_markdown(self) -> str:
        header = ["anomaly", *map(str, IsolationLevel)]
        lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *self.rows()]]
        return "\n".join([*lines, "", *(f"*{word}*: {meaning}.  " for word, meaning in LEGEND.items())])

    def __str__(self) -> str:
        table = [("anomaly", *map(str, IsolationLevel)), *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([*lines, "", *(f"{word}: {meaning}" for word, meaning in LEGEND.items())])

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from zephyr_lab.views.grid import grid

        return grid([str(level) for level in IsolationLevel], self.rows(), LEGEND, text=str(self)).mimebundle()
