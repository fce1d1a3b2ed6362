"""Reduction loses nothing: programs made at random have the same outcomes with it and without."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from zephyr_lab import Lab
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel

FEW_ORDERS, MANY_ORDERS = 15, 35


@pytest.fixture(autouse=True)
def _no_other_schema_is_left(lab: Lab) -> Iterator[None]:
    """The lab is the whole worker's."""
    yield
    lab.engine.runner.workspace.execute("drop schema if exists other cascade", "another schema")


SETUP = """
setup { create table slots (slot text primary key, booked int not null);
        insert into slots values ('a', 10), ('b', 20); analyze slots;
        create table orders (id int primary key, price int not null); insert into orders values (1, 5);
        analyze orders; }
teardown { drop table slots, orders; }
"""
# What a schema has beside the two tables, and statements that meet it.
FEATURES = {
    "a key to itself": (
        "alter table orders add up int references orders on delete cascade; insert into orders values (4, 6, 1);",
        ("delete from orders where id = 1", "select count(*) from orders where id = 4",
         "delete from orders where id = 4", "update orders set up = 4 where id = 1")),
    "a cascade": (
        "create table lines (n int primary key, id int references orders on delete cascade on update cascade);"
        "insert into lines values (1, 1), (2, 1);",
        ("delete from orders where id = 1", "update orders set id = 5 where id = 1", "insert into lines values (3, 1)",
         "select count(*) from lines where id = 1", "select n from lines where n = 2 for update")),
    "a generated column": (
        "alter table slots add twice int generated always as (booked * 2) stored;",
        ("update slots set booked = 15 where twice = 20", "select count(*) from slots where twice = 30",
         "delete from slots where twice = 30")),
    "a trigger": (
        "create table log (slot text); create function note() returns trigger language plpgsql as"
        " $$ begin insert into log values (new.slot); return null; end $$;"
        "create trigger note after update on slots for each row execute function note();",
        ("select count(*) from log", "delete from log", "select string_agg(slot, ',') from log")),
    "a default that locks": (
        "alter table orders add got bool default pg_try_advisory_xact_lock(7);"
        "create table notes (n int, got bool default pg_try_advisory_xact_lock(7));",
        ("insert into notes (n) values (1)", "select count(*) from notes where got",
         "insert into orders values (6, 1)")),
    "a check that locks": (
        "create table notes (n int check (pg_try_advisory_xact_lock(n)));"
        "create table more (n int check (pg_try_advisory_xact_lock(n)));",
        ("insert into notes values (1)", "insert into more values (1)")),
    "numbers": (
        "create table numbers (n serial primary key, who text);",
        ("insert into numbers (who) select slot from slots", "insert into numbers (who) values ('x')",
         "select n, who from numbers", "select nextval('numbers_n_seq')")),
    "partitions": (
        "create table parts (k int, v int) partition by range (k);"
        "create table parts_1 partition of parts for values from (0) to (10);"
        "create table parts_2 partition of parts for values from (10) to (20);"
        "insert into parts values (1, 1), (11, 1);",
        ("update parts set v = v + 1 where k = 1", "update parts set k = 11 where k = 1",
         "select count(*) from parts where k = 11", "update parts_2 set v = 0 where k = 11")),
    "another schema": (
        "drop schema if exists other cascade; create schema other;"
        "create table other.far (id int references orders on delete cascade); insert into other.far values (1);",
        ("insert into other.far values (1)", "select count(*) from other.far", "delete from orders where id = 1")),
    "a view": (
        "create view big as select * from slots where booked > 15;",
        ("select count(*) from big", "update big set booked = booked + 1",
         "select count(*) from big where slot = 'a'")),
    "a policy": (
        "alter table slots enable row level security; alter table slots force row level security;"
        "create policy few on slots using (booked < (select 5 * count(*) + 20 from orders));",
        ("select count(*) from slots",)),
    "an exclusion": (
        "create table spans (r int4range, exclude using gist (r with &&));",
        ("insert into spans values ('[1,5)')", "insert into spans values ('[3,8)')", "select count(*) from spans",
         "insert into spans values ('[2,4)') on conflict do nothing")),
    "inexact values": (
        "alter table slots add f float default 1, add n numeric default 1.0;"
        "update slots set f = 1e16, n = 1.00 where slot = 'b'; insert into slots values ('d', 0, -1e16, 2);",
        ("select sum(f) from slots", "select distinct n from slots", "select max(n), any_value(slot) from slots",
         "select array(select slot from slots)", "select distinct on (n) slot from slots")),
    "errors": (
        "alter table slots add name text default '1'; update slots set name = 'x' where slot = 'b';",
        ("select 1 / (booked - 10) from slots", "select exists (select from slots where 1 / (booked - 11) > 0)",
         "select (select 1 / (booked - 10) from slots)", "select 1 / 0", "select name::int from slots",
         "update slots set name = '99999999999' where slot = 'a'", "select distinct name::numeric from slots",
         "select 1 > all (select 1 / (booked - 22) from slots)", "select sum(power(booked, -1)) from slots")),
    "looks at the server": (
        "", ("select count(*) from pg_locks where relation = 'slots'::regclass", "lock table slots nowait",
             "select count(*) from pg_stat_activity where state = 'idle in transaction'",
             "select sum(cmax::text::int) from slots", "truncate orders")),
}  # fmt: skip
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
def programs(draw: st.DrawFn, most_orders: int) -> str:
    """A spec of two or three sessions, each of one to four steps, in a transaction or not, on a schema of its own."""
    features = draw(st.lists(st.sampled_from(list(FEATURES)), max_size=2, unique=True))
    # Two features may make the same table, which is then left as the first one made it.
    assume(len({"a default that locks", "a check that locks"} & set(features)) < 2)
    met = [sql for feature in features for sql in FEATURES[feature][1]]
    statement = st.one_of(STATEMENT, st.sampled_from(met)) if met else STATEMENT
    number = draw(st.integers(2, 3))
    blocks = []
    sizes = []
    for name in "ABC"[:number]:
        statements = draw(st.lists(statement, min_size=1, max_size=4 if number == 2 else 3))
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
    assume(math.factorial(sum(sizes)) // math.prod(map(math.factorial, sizes)) <= most_orders)
    made = "\n".join(f"setup {{ {FEATURES[feature][0]} }}" for feature in features if FEATURES[feature][0])
    setup, _, _ = SETUP.partition("teardown")
    return "\n".join([setup, made, *blocks])


OFTEN = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=40, **OFTEN)
@given(text=programs(FEW_ORDERS), level=st.sampled_from(list(IsolationLevel)[1:]))
def test_the_outcomes_are_those_of_all_schedules(lab: Lab, text: str, level: IsolationLevel) -> None:
    """And those that were run stand for exactly as many as there are, of every kind."""
    as_all_schedules(lab, text, level)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_the_outcomes_are_those_of_all_schedules_of_more_programs(lab: Lab) -> None:
    """The same, of three hundred programs at three levels; many of which it was worth to reduce."""
    run, whole = [], []

    @settings(max_examples=300, **OFTEN)
    @given(text=programs(MANY_ORDERS))
    def check(text: str) -> None:
        for level in list(IsolationLevel)[1:]:
            reduced, full = as_all_schedules(lab, text, level)
            run.append(reduced)
            whole.append(full)

    check()
    fewer = sum(reduced < full for reduced, full in zip(run, whole, strict=True))
    print(f"{len(run)} comparisons, {sum(run)} schedules for {sum(whole)}, really reduced: {fewer}")
    assert fewer > len(run) / 4


def as_all_schedules(lab: Lab, text: str, level: IsolationLevel) -> tuple[int, int]:
    """How many schedules were run, and how many there are."""
    case = lab.case(specfile.parse(text), level)
    whole, reduced = case.explore(reduction=False, shrink=False), case.explore(shrink=False)
    assert set(reduced.outcomes) == set(whole.outcomes), text
    assert reduced.stands_for == whole.run, text
    return reduced.schedules, whole.schedules


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
    "a refusal that may be a false one": (
        ["begin; insert into orders select 3, 9 where not exists (select from slots where booked > 20);",
         "insert into orders select max(id) + 1, 9 from orders;", "commit;"],
        ["insert into orders select max(id) + 1, 9 from orders;"] * 2),
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


@pytest.mark.thorough_but(
    "an error behind a savepoint, and a lock that is skipped-serializable",
    "two transactions in one message-read committed",
    "a level by its setting-repeatable read",
    "a refusal that may be a false one-serializable",
    "a key that moves-read committed",
    "a function that is made anew-repeatable read",
)
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
