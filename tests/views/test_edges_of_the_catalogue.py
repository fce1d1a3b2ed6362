"""The dependencies that a stepper lights: those of the textbooks, and none that a serial order could not have."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

import pytest

from tests.conftest import slots_spec
from zephyr_lab import Lab
from zephyr_lab.anomalies.catalogue import CATALOGUE

FOUND = [
    ("lost-update", "read committed", "A B A B A B", {"B rw A", "A ww B"}),
    ("non-repeatable-read", "read committed", "A B B A A", {"A rw B", "B wr A"}),
    ("non-repeatable-read", "repeatable read", "A B B A A", {"A rw B"}),
    ("phantom", "read committed", "A B B A A", {"A rw B", "B wr A"}),
    ("write-skew", "repeatable read", "A B A B A B", {"A rw B", "B rw A"}),
    ("write-skew-predicate", "repeatable read", "A B A B A B", {"A rw B", "B rw A"}),
    ("read-only-anomaly", "repeatable read", "A B B C C C A", {"A rw B", "B wr C", "C rw A"}),
    ("lost-update", "repeatable read", "A B A B A B", set()),  # B was refused: it never was
]


def edges(lab: Lab, case: Any, level: str, schedule: str | None = None) -> list[dict[str, Any]]:
    schedules = None if schedule is None else [schedule]
    return lab.case(case, level).stepper(levels=[level], schedules=schedules).runs[0]["edges"]


@pytest.mark.parametrize(("name", "level", "schedule", "wanted"), FOUND)
def test_an_anomaly_has_the_dependencies_of_the_textbook(
    lab: Lab, name: str, level: str, schedule: str, wanted: set[str]
) -> None:
    """A cycle where the outcome is no serial one."""
    found = edges(lab, name, level, schedule)
    assert {f"{one['from']} {one['kind']} {one['to']}" for one in found} == wanted


def test_an_edge_names_its_two_steps_and_comes_when_both_have_committed(lab: Lab) -> None:
    """B's look at step 2 did not see what A wrote at step 3; B commits with the seventh event."""
    found = next(
        one for one in edges(lab, "lost-update", "read committed") if (one["from"], one["kind"]) == ("B", "rw")
    )
    assert found == {
        "from": "B",
        "to": "A",
        "kind": "rw",
        "steps": [1, 2],
        "since": 7,
        "text": "B read slots and did not see what A wrote",
    }


def test_rows_that_a_where_does_not_find_make_no_edge(lab: Lab) -> None:
    """A reads slot a, B changes slot b; then C, which reads all of them, depends on B."""
    sessions = """
    session A step a1 { begin; select booked from slots where slot = 'a'; } step a2 { commit; }
    session B step b1 { update slots set booked = 1 where slot = 'b'; }
    session C step c1 { select sum(booked) from slots where booked >= 0 and not (slot = 'c'); }
    permutation a1 b1 c1 a2
    """
    found = edges(lab, slots_spec(sessions), "read committed")
    assert [(one["from"], one["kind"], one["to"]) for one in found] == [("B", "wr", "C")]


@pytest.mark.thorough_but("serializable")
@pytest.mark.parametrize("level", ["read committed", "serializable"])
def test_transactions_one_after_another_have_no_cycle(lab: Lab, level: str) -> None:
    """Every case of the catalogue in both serial orders of its sessions; together they have many edges."""
    count = 0
    for one in CATALOGUE:
        case = lab.case(one.name, level)
        names = [session.name for session in case.spec.sessions for _ in session.steps]
        for order in (names, names[::-1]):
            found = edges(lab, case.spec, level, " ".join(order))
            before: dict[str, set[str]] = {}
            for edge in found:
                before.setdefault(edge["to"], set()).add(edge["from"])
            TopologicalSorter(before).prepare()  # raises CycleError
            count += len(found)
    assert count > 40
