"""The last cell of a notebook: what it measured, for the reader as text and for CI as JSON.

The output is read back from the executed notebook by `read_result`; nbval compares it like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from zephyr_lab.anomalies import Matrix
    from zephyr_lab.explore.exploration import Exploration
    from zephyr_lab.explore.verdict import Verdict

MIME = "application/vnd.zephyr-lab.result+json"


@dataclass(frozen=True)
class NotebookResult:
    """The result of a notebook, as a dictionary for JSON."""

    found: dict[str, Any]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {MIME: self.found, "text/plain": str(self)}

    def __str__(self) -> str:
        flat = {**self.found, **self.found.get("cases", {})}
        return ", ".join(f"{name}: {value}" for name, value in flat.items() if not isinstance(value, dict))


def result(
    measured: Verdict | Matrix | Exploration | Sequence[Exploration], expected: str | None = None
) -> NotebookResult:
    """A notebook's result, of a verdict, an exploration of functions, those of several cases, or a matrix.

    Raises AssertionError if measured and expected differ.
    """
    # Whoever asks for a prediction imports this module, too, and needs none of these.
    from zephyr_lab.anomalies import Matrix, anomaly
    from zephyr_lab.explore.exploration import Exploration
    from zephyr_lab.explore.verdict import Verdict
    from zephyr_lab.schedule.levels import IsolationLevel

    if isinstance(measured, Matrix):
        assert not measured.unexpected(), measured.unexpected()
        found = {"cells": len(measured.cells), "unexpected": 0, **measured.cells_by_name()}
        return NotebookResult(found)
    if isinstance(measured, Verdict | Exploration):
        of = measured.transcript if isinstance(measured, Verdict) else measured
        found = {"case": of.case, "isolation_level": of.isolation, "verdict": str(measured.kind)}
        if expected is not None:
            assert found["verdict"] == expected, f"expected {expected}, measured {measured}"
            found["expected"] = expected
        return NotebookResult(found)
    (level,) = {one.isolation for one in measured}
    for one in measured:
        wanted = anomaly(one.case).expected[IsolationLevel.of(level)]
        assert one.kind is wanted, f"expected {wanted}, measured {one}"
    return NotebookResult({"isolation_level": level, "cases": {one.case: str(one.kind) for one in measured}})


def read_result(notebook: NotebookNode) -> dict[str, Any] | None:
    """The result of an executed notebook, or None."""
    for cell in reversed(notebook.cells):
        for output in cell.get("outputs", []):
            if MIME in output.get("data", {}):
                return dict(output.data[MIME])
    return None
