"""Sessions that wait for each other inside their program, where no database knows of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire import programs
from zephyr_lab import Lab
from zephyr_lab.wire.processes import computes
from zephyr_lab.wire.service import Service


@pytest.fixture(scope="module")
def shop(lab: Lab) -> Iterator[Service]:
    with lab.service([sys.executable, Path(__file__).with_name("shop.py")], ready="/", redis=False) as one:
        yield one


def test_a_mutex_keeps_requests_apart_and_that_is_seen(lab: Lab, shop: Service) -> None:
    """Nothing is proved by it: which of two requests a mutex lets in first is not the lab's to decide. Each is started
    first once."""
    found = lab.explore([shop.post("/mutex")] * 2, setup=programs.SETUP)
    assert (found.schedules, found.anomalous, found.complete) == (2, 0, False)
    assert [one.example for one in found.by_count()] == ["A A A B B B", "B B B A A A"]
    assert "sessions A and B waited inside the program" in str(found)
    assert "no proof" in str(found)
    shown = str(lab.replay([shop.post("/mutex")] * 2, "A A A B B B", setup=programs.SETUP).transcript)
    assert "B                                                waits for another session (inside its program)" in shown
    assert "B  BEGIN; select booked from slots where id = 1  -> 5000" in shown


@pytest.mark.thorough
def test_a_mutex_that_is_left_too_early_loses_an_update(lab: Lab, shop: Service) -> None:
    """What B asks as A has let it in is B's, not A's."""
    found = lab.explore([shop.post("/half-mutex")] * 2, setup=programs.SETUP)
    assert found.anomalous
    shown = str(found.counterexample.transcript)
    assert shown.count("A  BEGIN") == shown.count("B  BEGIN") == 1


def test_what_depends_on_who_comes_first_inside_the_program_is_found(lab: Lab, shop: Service) -> None:
    """Who keeps the mutex to its end is safe if it comes first, and not if the one that leaves it too early does."""
    requests = {"keeps": shop.post("/mutex"), "leaves": shop.post("/half-mutex")}
    found = lab.explore(requests, setup=programs.SETUP)
    assert found.anomalous
    assert "anomalous when they are started in the order leaves, keeps" in str(found)
    reverse = dict(reversed(requests.items()))
    assert lab.replay(reverse, found.counterexample.transcript.schedule, setup=programs.SETUP).anomalous


@pytest.mark.thorough
def test_a_pool_of_one_keeps_no_requests_apart(lab: Lab, shop: Service) -> None:
    """It is a queue: each waits there after its first statement, and so both read before one of them writes.

    One connection serves both, outside of transactions: whose a statement is follows from what each has asked alone.
    """
    requests = [shop.post("/pool-of-one")] * 2
    found = lab.explore(requests, setup=programs.SETUP, shrink=False)
    assert (found.schedules, found.anomalous) == (1, 1)
    events = lab.replay(requests, "A B A B", setup=programs.SETUP).transcript.events
    told = [(one.session, one.sql[:6]) for one in events if one.results]
    assert told[:4] == [("A", "select"), ("B", "select"), ("A", "update"), ("B", "update")]


@pytest.mark.thorough
def test_who_computes_is_not_taken_for_one_that_waits(lab: Lab, shop: Service) -> None:
    """It is silent for longer than a wait has to be."""
    requests = [shop.post("/orders"), shop.post("/computes")]
    shown = str(lab.replay(requests, "A A A B B B", setup=programs.SETUP).transcript)
    assert "return" in shown
    assert "inside its program" not in shown


def test_a_program_that_is_not_there_computes_nothing() -> None:
    assert not computes(0)
