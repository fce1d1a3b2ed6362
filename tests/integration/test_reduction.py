"""Reduction loses nothing: programs made at random have the same outcomes with it and without."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from zephyr_lab import Lab
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel

MOST_ORDERS = 100

SETUP = """
setup { create table slots (slot text primary key, booked int not null);
        insert into slots values ('a', 10), ('b', 20); analyze slots;
        create table orders (id int primary key, price int not null); insert into orders values (1, 5);
        analyze orders; }
teardown { drop table slots, orders; }
"""
READS = (
    "select booked from slots where slot = 'a'",
    "select booked from slots where slot = 'b'",
    "select count(*), sum(booked) from slots where booked >= 15",
    "select count(*) from orders",
    "select sum(y.booked) from slots x, slots y where x.slot = 'a'",
    "with slots as (select * from slots) select sum(booked) from slots",
    "select string_agg(slot, ',') from slots",
)
LOCKS = (
    "select booked from slots where slot = 'a' for update",
    "select booked from slots where slot = 'a' for share",
    "select slot from slots where booked > 15 for no key update",
    "select slot from slots order by slot limit 1 for update skip locked",
    "lock table orders in exclusive mode",
)
WRITES = (
    "update slots set booked = booked + 1 where slot = 'a'",
    "update slots set booked = booked + 2 where slot = 'b'",
    "update slots set booked = booked + 10 where booked < 15",
    "update slots set booked = (select sum(price) from orders) where slot = 'a'",
    "delete from slots where booked = 20",
    "insert into orders values (2, 7)",
    "insert into orders values (2, 8) on conflict do nothing",
    "insert into orders select max(id) + 1, 9 from orders",
    "insert into orders select 3, 9 where not exists (select from slots where booked > 20)",
    "update orders set price = price + 1 where id = 1",
    "insert into orders values (1, 1)",
    "update slots set (slot, booked) = ('c', 1) where slot = 'a'",
    "update slots set booked = 3 where slot = 'c'",
    "savepoint s",
    "rollback to s",
    "commit; begin",
    "select pg_advisory_xact_lock(1)",
)
STATEMENT = st.one_of(st.sampled_from(READS), st.sampled_from(LOCKS), st.sampled_from(WRITES))


@st.composite
def programs(draw: st.DrawFn) -> str:
    """A spec of two or three sessions, each of one to four steps, in a transaction or not."""
    number = draw(st.integers(2, 3))
    blocks = []
    sizes = []
    for name in "ABC"[:number]:
        statements = draw(st.lists(STATEMENT, min_size=1, max_size=4 if number == 2 else 3))
        if draw(st.integers(0, 4)):
            statements[0] = f"begin; {statements[0]}"
            end = draw(st.sampled_from(["commit", "commit", "commit", "rollback"]))
            if draw(st.booleans()) and len(statements) < 4:
                statements.append(end)
            else:
                statements[-1] += f"; {end}"
        sizes.append(len(statements))
        steps = " ".join(f"step {name}{place} {{ {sql}; }}" for place, sql in enumerate(statements))
        blocks.append(f"session {name} {steps}")
    assume(math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes)) <= MOST_ORDERS)
    return SETUP + "\n".join(blocks)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(text=programs(), level=st.sampled_from(list(IsolationLevel)[1:]))
def test_the_outcomes_are_those_of_all_schedules(lab: Lab, text: str, level: IsolationLevel) -> None:
    """And those that were run stand for exactly as many as there are, of every kind."""
    case = lab.case(specfile.parse(text), level)
    whole, reduced = case.explore(reduction=False), case.explore()
    assert set(reduced.outcomes) == set(whole.outcomes), text
    assert reduced.stands_for == whole.run, text
