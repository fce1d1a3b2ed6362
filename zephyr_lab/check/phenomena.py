"""Derives anomalies, with their cases and cycles, from an inference's edges, and the levels that these rule out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zephyr_lab.check import cycles, levels
from zephyr_lab.check.cycles import Cycle
from zephyr_lab.check.graph import Edges, Kind, process_edges, realtime_edges
from zephyr_lab.check.history import History
from zephyr_lab.check.inference import Inference
from zephyr_lab.check.levels import Order
from zephyr_lab.check.ranks import ranked

_WW, _WR = (Kind.WW,), (Kind.WW, Kind.WR)
_ALL = (Kind.WW, Kind.WR, Kind.RW, Kind.RW_ON)
_PREFIXES = {Order.DATA: "", Order.PROCESS: "strong-session-", Order.REALTIME: "strong-"}


@dataclass
class Findings:
    """`cases`: anomalies without a cycle, with evidence; `cycles`: anomalies with one; `exists`: levels whose cycle was
    proved to exist, and `proofs` how, by anomaly. `empty`: no edge at all. `inner`: the edges that lie on
    cycles. `acyclic`: there are none, and no order of versions is open, so it is serializable, with session order and
    real time if the level includes these."""

    cases: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cycles: dict[str, list[Cycle]] = field(default_factory=dict)
    exists: list[str] = field(default_factory=list)
    proofs: dict[str, str] = field(default_factory=dict)
    empty: bool = False
    inner: Edges = field(default_factory=lambda: Edges.joined([], 0))
    acyclic: bool = False

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys([*self.cases, *self.cycles, *self.names_of_existence]))

    @property
    def names_of_existence(self) -> list[str]:
        return [self.name_of(level) for level in self.exists]

    @staticmethod
    def name_of(level: str) -> str:
        """The name of the anomaly that a cycle forbidden by the level exists."""
        return level + levels.CYCLE_EXISTS


def examine(history: History, inference: Inference, level: str) -> Findings:
    """All anomalies in the data, and those of session order and real time if the level includes these."""
    needs = levels.needs(level)
    nodes, n = inference.nodes, len(history)
    parts, orders = list(inference.parts), [Order.DATA]
    realtime = needs is Order.REALTIME and history.timed
    if needs:
        parts.append(process_edges(history, nodes))
        orders.append(Order.PROCESS)
    if any((part.target < n).any() for part in parts) and ranked(history, parts, nodes, realtime):
        return Findings(dict(inference.found), acyclic=inference.complete)
    whole = Edges.joined(parts, nodes)
    if realtime:
        times = realtime_edges(history, nodes)
        whole = Edges.joined([whole, times], times.nodes)
        orders.append(Order.REALTIME)
    found = Findings(dict(inference.found), empty=not (whole.target < n).any())
    inner = found.inner = cycles.cyclic_part(whole)
    found.acyclic = inference.complete and not len(inner)
    if len(inner):
        for order in orders:
            for cycle in cycles.find(inner, order, n):
                found.cycles.setdefault(cycle.anomaly, []).append(cycle)
        for order in orders:
            _prove(inner, order, found)
    return found


def _prove(edges: Edges, order: Order, found: Findings) -> None:
    """Adds the levels whose forbidden cycles exist, unless an anomaly found so far rules the level out."""
    extra = cycles.ORDER_KINDS[order]
    prefix = _PREFIXES[order]
    tests: dict[str, Callable[[], bool]] = {
        "read-uncommitted": lambda: cycles.has_cycle(edges, _WW + extra),
        "read-committed": lambda: cycles.has_cycle(edges, _WR + extra),
        "snapshot-isolation": lambda: cycles.has_cycle_without_adjacent_rw(
            edges.where(np.isin(edges.kind, np.array(_ALL + extra, np.int8))), _WR + extra
        ),
        "repeatable-read": lambda: (
            order is Order.DATA and cycles.has_cycle(edges.where(~cycles.by_predicate(edges)), _ALL)
        ),
        "serializable": lambda: cycles.has_cycle(edges, _ALL + extra),
    }
    for name, exists in tests.items():
        level = prefix + name
        if level not in levels.IMPLIES:
            continue
        ruled_out = any(level in levels.violated_by(anomaly) for anomaly in found.names)
        if not ruled_out and exists():
            found.exists.append(level)
            found.proofs[found.name_of(level)] = "a cycle exists, and was not found within the bounds of the search"
