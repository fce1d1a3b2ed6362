"""An order that all edges follow is looked for part by part, and the answer does not depend on the parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from zephyr_lab import check
from zephyr_lab.check import ranks
from zephyr_lab.check.graph import Edges, Kind


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 16])
def test_a_cycle_is_never_in_order_and_a_path_is(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Wherever the edge against the order of the file is among the others: histories of one part are small."""
    monkeypatch.setattr(ranks, "_CHUNK", chunk)
    history = check.parse("\n".join(f"T{i}: append x {i}" for i in range(4)))
    for edges in itertools.permutations([(0, 1), (1, 2), (2, 3), (3, 0)]):
        for some, is_ordered in ((edges, False), (edges[1:], True)):
            source, target = np.array(some).T
            parts = [Edges.of(source, target, Kind.WW, 4)]
            assert ranks.ranked(history, parts, 4, realtime=False) is is_ordered
