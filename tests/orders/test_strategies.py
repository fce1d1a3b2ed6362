"""Every strategy in every order of its round trips: docs/strategies.md says what each level makes of it."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.course.strategies import LEVELS, explore_strategy, measure, own_level, to_markdown
from zephyr_lab.orders.strategies import STRATEGIES, strategy

DOCUMENTED = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")


def documented(sessions: str, name: str) -> str:
    """The row of a strategy in the table below a heading."""
    section = DOCUMENTED.split(f"## {sessions} sessions")[1].split("\n## ")[0]
    (row,) = re.findall(rf"^\| {re.escape(name)} \|.*$", section, re.MULTILINE)
    return str(row)


HALF = [pytest.param(name, marks=[pytest.mark.thorough] if place % 2 else []) for place, name in enumerate(STRATEGIES)]


@pytest.mark.thorough_but("redis-lua")
@pytest.mark.slow
@pytest.mark.parametrize("name", HALF)
def test_two_sessions_in_all_orders_are_as_documented(lab: Lab, name: str) -> None:
    """At all levels; and wherever the outcome is anomalous the slot is oversold, and nowhere else."""
    cells = measure(lab, [name])
    assert documented("Two", name) == to_markdown(cells).splitlines()[-1]
    assert all(cell.complete and cell.oversold == cell.anomalous for cell in cells)


@pytest.mark.thorough
@pytest.mark.parametrize("name", STRATEGIES)
def test_three_sessions_are_as_documented(lab: Lab, name: str) -> None:
    """All schedules at the strategy's own level, tens of thousands of some; a few that are drawn at the others."""
    cells = measure(lab, [name], sessions=3)
    assert documented("Three", name) == to_markdown(cells).splitlines()[-1]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_promises_what_the_tables_show(name: str) -> None:
    """At its own level, two sessions and three."""
    place = LEVELS.index(own_level(name)) + 2
    for sessions in ("Two", "Three"):
        assert ("occurs" in documented(sessions, name).split("|")[place]) == (not strategy(name).promises)


@pytest.mark.thorough
@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_the_documented_fix_is_safe_by_lua_and_not_by_its_level(lab: Lab, isolation: str) -> None:
    """GET, then INCRBY oversells at SERIALIZABLE as at READ COMMITTED; with Lua neither does."""
    counter = explore_strategy(lab, "redis-get-then-incrby", isolation)
    fix = explore_strategy(lab, "redis-lua-serializable", isolation)
    assert (counter.run.violated, counter.run.aborted) == (40, 0)
    assert (fix.run.violated, fix.run.aborted, fix.complete) == (0, 0, True)


@pytest.mark.thorough_but("one-statement-counts1")
@pytest.mark.parametrize(("name", "counts"), [("check-then-insert", (20, 18)), ("one-statement", (4, 0))])
def test_partitions_change_no_verdict(lab: Lab, name: str, counts: tuple[int, int]) -> None:
    """The tables above are of a plain orders table, whose rows are quickly put back; here is the partitioned one."""
    found = explore_strategy(lab, name, "read committed", partitioned=True)
    assert (found.schedules, found.anomalous, found.run.violated) == (*counts, counts[1])


def test_every_strategy_says_what_it_guarantees_and_what_it_costs() -> None:
    """In its file's docstring."""
    for one in STRATEGIES.values():
        assert "\nGuarantees: " in one.documentation
        assert "\nCosts: " in one.documentation
