"""What is asked for: the same for the same seed, at the rate that was asked for, and only what can be."""

from __future__ import annotations

import json
import math
from collections import Counter
from datetime import date
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zephyr_lab.errors import BadInput
from zephyr_lab.load import Incident
from zephyr_lab.load.arrivals import DAY_SHAPE, asks, share_of, times
from zephyr_lab.load.conditions import SLOTS_A_BLOCK, Blocks
from zephyr_lab.load.counts import Counts, Outcome, add_up

TODAY = date(2026, 3, 2)


@pytest.mark.parametrize("arrivals", ["poisson", "constant", "day"])
def test_the_same_seed_asks_for_the_same_orders_at_the_same_times(arrivals: str) -> None:
    """And another seed for others."""
    one = Incident(rate=200, seconds=3, arrivals=arrivals, slots=4, seed=7)
    first, again = list(asks(one)), list(asks(Incident(rate=200, seconds=3, arrivals=arrivals, slots=4, seed=7)))
    assert first == again
    assert [ask.order(one, TODAY) for ask in first[:5]] == [ask.order(one, TODAY) for ask in again[:5]]
    other = list(asks(Incident(rate=200, seconds=3, arrivals=arrivals, slots=4, seed=8)))
    assert {ask.id for ask in first}.isdisjoint(ask.id for ask in other)
    assert len({ask.id for ask in first}) == len(first)


def test_how_orders_come_does_not_change_what_is_ordered() -> None:
    """So that strategies and arrivals can be compared over the same orders."""
    ordered = [
        [
            (ask.id, ask.item.total, ask.lane)
            for ask in islice(asks(Incident(arrivals=arrivals, rate=100, seconds=2)), 100)
        ]
        for arrivals in ("constant", "closed")
    ]
    assert ordered[0] == ordered[1]


def test_times_are_within_the_run_and_as_many_as_the_rate_says() -> None:
    """A Poisson process: as many as expected within five standard deviations, its gaps exponential."""
    found = list(times(Incident(rate=500, seconds=20)))
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] < 20
    assert abs(len(found) - 10_000) < 5 * math.sqrt(10_000)
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert abs(sum(gap > 1 / 500 for gap in gaps) / len(gaps) - math.exp(-1)) < 0.03
    constant = list(times(Incident(rate=500, seconds=2, arrivals="constant")))
    assert constant == [number / 500 for number in range(1000)]


def test_a_day_has_its_peaks() -> None:
    """Each hour has its share of the day's orders."""
    found = list(times(Incident(rate=2_000, seconds=12, arrivals="day")))
    hours = Counter(int(at) for at in found)
    for hour, orders in enumerate(DAY_SHAPE):
        expected = len(found) * orders / sum(DAY_SHAPE)
        assert abs(hours[hour] - expected) < 5 * math.sqrt(expected)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_shares_are_the_whole(processes: int) -> None:
    """Every order falls to one process, in its order."""
    one = Incident(rate=100, seconds=2, processes=processes, slots=3)
    parts = [list(share_of(one, number)) for number in range(processes)]
    assert sorted((ask for part in parts for ask in part), key=lambda ask: ask.number) == list(asks(one))
    assert all([ask.number for ask in part] == sorted(ask.number for ask in part) for part in parts)


def test_the_clock_moves_on_before_the_slots_of_a_block_are_used_up() -> None:
    """Orders of one block want at most the money of its slots; hot slots are in blocks of their own."""
    one = Incident(rate=800, seconds=20, slots=4)
    money: Counter[Any] = Counter()
    lanes: dict[Any, set[int]] = {}
    for ask in asks(one):
        window = Blocks().window(one.moment(ask.number, ask.lane, TODAY))
        assert len(window.slots()) == SLOTS_A_BLOCK
        money[window.first] += ask.item.total
        lanes.setdefault(window.first, set()).add(ask.lane)
    assert all(len(found) == 1 for found in lanes.values())
    assert len(money) > 4 * 4
    assert max(money.values()) < SLOTS_A_BLOCK * one.capacity
    assert one.days == 1


def test_prices_are_the_menus_by_quantity() -> None:
    """Through either door an order costs the same."""
    one = Incident(rate=100, seconds=1)
    for ask in asks(one):
        order = ask.order(one, TODAY)
        assert order.final_price == ask.item.total
        assert (ask.request()["pizza_name"], ask.request()["quantity"]) == (ask.pizza, ask.quantity)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no rate": ({"rate": 0}, "rate is more than 0"),
    "a negative rate": ({"rate": -5}, "not -5"),
    "an endless rate": ({"rate": math.inf}, "not inf"),
    "no number": ({"rate": math.nan}, "not nan"),
    "a huge rate": ({"rate": 1e9}, "at most 100,000 orders a second, not 1e\\+09"),
    "too many orders": ({"rate": 90_000, "seconds": 3_600}, "orders are more than 5,000,000"),
    "no time": ({"seconds": 0}, "seconds is more than 0"),
    "no capacity": ({"capacity": 0}, "capacity is more than 0"),
    "capacities too small": ({"strategy": "one-statement", "capacity": 100, "seconds": 100}, "larger capacity"),
    "an unknown strategy": ({"strategy": "hope"}, "unknown strategy 'hope'; there are: check-then-insert"),
    "an unknown level": ({"isolation": "snapshot"}, "unknown isolation level 'snapshot'"),
    "unknown arrivals": ({"arrivals": "never"}, "there are: poisson, constant, day, closed"),
    "another door": ({"through": "http"}, "there are: direct, grpc, bare"),
    "an empty pool": ({"pool": 0}, "pool is more than 0"),
    "more processes than connections": ({"pool": 2, "processes": 3}, "3 processes need a connection each"),
    "a limit in two processes": ({"per_slot": 1, "processes": 2}, "add --processes 1"),
    "a kill that is none": ({"kill": "mysql@5s"}, "write service@5s"),
    "a kill after the end": ({"kill": "postgres@11s"}, "within the run"),
    "a fixed capacity": ({"capacity": 50_000}, "has a capacity of 100,000 in its code"),
    "fewer orders than none": ({"stored": -1}, "stored is from 0"),
    "a negative pause": ({"base": -1}, "base is from 0 to 60 seconds"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be_is_refused_before_anything_is_started(name: str) -> None:
    """With what would be right."""
    fields, said = BAD[name]
    with pytest.raises(BadInput, match=said):
        Incident(**fields).check()


def test_what_is_asked_for_is_checked_and_filled_in() -> None:
    """The level as PostgreSQL writes it, the number of processes; and it goes through JSON."""
    one = Incident(isolation="Repeatable-Read", pool=1, kill="postgres@2.5s").check()
    assert (one.isolation, one.processes, one.faults[0].at) == ("repeatable read", 1, 2.5)
    assert Incident.of(json.loads(json.dumps(one.to_dict()))) == one


@given(
    st.lists(st.lists(st.sampled_from(list(Outcome)), max_size=9), min_size=1, max_size=4),
    st.lists(st.floats(0, 7200), max_size=20),
)
def test_counts_add_up_whoever_has_counted(shares: list[list[Outcome]], latencies: list[float]) -> None:
    """Through JSON and back; each outcome under its order's number; no latency is lost."""
    parts = []
    for number, outcomes in enumerate(shares):
        part = Counts(share=number, outcomes=bytearray(outcomes), attempts=len(outcomes))
        for latency in latencies:
            part.latency.record(latency)
        part.refusals["40001"] = number
        parts.append(Counts.of(json.loads(json.dumps(part.to_dict()))))
    whole = add_up(parts)
    assert whole.attempts == sum(map(len, shares))
    assert whole.latency.total() == len(shares) * len(latencies)
    assert whole.refusals["40001"] == sum(range(len(shares)))
    told = {number for number, outcome in enumerate(whole.outcomes) if outcome == Outcome.CREATED}
    filled = [number for number, outcomes in enumerate(shares) if outcomes]
    step = max(filled, default=0) + 1
    assert told == {
        number + step * place
        for number, outcomes in enumerate(shares)
        for place, outcome in enumerate(outcomes)
        if outcome is Outcome.CREATED
    }


def test_percentiles_are_within_a_thousandth() -> None:
    """Of a thousand known durations; one minute among milliseconds is the longest, not lost."""
    counts = Counts()
    for number in range(1, 1_000):
        counts.latency.record(number / 1000)
    counts.latency.record(60)
    assert counts.latency.percentile(50) == pytest.approx(500, rel=0.002)
    assert counts.latency.percentile(99) == pytest.approx(990, rel=0.002)
    assert counts.latency.percentile(100) == pytest.approx(60_000, rel=0.002)
