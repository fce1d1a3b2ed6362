"""Deadlocks in the graph of who waits for whom."""

from __future__ import annotations

from zephyr_lab.schedule.waiting import in_a_cycle


def test_a_session_is_in_a_cycle_if_it_waits_for_itself_over_others() -> None:
    """A chain into a cycle is not in it."""
    graph = {1: frozenset({2}), 2: frozenset({3, 9}), 3: frozenset({1}), 4: frozenset({1}), 5: frozenset({9})}
    assert [pid for pid in (1, 2, 3, 4, 5, 9) if in_a_cycle(pid, graph)] == [1, 2, 3]
