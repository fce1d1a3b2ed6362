"""False positives of SERIALIZABLE: judged by the schedule without conflict detection, each class of orders once."""

from __future__ import annotations

from zephyr_lab import Lab
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.footprint import Rows
from zephyr_lab.explore.symmetry import Step, Trace, labels


def test_the_schedule_without_conflict_detection_is_run_once_for_equivalent_orders(lab: Lab) -> None:
    """Most of 146 are refused; without SERIALIZABLE they differ in a few ways only."""
    case = lab.case("write-skew", isolation="serializable").with_sessions(3)
    before = lab.engine.runner.begun
    found = case.explore(shrink=False)
    refused = found.aborted
    assert refused > 100
    assert lab.engine.runner.begun - before < found.schedules + refused  # the serial orders are among them
    assert found.false_positives == 0


def test_an_order_is_of_a_trace_if_its_dependent_steps_are_in_place() -> None:
    """Steps of one session are dependent, too; and the steps must be the same ones."""
    row, other = frozenset({Rows("t", "id", 1)}), frozenset({Rows("t", "id", 2)})

    def writes(session: str, rows: frozenset[Rows]) -> Step:
        return Step(session, Effect(frozenset({session}), locks=rows, publishes=rows))

    trace = Trace([writes("A", row), writes("B", other), writes("C", row), writes("A", other)])

    def has_order(sessions: str) -> bool:
        return trace.has_order({step: place for place, step in enumerate(labels(sessions))})

    assert has_order("ABCA")
    assert has_order("BACA")
    assert not has_order("CABA")  # C's and A's write of the row
    assert not has_order("ACAB")  # B's and A's write of the other one
    assert not has_order("ABC")
    assert not has_order("ABCAA")
