"""What the notebooks ask the reader to find exists, and what they say about it is so."""

from __future__ import annotations

from itertools import permutations

from zephyr_lab import Lab


def test_schedules_that_make_the_two_reads_agree(lab: Lab) -> None:
    """01: B commits before A does, and A reads the same twice, exactly if B's commit is on one side of both reads."""
    case = lab.case("non-repeatable-read", "read committed")
    found = 0
    for order in sorted(set(permutations("AAABB"))):
        steps = case.schedule(" ".join(order)).steps
        at = {name: steps.index(name) for name in steps}
        apart = at["A_read"] < at["B_commit"] < at["A_reread"]
        assert case.verdict(" ".join(order)).anomalous == apart
        found += not apart and at["B_commit"] < at["A_commit"]
    assert found >= 3


def test_an_order_in_another_slot_is_no_phantom(lab: Lab) -> None:
    """02: the new row does not meet A's condition."""
    mine = lab.case("phantom").change(B_order="begin; insert into orders values (19, '18:15', 5000)")
    assert str(mine.verdict("A B B A A").kind) == "prevented"


def test_a_version_check_updates_no_row(lab: Lab) -> None:
    """03: B's write answers 0 rows, and A's order is counted."""
    write = "update slots set booked = remembered() + 5000 where slot = '18:00' and booked = remembered()"
    transcript = lab.case("lost-update").change(A_write=write, B_write=write).run("A B A B A B")
    assert [event.text() for event in transcript.events if event.step == "B_write"][-1] == "resumes: 0 rows"
