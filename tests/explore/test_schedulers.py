"""Searches, without a server: they see only who could move."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import groupby

import pytest

from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.fewest_switches import FewSwitches
from zephyr_lab.explore.pct import PCT
from zephyr_lab.explore.replay import Replay
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.scheduler import Candidate, Nondeterminism, Scheduler


def able(*names: str) -> list[Candidate]:
    return [Candidate(name) for name in names]


def walk(scheduler: Scheduler, steps: dict[str, int]) -> list[str]:
    """Every schedule that the search asks for, of sessions that never wait, with so many steps each.

    An empty one where it gives a schedule up.
    """
    schedules = []
    while scheduler.new_execution():
        taken: Counter[str] = Counter()
        last: str | None = None
        words: list[str] = []
        while runnable := [name for name in steps if taken[name] < steps[name]]:
            last = scheduler.next_session(able(*runnable), last)
            if last is None:
                words.clear()
                break
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
    assert [scheduler.next_session(able("A", "B"), None), scheduler.next_session(able("B", "C"), "A")] == ["A", "B"]
    assert scheduler.new_execution()
    assert scheduler.next_session(able("A", "B"), None) == "A"
    with pytest.raises(Nondeterminism, match="after 'A' first B, C could move, and now B: "):
        scheduler.next_session(able("B"), "A")


def test_sampled_draws_the_same_schedules_from_the_same_seed() -> None:
    """And other ones from another seed; it is never complete."""
    one, same, other = (walk(Sampled(range(20), seed), {"A": 3, "B": 3}) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 20
    assert not Sampled(range(20), 1).complete


def test_a_part_of_the_samples_is_a_part_of_the_schedules() -> None:
    """So that the answer does not depend on how the work was cut."""
    steps = {"A": 3, "B": 3}
    for draw in (lambda which: Sampled(which, 7), lambda which: PCT(which, 7, depth=3, steps=6)):
        assert walk(draw(range(9)), steps) == walk(draw(range(4)), steps) + walk(draw(range(4, 9)), steps)


def test_pct_switches_where_a_session_ends_or_at_a_drawn_place_only() -> None:
    """Two sessions and depth 2: at most one change of priorities, hence at most two switches."""
    for schedule in walk(PCT(range(200), 1, depth=2, steps=8), {"A": 4, "B": 4}):
        assert len(list(groupby(schedule))) <= 3
    found = set(walk(PCT(range(200), 1, depth=2, steps=8), {"A": 4, "B": 4}))
    assert {"AAAABBBB", "BBBBAAAA", "AABBBBAA"} <= found


def test_a_replay_raises_an_alarm_when_it_is_nobodys_turn() -> None:
    """It names the way there."""
    replay = Replay("A B A")
    assert walk(replay, {"A": 2, "B": 1}) == ["ABA"]
    replay = Replay("A B")
    assert replay.new_execution()
    replay.next_session(able("A", "B"), None)
    with pytest.raises(Nondeterminism, match="after 'A' it was B's turn, and now only A can move"):
        replay.next_session(able("A"), "A")


def test_few_switches_runs_no_others() -> None:
    """Of the six schedules of two steps beside two, two have one switch and two have two."""
    assert sorted(filter(None, walk(FewSwitches(1), {"A": 2, "B": 2}))) == ["AABB", "BBAA"]
    assert sorted(filter(None, walk(FewSwitches(2), {"A": 2, "B": 2}))) == ["AABB", "ABBA", "BAAB", "BBAA"]
    # Nobody waits here, so no schedule need be given up.
    assert "" not in walk(FewSwitches(1), {"A": 2, "B": 2})
    assert len(walk(FewSwitches(2), {"A": 1, "B": 1, "C": 1})) == 6


def some(search: Exhaustive | Sampled, number: int, steps: dict[str, int]) -> list[str]:
    """As `walk`, of so many schedules."""

    class Few:
        wants_effects = complete = False
        left = number

        def new_execution(self) -> bool:
            self.left -= 1
            return self.left >= 0 and search.new_execution()

        next_session = staticmethod(search.next_session)
        observe = staticmethod(search.observe)

    return walk(Few(), steps)


@pytest.mark.parametrize("number", range(31))
def test_a_search_goes_on_from_what_is_left_of_it(number: int) -> None:
    """After any number of schedules, in one part or in two; parts are plain data."""
    steps = {"A": 2, "B": 2, "C": 1}
    search, whole = Exhaustive(), walk(Exhaustive(), steps)
    assert len(whole) == 30
    before, rest = some(search, number, steps), search.rest()
    if number == 30:
        assert rest is None
        return
    assert rest is not None
    rest = pickle.loads(pickle.dumps(rest))
    assert before + walk(Exhaustive(rest), steps) == whole
    two = rest.divided()
    # Where all but the last choice are the only ones left: what to try beside that is not known yet.
    assert (two is None) == (number in (0, 12, 24, 27, 29))
    if two:
        parts = [walk(Exhaustive(part), steps) for part in two]
        assert all(parts)
        assert before + parts[0] + parts[1] == whole


def test_a_search_that_has_not_begun_is_left_whole() -> None:
    steps = {"A": 1, "B": 1}
    assert walk(Exhaustive(Exhaustive().rest()), steps) == ["AB", "BA"]
    left = Sampled(range(3), seed=1)
    assert left.rest() == range(3)


def test_samples_go_on_from_those_that_are_left() -> None:
    """A sample follows from its number, whoever draws it."""
    steps = {"A": 2, "B": 2, "C": 1}
    for make in (lambda which: Sampled(which, 7), lambda which: PCT(which, 7, 3, 5)):
        search = make(range(10))
        before, rest = some(search, 4, steps), search.rest()
        assert rest == range(4, 10)
        assert before + walk(make(rest), steps) == walk(make(range(10)), steps)
        assert search.new_execution()
    search = Sampled(range(1), 7)
    walk(search, steps)
    assert search.rest() is None


def test_what_begins_with_a_step_that_did_not_end_is_not_tried_again() -> None:
    """A step that had ended before, and then did not: the schedule given up stands for all that begin so."""
    search = Exhaustive()
    assert search.new_execution()
    assert [search.next_session(able(*runnable), None) for runnable in ("AB", "ABC")] == ["A", "A"]
    assert search.new_execution()
    assert search.next_session(able("A", "B"), None) == "A"  # and now it is given up
    assert search.new_execution()
    assert search.next_session(able("A", "B"), None) == "B"
    assert not search.new_execution()
    assert search.complete
