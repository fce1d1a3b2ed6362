"""The matrix of anomalies and isolation levels: in each cell the verdict over all schedules, with counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zephyr_lab.anomalies.catalogue import GROUPS, Anomaly, anomaly
from zephyr_lab.errors import BadInput
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.verdict import Verdict, VerdictKind
from zephyr_lab.extras import or_text
from zephyr_lab.schedule.levels import IsolationLevel

LEGEND = {
    "occurs": "in some schedule the outcome is one that no serial order gives",
    "prevented": "in every schedule the outcome is one that a serial order gives",
    "aborts": "prevented, because a transaction is aborted: 40001 and 40P01 ask for a retry, other errors do not",
}


@dataclass(frozen=True)
class Cell:
    """One anomaly at one level: all schedules of its case, and its own schedule as an example."""

    exploration: Exploration
    verdict: Verdict

    @property
    def kind(self) -> VerdictKind:
        return self.exploration.kind

    def counts(self) -> str:
        """`18 of 20`, `0 of 20, 18 aborted, 4 false positives`: of all schedules, including those that were not run."""
        known = self.exploration.known
        words = [f"{known.anomalous} of {known.schedules}"]
        words += [f"{known.aborted} aborted"] if known.aborted else []
        words += [f"{known.false_positives} false positives"] if known.false_positives else []
        words += [f"{known.undecided} undecided"] if known.undecided else []
        return ", ".join(words)

    def __str__(self) -> str:
        return f"{self.kind}: {self.counts()}"

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON: the exploration, and the verdict on the case's own schedule with its transcript."""
        return {**self.verdict.to_dict(), "all_orders": self.exploration.to_dict()}


@dataclass(frozen=True)
class Counted:
    """A matrix as rows: an anomaly, and a word with counts for each level: `("phantom", "occurs: 4 of 10", ...)`."""

    server: str
    rows: Sequence[tuple[str, ...]]

    @classmethod
    def of(cls, server: str, found: Mapping[str, Any]) -> Counted:
        """From the result cell of a notebook: `matrix` and `counts`, by anomaly and level."""
        levels = [str(level) for level in IsolationLevel]
        words, counts = found["matrix"], found["counts"]
        return cls(server, [(name, *(f"{words[name][one]}: {counts[name][one]}" for one in levels)) for name in words])

    def __str__(self) -> str:
        table = [("anomaly", *map(str, IsolationLevel)), *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = [
            "  ".join(f"{word:<{width}}" for word, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([*lines, "", *(f"{word}: {meaning}" for word, meaning in LEGEND.items())])


@dataclass(frozen=True)
class Matrix:
    """The cells by anomaly (its name) and level. `server` is the server's name and version."""

    server: str
    cells: Mapping[tuple[str, IsolationLevel], Cell]

    @property
    def anomalies(self) -> list[Anomaly]:
        return [anomaly(name) for name in dict.fromkeys(name for name, _ in self.cells)]

    def groups(self, *names: str) -> Matrix:
        """The part of the matrix for these groups of the catalogue. Raises BadInput if it is empty."""
        kept = {key: cell for key, cell in self.cells.items() if anomaly(key[0]).group in names}
        if not kept:
            raise BadInput(f"nothing was measured of {', '.join(names)}; the groups are: {', '.join(GROUPS)}")
        return Matrix(self.server, kept)

    def words(self) -> list[tuple[str, ...]]:
        """One row per anomaly: its name, then the word for each of the four levels."""
        return [
            (one.name, *(str(self.cells[one.name, level].kind) for level in IsolationLevel)) for one in self.anomalies
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """One row per anomaly: its name, then the verdict at each of the four levels, with counts."""
        return [(one.name, *(str(self.cells[one.name, level]) for level in IsolationLevel)) for one in self.anomalies]

    def counted(self) -> Counted:
        """The same without transcripts."""
        return Counted(self.server, self.rows())

    def unexpected(self) -> list[str]:
        """Cells that differ from the catalogue's expectation, in words; empty if all are as the manual says."""
        return [
            f"{one.name} at {level}: expected {one.expected[level]}, measured {self.cells[one.name, level].kind}"
            for one in self.anomalies
            for level in IsolationLevel
            if self.cells[one.name, level].kind is not one.expected[level]
        ]

    def to_dict(self) -> dict[str, Any]:
        """`matrix` is a word by anomaly and level, `counts` are of all schedules, `evidence` the data behind both."""
        return {
            "server": self.server,
            "levels": [str(level) for level in IsolationLevel],
            **self.cells_by_name(),
            "evidence": self._by_name(Cell.to_dict),
            "unexpected": self.unexpected(),
        }

    def cells_by_name(self) -> dict[str, dict[str, dict[str, str]]]:
        """`matrix` and `counts`, each by anomaly and level."""
        return {"matrix": self._by_name(lambda cell: str(cell.kind)), "counts": self._by_name(Cell.counts)}

    def _by_name(self, of: Callable[[Cell], Any]) -> dict[str, dict[str, Any]]:
        levels = list(IsolationLevel)
        return {one.name: {str(level): of(self.cells[one.name, level]) for level in levels} for one in self.anomalies}

    def to_markdown(self) -> str:
        header = ["anomaly", *map(str, IsolationLevel)]
        lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *self.rows()]]
        return "\n".join([*lines, "", *(f"*{word}*: {meaning}.  " for word, meaning in LEGEND.items())])

    def __str__(self) -> str:
        return str(self.counted())

    __repr__ = __str__

    @or_text
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from zephyr_lab.views.grid import grid

        return grid([str(level) for level in IsolationLevel], self.rows(), LEGEND, text=str(self)).mimebundle()
