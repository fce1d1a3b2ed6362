"""Searches, without a server: they see only who could move."""

from __future__ import annotations

from collections import Counter

import pytest

from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.scheduler import Nondeterminism, Scheduler


def walk(scheduler: Scheduler, steps: dict[str, int]) -> list[str]:
    """Every schedule that the search asks for, of sessions that never wait, with so many steps each."""
    schedules = []
    while scheduler.new_execution():
        taken: Counter[str] = Counter()
        last, words = None, []
        while runnable := [name for name in steps if taken[name] < steps[name]]:
            last = scheduler.next_session(runnable, last)
            taken[last] += 1
            words.append(last)
        schedules.append("".join(words))
    return schedules


def test_exhaustive_takes_every_schedule_once_first_session_first() -> None:
    """Two steps beside two: the six are
    AABB, ABAB, ABBA, BAAB, BABA, BBAA.
    """
    scheduler = Exhaustive()
    assert walk(scheduler, {"A": 2, "B": 2}) == ["AABB", "ABAB", "ABBA", "BAAB", "BABA", "BBAA"]
    assert scheduler.complete
    three = walk(Exhaustive(), {"A": 2, "B": 2, "C": 2})
    assert len(three) == len(set(three)) == 90


def test_exhaustive_raises_an_alarm_when_a_replay_sees_others_move() -> None:
    """It names the way there, and who could move then and now."""
    scheduler = Exhaustive()
    assert scheduler.new_execution()
    assert [scheduler.next_session(["A", "B"], None), scheduler.next_session(["B", "C"], "A")] == ["A", "B"]
    assert scheduler.new_execution()
    assert scheduler.next_session(["A", "B"], None) == "A"
    with pytest.raises(Nondeterminism, match="after 'A' first B, C could move, and now B: "):
        scheduler.next_session(["B"], "A")


def test_sampled_draws_the_same_schedules_from_the_same_seed() -> None:
    """And other ones from another seed; it is never complete."""
    one, same, other = (walk(Sampled(20, seed), {"A": 3, "B": 3}) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 20
    assert not Sampled(20, 1).complete
