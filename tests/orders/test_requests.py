"""The service's requests under the hunt: what it found once, and that docs/strategies.md has what it finds now."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab, once
from zephyr_lab.course.hunted import hunted, to_markdown
from zephyr_lab.course.strategies import own_level
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.orders import example
from zephyr_lab.orders.requests import NOT_ITS_OWN, requests
from zephyr_lab.orders.strategies import STRATEGIES, Load, strategy

DOCUMENTED = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


def explored(lab: Lab, name: str, *pair: str) -> Exploration:
    """Two requests in all orders, at the strategy's level."""
    one, setup = strategy(name), example.setup(strategy(name))
    asked = requests(one)
    return lab.explore(
        {f"{request}{number}": asked[request] for number, request in enumerate(pair)},
        setup=setup if isinstance(setup, str) else once(setup),
        isolation=own_level(name),
        ignore=NOT_ITS_OWN,
        shrink=False,
    )


@pytest.mark.thorough_but("version-column")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["advisory-lock", "version-column"])
def test_a_booking_does_not_write_back_what_a_cancellation_has_freed(lab: Lab, name: str) -> None:
    """The release takes part in the strategy's protocol: its lock, its version."""
    found = explored(lab, name, "create", "cancel")
    assert found.complete
    assert (found.schedules > 20, found.anomalous) == (True, 0)


@pytest.mark.slow
def test_the_accounts_of_a_slot_are_of_one_moment(lab: Lab) -> None:
    """The counter and the sum of the orders, while an order is booked."""
    found = explored(lab, "one-statement", "create", "accounts")
    assert (found.complete, found.anomalous) == (True, 0)


@pytest.mark.thorough
def test_an_order_that_is_placed_meanwhile_is_not_reported_as_missing_in_redis(lab: Lab) -> None:
    """Redis is read before PostgreSQL; what was placed and saved in between is read again."""
    found = explored(lab, "redis-lua-idempotent", "create", "reconcile")
    assert (found.complete, found.anomalous) == (True, 0)


def test_requests_are_those_that_a_strategy_has() -> None:
    """A place in Redis can be released; `reconcile` needs a second account that it knows."""
    for one in STRATEGIES.values():
        names = requests(one).keys()
        assert {"create", "another", "cancel", "prepare", "accounts"} <= names
        assert ("reconcile" in names) == (one.load is Load.SLOTS or one.name == "redis-lua-idempotent")
        assert ("release" in names) == one.name.startswith("redis-lua")


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", STRATEGIES)
def test_what_the_hunt_finds_is_documented(lab: Lab, name: str) -> None:
    """Every race and every gap, and no other."""
    section = DOCUMENTED.split("## What the hunt finds")[1]
    (row,) = re.findall(rf"^\| {re.escape(name)} \|.*$", section, re.MULTILINE)
    assert to_markdown(hunted(lab, [name])).splitlines()[-1] == row
