"""Until a transaction has published, reads and writes at SERIALIZABLE commute where tables are scanned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from zephyr_lab import Lab
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.explore.spec_executor import SpecExecutor
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel

TABLES = {
    "scanned": "create table t (k int primary key, v int not null) with (autovacuum_enabled = off);"
    "insert into t values (1, 10), (2, 20); analyze t;",
    "without a key": "create table t (k int, v int not null) with (autovacuum_enabled = off);"
    "insert into t select n, 10 * n from generate_series(1, 700) as n; analyze t;",
    # Never analyzed, it counts as ten pages, and is read by its index.
    "indexed": "create table t (k int primary key, v int not null) with (autovacuum_enabled = off);"
    "insert into t values (1, 10), (2, 20);",
    # One more row, and the index's page is split.
    "a full page": "create table t (k int primary key, v int not null) with (autovacuum_enabled = off);"
    "insert into t select n, 10 * n from generate_series(1, 366) as n; analyze t;",
}
STATEMENTS = (
    "select v from t where k = 1", "select v from t where k = 2", "select sum(v) from t", "select count(*) from u",
    "update t set v = v + 1 where k = 1", "update t set v = v + 1 where k = 2", "delete from t where k = 2",
    "insert into t values (1000, 5)", "insert into t values (2000, 6)", "insert into u values (3)",
    "update u set n = n + 1", "select v from t where k = 1 for update", "savepoint s", "rollback to s",
    "insert into t values (1, 1)", "update t set v = 0 where v = 20", "select v from t where v > 15 limit 1",
)  # fmt: skip
OFTEN = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def found(lab: Lab, text: str, *, by_table: bool) -> Exploration:
    executor = SpecExecutor(lab.engine.runner, specfile.parse(text), IsolationLevel.SERIALIZABLE)
    return Explorer(executor).explore(Reduced(by_table=by_table))


def counted(found: Exploration) -> Mapping[Any, int | None]:
    return {key: one.represents for key, one in found.outcomes.items()}


@st.composite
def programs(draw: st.DrawFn, most_orders: int) -> tuple[str, int]:
    """Two or three transactions, and perhaps a statement by itself; and how many orders their steps have at most."""
    table = draw(st.sampled_from(["scanned", *TABLES]))
    blocks, sizes = [], []
    for name in "ABC"[: draw(st.integers(2, 3))]:
        steps = draw(st.lists(st.sampled_from(STATEMENTS), min_size=1, max_size=3))
        if draw(st.integers(0, 6)):
            read_only = " read only" if draw(st.integers(0, 9)) == 0 else ""
            steps[0] = f"begin{read_only}; {steps[0]}"
            steps.append(draw(st.sampled_from(["commit", "commit", "commit", "rollback"])))
        blocks.append(f"session {name} " + " ".join(f"step {name}{n} {{ {sql}; }}" for n, sql in enumerate(steps)))
        sizes.append(len(steps))
    orders = math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes))
    assume(orders <= most_orders)
    setup = f"setup {{ {TABLES[table]} create table u (n int); insert into u values (1), (2); }}"
    return "\n".join([setup, *blocks]), orders


def same(lab: Lab, text: str) -> int:
    """Compares what is found with and without it; returns how many schedules were spared."""
    with_it, without = (found(lab, text, by_table=by_table) for by_table in (True, False))
    if counted(with_it) != counted(without):
        # Two sessions that one commit wakes race on the server itself.
        assume(counted(found(lab, text, by_table=False)) == counted(without))
    assert counted(with_it) == counted(without), text
    assert with_it.stands_for == without.stands_for, text
    assert with_it.schedules <= without.schedules
    return without.schedules - with_it.schedules


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=6, **OFTEN)
@given(program=programs(40))
def test_programs_made_at_random_lose_nothing(lab: Lab, program: tuple[str, int]) -> None:
    """Against the search that takes nothing for granted."""
    same(lab, program[0])


@pytest.mark.thorough
@pytest.mark.timeout(7200)
def test_three_hundred_programs_made_at_random_lose_nothing(lab: Lab) -> None:
    """The same with up to 560 orders; many were worth it."""
    spared: list[int] = []

    @settings(max_examples=300, **OFTEN)
    @given(program=programs(560))
    def check(program: tuple[str, int]) -> None:
        spared.append(same(lab, program[0]))

    check()
    print(f"{len(spared)} programs, {sum(spared)} schedules spared, {sum(map(bool, spared))} were worth it")
    assert sum(map(bool, spared)) > len(spared) / 10


SKEW = """
session A step A0 { begin; select v from t where k = 1; } step A1 { update t set v = 0 where k = 2; }
  step A2 { commit; }
session B step B0 { begin; select v from t where k = 2; } step B1 { update t set v = 0 where k = 1; }
  step B2 { commit; }
"""


@pytest.mark.parametrize(("table", "run"), [("scanned", 6), ("indexed", 14)])
def test_where_an_index_is_used_nothing_is_taken_for_granted(lab: Lab, table: str, run: int) -> None:
    """Seen by the server's locks in the first schedule; a search begins again then."""
    text = f"setup {{ {TABLES[table]} }} {SKEW}"
    spared = found(lab, text, by_table=True)
    assert (spared.schedules, spared.represents, spared.complete) == (run, 20, True)
    assert counted(spared) == counted(found(lab, text, by_table=False))


BESIDE = """
session A step A0 { begin; select v from t where k = 1; } step A1 { insert into t values (1000, 0); }
  step A2 { commit; }
session B step B0 { begin; select v from t where k = 2; } step B1 { insert into t values (2000, 0); }
  step B2 { commit; }
"""


@pytest.mark.parametrize("table", ["scanned", "indexed"])
def test_an_index_page_is_in_conflict_in_one_order_only(lab: Lab, table: str) -> None:
    """Who inserts into the page that another has read is noticed; who reads it after that meets no other's row."""
    text = f"setup {{ {TABLES[table]} }} {BESIDE}"
    assert counted(found(lab, text, by_table=True)) == counted(found(lab, text, by_table=False))


# B's commit has to abort a pivot, A or C, the one of which it knows first: by who has scanned the table first.
FIRST_READS = """
session A step A0 { begin; insert into t values (1000, 5); } step A1 { commit; }
session B step B0 { begin; insert into t values (2000, 6); } step B1 { update t set v = v + 1 where k = 2; }
  step B2 { commit; }
session C step C0 { begin; update t set v = v + 1 where k = 1; } step C1 { rollback; }
"""
ONLY_READS = """
session A step A0 { begin; select sum(v) from t; } step A1 { update t set v = v + 1 where k = 1; } step A2 { commit; }
session B step B0 { begin; insert into t values (1000, 5); } step B1 { commit; }
session C step C0 { begin; select sum(v) from t; } step C1 { update t set v = v + 1 where k = 2; } step C2 { commit; }
"""

# C's insert is not read before C commits: so it has to choose.
BLIND = """
session A step A0 { begin; select sum(v) from t; } step A1 { insert into t values (2000, 6); commit; }
session B step B0 { begin; select sum(v) from t; insert into t values (3000, 6); } step B1 { commit; }
session C step C0 { begin; insert into t values (1000, 5); } step C1 { commit; }
"""
# Each has read what it writes, and so what the others write: the order does not matter.
ALL_READ = """
session A step A0 { begin; select sum(v) from t; } step A1 { insert into t values (1000, 5); commit; }
session B step B0 { begin; update t set v = v + 1 where k = 2; } step B1 { commit; }
session C step C0 { begin; update t set v = v + 1 where k = 1; } step C1 { commit; }
"""
# B and C update the same row: one is refused as at REPEATABLE READ, and what it does then is nobody's concern.
SAME_ROW = """
session A step A0 { begin; select sum(v) from t; } step A1 { insert into t values (1000, 5); commit; }
session B step B0 { begin; update t set v = v + 1 where k = 1; select v from t; } step B1 { commit; }
session C step C0 { begin; select v from t where k = 1 for update; } step C1 { commit; }
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "is_finer"),
    [
        pytest.param(ONLY_READS, False, marks=pytest.mark.thorough, id="only reads"),
        pytest.param(FIRST_READS, False, id="first reads"),
        pytest.param(BLIND, False, id="blind"),
        pytest.param(ALL_READ, True, id="all read"),
        pytest.param(SAME_ROW, True, id="same row"),
    ],
)
def test_of_three_the_order_of_their_first_reads_may_decide_who_is_aborted(lab: Lab, text: str, is_finer: bool) -> None:
    """As many as of all schedules."""
    text = f"setup {{ {TABLES['scanned']} }} {text}"
    executor = SpecExecutor(lab.engine.runner, specfile.parse(text), IsolationLevel.SERIALIZABLE)
    whole = {key: one.count for key, one in Explorer(executor).explore(Exhaustive()).outcomes.items()}
    spared, careful = (found(lab, text, by_table=by_table) for by_table in (True, False))
    assert counted(spared) == whole == counted(careful)
    assert (spared.schedules < careful.schedules) is is_finer
