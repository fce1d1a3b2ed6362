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


GENERATED = given(text=programs(), level=st.sampled_from(list(IsolationLevel)[1:]))
OFTEN = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=40, **OFTEN)
@GENERATED
def test_the_outcomes_are_those_of_all_schedules(lab: Lab, text: str, level: IsolationLevel) -> None:
    """And those that were run stand for exactly as many as there are, of every kind."""
    as_all_schedules(lab, text, level)


@pytest.mark.thorough
@pytest.mark.timeout(1200)
@settings(max_examples=1_000, **OFTEN)
@GENERATED
def test_the_outcomes_are_those_of_all_schedules_of_more_programs(lab: Lab, text: str, level: IsolationLevel) -> None:
    """The same, of a thousand programs."""
    as_all_schedules(lab, text, level)


def as_all_schedules(lab: Lab, text: str, level: IsolationLevel) -> None:
    case = lab.case(specfile.parse(text), level)
    whole, reduced = case.explore(reduction=False), case.explore()
    assert set(reduced.outcomes) == set(whole.outcomes), text
    assert reduced.stands_for == whole.run, text


U, READ = "update slots set booked = booked + 1 where slot = 'a';", "select booked from slots where slot = 'a';"
BOTH = "select string_agg(slot, ',') from slots;"
TRICKY = {
    "an error behind a savepoint": (
        ["begin; " + U, "savepoint s;", "insert into orders values (1, 1);", "rollback to s;", "commit;"], [READ]),
    "an error behind a savepoint, and a lock that is skipped": (
        ["begin; " + U, "savepoint s;", "insert into orders values (1, 1);", "rollback to s;", "commit;"],
        ["select slot from slots order by slot limit 1 for update skip locked;"]),
    "an error that keeps a commit from being reached": (
        ["begin; " + U, "savepoint s; insert into orders values (1, 1); commit;", "rollback;"], [READ, READ]),
    "two transactions in one message": (
        ["begin; " + U, "commit; begin;", U, "commit;"], ["begin; " + READ, READ, "commit;"]),
    "a begin that is not reached": (
        ["insert into orders values (1, 1); begin;", U], ["begin; " + READ, READ, "commit;"]),
    "a level by its setting": (
        ["begin; set local transaction_isolation = 'serializable';", "select sum(booked) from slots;", U, "commit;"],
        ["begin; set local transaction_isolation = 'serializable';", "select sum(booked) from slots;",
         "update slots set booked = 0 where slot = 'b'; commit;"]),
    "a join with itself": (
        ["begin; update slots set booked = 0 where slot = 'b';", "commit;"],
        ["select sum(y.booked) from slots x, slots y where x.slot = 'a';"]),
    "a table of a query with a table's name": (
        ["begin; " + U, "commit;"], ["with slots as (select * from slots) select sum(booked) from slots;"]),
    "a key that moves": (
        ["begin; update slots set (slot, booked) = ('c', 1) where slot = 'a';", "commit;"],
        ["select booked from slots where slot = 'c';"]),
    "a key that moves, in other letters": (
        ["begin; update slots set SLOT = 'c' where slot = 'a';", "commit;"],
        ["select booked from slots where slot = 'c';"]),
    "the order in which rows lie": (
        ["update slots set booked = 11 where slot = 'a';"], ["update slots set booked = 21 where slot = 'b';", BOTH]),
    "a lock of the session's that is let go early": (
        ["select pg_advisory_lock(1); begin;", READ, U + "select pg_advisory_unlock(1);", "commit;"],
        ["select pg_advisory_lock(1); begin;", READ, U + "select pg_advisory_unlock(1);", "commit;"]),
    "a function that is made anew": (
        ["create or replace function f() returns int language sql as 'select 2';"], ["select f();"]),
    "a table that is made": (["create table neu ();"], ["select to_regclass('neu') is null;"]),
    "a function with the name of another": (["begin; " + U, "commit;"], ["select reverse(1);"]),
}  # fmt: skip
FUNCTIONS = """
setup { create function f() returns int language sql as 'select 1';
        create function reverse(n int) returns int language plpgsql
          as 'begin return (select sum(booked) from slots); end'; }
"""


@pytest.mark.parametrize("level", list(IsolationLevel)[1:])
@pytest.mark.parametrize("name", list(TRICKY))
def test_tricky_programs_lose_no_outcome(lab: Lab, name: str, level: IsolationLevel) -> None:
    """Each was once reduced too far."""
    blocks = [
        f"session {session} " + " ".join(f"step {session}{place} {{ {sql} }}" for place, sql in enumerate(steps))
        for session, steps in zip("AB", TRICKY[name], strict=True)
    ]
    setup, _, teardown = SETUP.partition("teardown")
    case = lab.case(specfile.parse(setup + FUNCTIONS + "teardown" + teardown + "\n".join(blocks)), level)
    whole, reduced = case.explore(reduction=False, shrink=False), case.explore(shrink=False)
    assert set(reduced.outcomes) == set(whole.outcomes)
    assert reduced.stands_for == whole.run
