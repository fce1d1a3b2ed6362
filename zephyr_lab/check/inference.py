"""The result of an inference, whichever the workload: edges, and anomalies without a cycle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.graph import Edges

MOST_CASES = 10_000
"""Cases reported of one anomaly without a cycle; more add nothing."""


@dataclass
class Inference:
    """Edges without session order and real time, in `parts`, and the anomalies without a cycle: anomaly -> its cases.

    `open_writes`: operations whose versions have no order yet, with none that was read; `complete`: no other is open.
    """

    parts: list[Edges]
    nodes: int
    open_writes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    complete: bool = True
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def edges(self) -> Edges:
        """All of them; of valid histories, which are many, nobody asks."""
        return Edges.joined(self.parts, self.nodes)

    def add(self, anomaly: str, **case: Any) -> None:
        cases = self.found.setdefault(anomaly, [])
        if len(cases) < MOST_CASES:
            cases.append(case)
