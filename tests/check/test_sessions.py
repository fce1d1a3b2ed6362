"""Session guarantees on the smallest histories that part them; `test_levels_by_brute_force` has the rest."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.check.sessions import Guarantee

OWN_UNSEEN = "A: w x 1\nA: r x"
GONE_AGAIN = "A: w x 1\nB: r x 1\nB: r x"
OWN_OTHER_WAY_ROUND = "A: w x 1\nA: w x 2\nB: r x 2\nB: r x 1, w y 1"
READ_THEN_WRITTEN = "A: w x 1\nB: r x 1\nB: w x 2\nC: r x 2\nC: r x 1"
ANOTHER_SESSIONS_WRITES = "A: w x 1\nA: w y 1\nB: r y 1\nB: r x"
THROUGH_A_READ = "A: w x 1\nB: r x 1\nB: w y 1\nC: r y 1\nC: r x"


def fallen(text: str) -> set[str]:
    history = check.parse(text)
    reports = {level: check.check(history, level) for level in [*Guarantee, "causal"]}
    assert all(report.valid is not None for report in reports.values())
    return {level for level, report in reports.items() if report.valid is False}


@pytest.mark.parametrize(
    ("text", "violated"),
    [
        (OWN_UNSEEN, {"read-your-writes", "pram", "causal"}),
        (GONE_AGAIN, {"monotonic-reads", "pram", "causal"}),
        (OWN_OTHER_WAY_ROUND, {"pram", "causal"}),
        (READ_THEN_WRITTEN, {"causal"}),
        (ANOTHER_SESSIONS_WRITES, {"pram", "causal"}),
        (THROUGH_A_READ, {"causal"}),
    ],
)
def test_guarantees_are_parted(text: str, violated: set[str]) -> None:
    """An order of versions in which A's second write comes first keeps monotonic reads, and not monotonic writes."""
    assert fallen(text) == violated


def test_lists_that_tell_the_order_violate_the_guarantees_of_writes() -> None:
    """A list has A's second append before its first, or B's append before the one that B had read."""
    assert {"monotonic-writes", "pram"} <= fallen("A: append x 1\nA: append x 2\nB: r x [2 1]")
    assert {"writes-follow-reads"} <= fallen("A: append y 1\nB: r y [1]\nB: append x 2\nA: r x [2 3], append x 9\n"
                                             "C: append x 3, append y 0\nA: r y [0 1]")  # fmt: skip


def test_a_violation_names_the_writer_and_the_read() -> None:
    said = str(check.check(check.parse(ANOTHER_SESSIONS_WRITES), "pram"))
    assert "non-pram-read" in said
    assert "T1's write to x was visible to T4, which read x = null from the first state" in said


def rows(transactions: int) -> list[dict[str, Any]]:
    """One key of one session after another, each read by all; a long session reads its own last write each time."""
    chance = random.Random(4)
    last: dict[str, int] = {}
    made = []
    for i in range(transactions):
        key = f"k{chance.randrange(3)}"
        ops = [["r", key, last.get(key)], ["w", key, i]]
        last[key] = i
        made.append({"session": i % 5, "type": "ok", "ops": ops})
    return made


@pytest.mark.parametrize("guarantee", Guarantee)
def test_a_long_session_on_few_keys_is_checked_in_linear_time(guarantee: Guarantee) -> None:
    """Each read has thousands of earlier writes in its copy."""
    small, large = (check.from_transactions(rows(count)) for count in (3_000, 30_000))
    times = []
    for history in (small, large):
        begun = time.process_time()
        assert check.check(history, guarantee).valid
        times.append(time.process_time() - begun)
    assert times[1] < 40 * times[0] + 1
