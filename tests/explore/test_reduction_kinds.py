"""What a step may touch beyond the rows that its words name: of each kind one program, reduced, loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from zephyr_lab import Lab
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec


@pytest.fixture(autouse=True)
def _no_other_schema_is_left(lab: Lab) -> Iterator[None]:
    """The lab is the whole worker's."""
    yield
    lab.engine.runner.workspace.execute("drop schema if exists other cascade", "another schema")


LEVELS = list(IsolationLevel)[1:]

T = "create table t (id int primary key, v int); insert into t values (1, 0), (2, 0); "
OTHER = "drop schema if exists other cascade; create schema other; "
SET_1, SET_2 = "update t set v = 1 where id = 1;", "update t set v = 1 where id = 2;"
TWICE = "begin; {0} | {0} | commit;"
DELETE_BOTH = "begin; delete from {0} where id = 1; | delete from {1} where id = 1; commit;"
LOCK = "begin; | savepoint s; lock table t {0}; | rollback to s; update tries set n = n + 1; | commit;"

PAIR = "create table x (a int); create table y (a int); insert into x values (0); insert into y values (0);"
LONG = "a_name_of_more_than_" + 5 * "sixty_three_"
DOMAIN = (
    OTHER + "create function other.ok(int) returns boolean language plpgsql as"
    " 'begin return pg_try_advisory_xact_lock($1); end'; create domain other.d as int check (other.ok(value));"
)
BOTH_INSERT = ["begin; insert into t (id) values (1); | commit;", "begin; insert into u (id) values (1); | commit;"]
DIVIDED = "create table t (id int primary key, v int); insert into t values (1, 0), (2, 1);"
SCALED = "create table t (id int primary key, name text); insert into t values (1, '1.0'), (2, '1.00');"


def both_set(column: str) -> list[str]:
    """Two rows get the same value."""
    return [f"begin; update t set {column} = 5 where id = 1; | commit;", f"update t set {column} = 5 where id = 2;"]


def scaled(query: str) -> list[str]:
    """Two rows with texts of the same number, and somebody asks what they are."""
    return ["update t set name = '1.0' where id = 1;", f"update t set name = '1.00' where id = 2; | {query}"]


def in_order(query: str) -> list[str]:
    """Two rows are written, and somebody asks what depends on which of them came first."""
    return [SET_1, SET_2, query + " select sum(v) from t;"]


# What is set up, and the steps of each session, with a bar between two of them.
KINDS: dict[str, tuple[str, list[str]]] = {
    "a foreign key to its own table, that cascades": (
        "create table t (id int primary key, up int references t on delete cascade);"
        "insert into t values (1, null), (2, 1);",
        ["delete from t where id = 1;", TWICE.format("select count(*) from t where id = 2;")]),
    "a foreign key to its own table, that sets a default": (
        "create table t (id int primary key); insert into t values (0), (1);"
        "create table u (t int default 0 references t on delete set default); insert into u values (1);",
        ["begin; delete from t where id = 1; | commit;", "select id from t where id = 0 for update skip locked;"]),
    "a generated column": (
        "create table t (a int, b int generated always as (a * 2) stored); insert into t values (1);",
        ["update t set a = 2 where b = 2;", TWICE.format("select count(*) from t where b = 4;")]),
    "a reader's commit, and a lock that does not wait": (
        T + "create table tries (n int); insert into tries values (0);",
        [LOCK.format("nowait"), "begin; select v from t; | commit;"]),
    "a reader's commit, and a lock that waits": (
        T, ["begin; | lock table t; | commit;", "begin; select v from t; | commit;"]),
    "a failing read, and a lock that does not wait": (
        T + "create table tries (n int); insert into tries values (0);",
        [LOCK.format("nowait"), "begin; select v from t; | select 1 / v from t; | rollback;"]),
    "a failure that lets a lock go": (
        T, ["begin; " + SET_1 + " | select 1 / v from t where id = 2; | rollback;", "begin; " + SET_1 + " | commit;"]),
    "who is in a transaction": (
        T, ["select count(*) from pg_stat_activity where state = 'idle in transaction';", "begin; | commit;"]),
    "who holds a lock": (
        T, ["select count(*) from pg_locks where relation = 't'::regclass and pid <> pg_backend_pid();",
            "begin; select v from t; | commit;"]),
    "a default with an effect": (
        "create table t (id int, got bool default pg_try_advisory_xact_lock(1));"
        "create table u (id int, got bool default pg_try_advisory_xact_lock(1));",
        ["begin; insert into t (id) values (1); | commit;", "begin; insert into u (id) values (1); | commit;"]),
    "a check with an effect": (
        "create table t (id int check (pg_try_advisory_xact_lock(id)));"
        "create table u (id int check (pg_try_advisory_xact_lock(id)));",
        ["begin; insert into t values (1); | commit;", "begin; insert into u values (1); | commit;"]),
    "a parameter's default with an effect": (
        T + "create function f(got bool default pg_try_advisory_xact_lock(1)) returns bool language sql"
        " as 'select got';",
        ["begin; select f(); | commit;", "begin; select f(); | commit;"]),
    "distinct on": (T, in_order("select distinct on (v) id from t;")),
    "any_value": (T, in_order("select any_value(id) from t;")),
    "a window": (T, in_order("select sum(id) over (rows 1 preceding) from t;")),
    "an array of what a query gives": (T, in_order("select array(select id from t);")),
    "an aggregate by a dot": (T, in_order("select t.array_agg from t;")),
    "a sum of floats": (
        "create table t (id int primary key, v int, f float);"
        "insert into t values (1, 0, 1e16), (2, 0, 1), (3, 0, -1e16);",
        in_order("select sum(f) from t;")),
    "equal values that look different": (
        "create table t (id int primary key, v int, n numeric); insert into t values (1, 0, 1.0), (2, 0, 1.00);",
        in_order("select distinct n from t;")),
    "numbers for the rows of a query": (
        T + "create table u (n serial, id int);", in_order("insert into u (id) select id from t;")),
    "the first of two rows with the same key": (
        T + "create table u (n int primary key, id int);",
        in_order("insert into u select 1, id from t on conflict do nothing;")),
    "the row that is joined": (
        T + "create table u (id int); insert into u values (0);", in_order("update u set id = t.id from t;")),
    "the first row of a cursor": (T, in_order("begin; declare c cursor for select id from t; fetch c; commit;")),
    "a foreign key in another schema": (
        OTHER + T + "create table u (id int primary key); insert into u values (1);"
        "create table other.c (t int references t on delete cascade, u int references u on delete cascade);"
        "insert into other.c values (1, 1);",
        [DELETE_BOTH.format("t", "u"), DELETE_BOTH.format("u", "t")]),
    "a sequence in another schema": (
        OTHER + "create sequence other.s; create table t (n int default nextval('other.s'), id int);"
        "create table u (n int default nextval('other.s'), id int);",
        ["insert into t (id) values (1);", "insert into u (id) values (1);"]),
    "a command's number": (
        T, ["begin; " + SET_2 + " " + SET_1 + " | commit;", "select sum(cmax::text::int) from t;"]),
    "numbers of transactions": (
        T + "create table u (id int);",
        ["insert into t values (3, 3);", "insert into u values (3);",
         "select (select max(xmin::text::int) from t) < (select max(xmin::text::int) from u);"]),
    "deferrable by a setting": (
        T, ["begin; select v from t; | commit;",
            "set default_transaction_read_only = on; set default_transaction_deferrable = on; | begin; select v from t;"
            " | commit;"]),
    "a level with a comment in it": (
        T, ["begin isolation/**/level repeatable read; select v from t where id = 2; | select v from t where id = 1;"
            " | commit;", SET_1]),
    "an operator by its function's name": (
        OTHER + T + "create function other.f(int, int) returns bool language sql volatile"
        " as 'select pg_try_advisory_xact_lock($1)';"
        "create operator other.+ (leftarg = int, rightarg = int, function = other.f);",
        ["begin; select 1 operator(other.+) 1; | commit;", "begin; select 1 operator(other.+) 1; | commit;"]),
    "a failure at SERIALIZABLE, that lets go of what was read": (
        PAIR, ["begin; select a from x; | select 1/0;", "begin; select a from y; | update x set a = 1; commit;",
               "update y set a = 1;"]),
    "a column that only A to Z fold in": (
        "create table t (id int primary key, Ä int unique); insert into t values (1, 1), (2, 2);", both_set("Ä")),
    "a column whose name is cut off": (
        f"create table t (id int primary key, {LONG} int unique); insert into t values (1, 1), (2, 2);",
        both_set(LONG)),
    "a field of a column": (
        "create type c as (x int, y int); create table t (id int primary key, c c unique);"
        "insert into t values (1, row(1, 0)), (2, row(2, 0));", both_set("c.x")),
    "a type of another schema in a default": (
        DOMAIN + "create table t (id int, v int default (1::other.d)::int);"
        "create table u (id int, v int default (1::other.d)::int);", BOTH_INSERT),
    "a type of another schema in a composite one": (
        DOMAIN + "create type c as (x other.d); create table t (id c); create table u (id c);",
        ["begin; insert into t values ('(1)'); | commit;", "begin; insert into u values ('(1)'); | commit;"]),
    "a type of another schema in a cast": (
        DOMAIN + "create type c as (x other.d); create table t (a int); insert into t values (1);",
        ["begin; select row(a)::c from t; | commit;", "begin; select '(1)'::c from t; | commit;"]),
    "a type of another schema for an argument": (
        DOMAIN + "create function f(x other.d) returns int language sql as 'select $1 + 0';"
        "create table t (a int); insert into t values (1);",
        ["begin; select f(a) from t; | commit;", "begin; select f(a) from t; | commit;"]),
    "a function that another table has a column like": (
        "create table t (id int); create table u (peek int); insert into t values (1);"
        "create function peek(anyelement) returns bigint language plpgsql as"
        " 'begin return (select count(*) from u); end';",
        ["insert into u values (1);", "begin; select t.peek from t; | select t.peek from t; commit;"]),
    "an error where a query may stop before it": (
        DIVIDED, ["update t set v = 0 where id = 1;", "update t set v = 1 where id = 2; |"
                  "select exists (select 1 from t where 1/v >= 1);"]),
    "an error in a comparison with all": (
        DIVIDED, ["update t set v = 0 where id = 1;", "update t set v = 1 where id = 2; |"
                  "select 1 > all (select 1/v from t);"]),
    "an error in a query for a single value": (
        "create table t (id int primary key, v int); insert into t values (3, 1), (1, 0), (2, 1);",
        ["update t set v = 0 where id = 1;", "update t set v = 1 where id = 2; | select (select 1/v from t);"]),
    "an error in a condition for an insert": (
        DIVIDED, ["update t set v = 0 where id = 1;", "update t set v = 1 where id = 2; |"
                  "insert into t select 9, 1 where exists (select 1 from t where 1/v >= 1);"]),
    "two errors of one cast": (
        "create table t (id int primary key, name text); insert into t values (1, 'x'), (2, '1');",
        ["update t set name = 'x' where id = 1;", "update t set name = '99999999999' where id = 2; |"
         "select name::int from t;"]),
    "two errors of one division": (
        "create table t (id int primary key, v int, w int); insert into t values (1, 1, 0), (2, -2147483648, -1);",
        ["update t set w = 0 where id = 1;", "update t set w = -1 where id = 2; | select v/w from t;"]),
    "a division and a sum too large": (
        "create table t (id int primary key, v int, w int); insert into t values (1, 0, 0), (2, 1, 0);",
        ["update t set v = 0 where id = 1;", "update t set w = 1 where id = 2; |"
         "select 1/v, w + 2147483647 from t;"]),
    "a division and a pattern": (
        "create table t (id int primary key, v int, p text); insert into t values (1, 0, 'a'), (2, 1, '(');",
        ["update t set v = 0 where id = 1;", "update t set v = 1 where id = 2; | select 1/v, 'a' ~ p from t;"]),
    "a sum of powers": (
        "create table t (id int primary key, v int); insert into t values (3, 10), (1, 3), (2, 7);",
        ["update t set v = 3 where id = 1;", "update t set v = 49 where id = 2; |"
         "select sum(power(v, -1)) from t;"]),
    "equal numbers made of texts": (SCALED, scaled("select distinct name::numeric from t;")),
    "groups of equal numbers made of texts": (
        SCALED, scaled("select name::numeric, count(*) from t group by 1;")),
    "a union of equal numbers made of texts": (
        SCALED, scaled("select name::numeric from t union select 2;")),
}  # fmt: skip


def spec_of(kind: str) -> Spec:
    setup, sessions = KINDS[kind]
    blocks = [
        f"session {session} "
        + " ".join(f"step {session}{place} {{ {sql} }}" for place, sql in enumerate(steps.split("|")))
        for session, steps in zip("ABC", sessions, strict=False)
    ]
    return specfile.parse("setup { " + setup + " }\n" + "\n".join(blocks))


# Once lost at a level other than READ COMMITTED.
FIRST_LOST = {
    "a failing read, and a lock that does not wait": IsolationLevel.REPEATABLE_READ,
    "a failure that lets a lock go": IsolationLevel.REPEATABLE_READ,
    "deferrable by a setting": IsolationLevel.SERIALIZABLE,
    "a failure at SERIALIZABLE, that lets go of what was read": IsolationLevel.SERIALIZABLE,
}


def at_levels() -> Iterator[Any]:
    """A kind at the level at which it was lost; at the others it is thorough."""
    for kind in KINDS:
        for level in LEVELS:
            first = level is FIRST_LOST.get(kind, IsolationLevel.READ_COMMITTED)
            yield pytest.param(kind, level, marks=() if first else pytest.mark.thorough)


@pytest.mark.parametrize(("kind", "level"), list(at_levels()))
def test_nothing_is_lost(lab: Lab, kind: str, level: IsolationLevel) -> None:
    """The outcomes are those of all schedules, and as many."""
    case = lab.case(spec_of(kind), level)
    whole, reduced = case.explore(reduction=False, shrink=False), case.explore(shrink=False)
    assert set(reduced.outcomes) == set(whole.outcomes)
    assert reduced.stands_for == whole.run


def test_a_table_that_one_of_the_servers_hides_is_not_taken_for_it(lab: Lab) -> None:
    """The server looks in its own schema first."""
    setup = "setup { create table t (a int); create table pg_locks (mode text); }"
    look = "select count(*) from pg_locks where mode = 'RowExclusiveLock';"
    steps = "session A step a1 { begin; insert into t values (1); } step a2 { commit; } session B step b1 { %s }"
    case = lab.case(specfile.parse(setup + steps % look), IsolationLevel.READ_COMMITTED)
    assert case.explore(shrink=False).schedules == 3
