"""Putting rows back is as good as making the schema anew: nobody can tell by what happens."""

from __future__ import annotations

import pytest

from zephyr_lab import Lab
from zephyr_lab.anomalies import CATALOGUE
from zephyr_lab.errors import SetupFailed
from zephyr_lab.lab.case import Case
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.reset import changes_rows_only

ODD = specfile.parse("""
    setup {
      create table "Odd one" (id int generated always as identity primary key, "a b" text, twice text
        generated always as ("a b" || "a b") stored, at timestamptz, tags int[], unique ("a b"));
      insert into "Odd one" ("a b", at, tags) values ('it''s', '2026-11-25 18:00+03', array[1, 2]), (null, null, null);
      create table child (id int references "Odd one", note text not null default 'none', number serial);
      insert into child (id) values (1), (2);
      create function stamp() returns trigger language plpgsql as $$ begin new.note := 'stamped'; return new; end $$;
    }
    setup {
      create trigger stamp before insert on child for each row when (new.note = 'none') execute function stamp();
    }
    teardown { drop table child, "Odd one"; drop function stamp; }
    session A step A_insert { insert into child (id) values (2) returning *; }
              step A_parent { insert into "Odd one" ("a b") values ('new') returning *; }
    session B step B_delete { delete from child where note = 'none' returning *; }
              step B_update { update "Odd one" set "a b" = '\\' || id where "a b" is null returning *; }
""")


def transcripts(case: Case, schedule: str | None, times: int, *, anew: bool) -> set[str]:
    """The different transcripts of so many runs, each in a schema made anew, or in one whose rows were put back."""
    found = set()
    for _ in range(times):
        if anew:
            case.engine.runner.workspace._reset = None
        found.add(str(case.run(schedule)))
    return found


@pytest.mark.thorough_but(
    "lost-update",
    "phantom",
    "write-skew",
    "deadlock",
    "savepoint-retry",
    "plan-dependent",
    "foreign-key-no-key",
    "queue-skip-locked",
    "advisory-lock-snapshot",
    "exclusion-constraint",
)
@pytest.mark.parametrize("one", CATALOGUE, ids=lambda one: one.name)
def test_a_case_goes_on_as_in_a_schema_made_anew(lab: Lab, one: object) -> None:
    """Long enough for a page to fill up, at the level that is pickiest about plans and pages."""
    case = lab.case(one.case, "serializable")  # type: ignore[attr-defined]
    assert transcripts(case, None, 60, anew=False) == transcripts(case, None, 2, anew=True)


def test_the_order_of_rows_is_kept_when_a_page_fills_up(lab: Lab) -> None:
    """A's update locks 18:00 first, as it lies first, however many versions of it have come and gone."""
    case = lab.case("observed-transaction-vanishes", "repeatable read")
    assert transcripts(case, "C B C A B", 300, anew=False) == transcripts(case, "C B C A B", 2, anew=True)


def test_odd_columns_keys_triggers_and_sequences_are_put_back(lab: Lab) -> None:
    """By the rows that the same steps find and leave."""
    case = lab.case(ODD)
    assert transcripts(case, "A B A B", 20, anew=False) == transcripts(case, "A B A B", 2, anew=True)


@pytest.mark.parametrize(
    "sql",
    [
        "create table t2 ()", "begin; truncate t", "analyze t", "do $$ begin end $$", "vacuum", "call p()",
        "select f()", "select 1 into t2", "with x as (select 1) select * into t2 from x", "select setval('s', 1)",
        'select "setval"(1)',
        "select lo_create(1)", "select pg_notify('a', 'b')", "select ctid from t", "insert into public.t values (1)",
        "commit prepared 'x'", "explain analyze delete from t", "select 'unclosed", "notify n", "copy t from stdin",
        "select pg_catalog.pg_stat_reset()", "prepare p as select 1", "select n_tup_ins from pg_stat_user_tables",
    ],
)  # fmt: skip
def test_steps_that_change_more_than_rows_are_told(sql: str) -> None:
    """By what they begin with, and by what they call: what is not known could."""
    assert not changes_rows_only(specfile.parse(f"session A step a {{ {sql} }}"))


@pytest.mark.parametrize(
    "sql",
    [
        "delete from t",
        "insert into t (id, label) values (1, 'create') on conflict (id) do update set copy = 1",
        "select comment, label, call, copy, import, do from t -- drop",
        "/* truncate */ (select 1)",
        'select "drop" from t',
        "with x (a) as (select count(*) from t) select a::numeric(3, 1) from x",
        "begin; lock table t; commit",
        "merge into t using u on t.id = u.id when matched then delete",
        "select own(1), pg_advisory_xact_lock(1)",
        "declare c cursor for select 1; fetch c; close c",
        "set local enable_seqscan = off",
    ],
)
def test_steps_that_change_rows_only_are_told(sql: str) -> None:
    """Whatever their columns are called, and what is in their texts."""
    setup = "setup { create function own(n int) returns int language sql as 'select n'; }"
    assert changes_rows_only(specfile.parse(f"{setup} session A step a {{ {sql} }}"))


def test_words_of_columns_do_not_have_the_schema_made_anew(lab: Lab) -> None:
    """It is made once for all schedules."""
    case = lab.case(
        specfile.parse("""
        setup { create table t (id int primary key, comment text, label text); insert into t values (1, 'copy', 'do'); }
        teardown { drop table t; }
        session A step a1 { begin; insert into t (id, comment) values (2, 'x') on conflict (id) do nothing; }
                  step a2 { commit; }
        session B step b1 { update t set label = 'call' where comment = 'copy'; }
    """)
    )
    case.explore(reduction=False, shrink=False)
    assert lab.engine.runner.workspace._reset


def test_what_a_step_has_made_is_gone_in_the_next_run(lab: Lab) -> None:
    """Where steps change more than rows the schema is made anew."""
    case = lab.case(specfile.parse("session A step a { create table t (n int); }"))
    assert transcripts(case, None, 3, anew=False) == transcripts(case, None, 1, anew=True)
    assert lab.engine.runner.workspace._reset is None


EMPTY = specfile.parse("""
    setup {
      create table parent (id int primary key); insert into parent values (1);
      create table "an empty one" (id int generated always as identity primary key, parent int references parent,
        unique (parent));
      create table another (id int primary key, of int references "an empty one");
    }
    teardown { drop table parent, "an empty one", another; }
    session A step A_insert { insert into "an empty one" (parent) values (1) returning *; }
              step A_look { select * from another where id = 1; }
    session B step B_look { select * from "an empty one" where id = 1; }
              step B_insert { insert into another values (1, null) returning *; }
""")


@pytest.mark.parametrize("schedule", ["A A B B", "A B B A", "B A B A"])
def test_a_table_that_was_empty_is_emptied(lab: Lab, schedule: str) -> None:
    """With its indexes, in which SERIALIZABLE locks pages: at that level it goes on as in a schema made anew."""
    case = lab.case(EMPTY, "serializable")
    assert transcripts(case, schedule, 20, anew=False) == transcripts(case, schedule, 2, anew=True)
    assert lab.engine.runner.workspace._reset is not None


T = "create table t (n int); insert into t values (1), (2), (3), (4);"
STUBBORN = {
    "a constraint that old rows break": (T + "alter table t add check (n < 2) not valid;", "select n from t;"),
    "a trigger that always fires": (
        T + "create function stamp() returns trigger language plpgsql as 'begin new.n := 7; return new; end';"
        "create trigger stamp before insert on t for each row execute function stamp();"
        "alter table t enable always trigger stamp;",
        "delete from t where n = 7 returning *;",
    ),
    "a read-only session": (T + "set default_transaction_read_only = on;", "select n from t;"),
    "numbers that lose digits": (
        "create table t (n float8); insert into t values (0.1::float8 + 0.2); set extra_float_digits = -5;",
        "select n = 0.1::float8 + 0.2 as same from t;",
    ),
    "blanks at the end": ("create table t (n bpchar); insert into t values ('b  ');", "select octet_length(n) from t;"),
    "rows without columns": ("create table t (); insert into t default values;", "select count(*) from t;"),
    "where rows lie": (T, "delete from t where ctid = '(0,1)' returning n;"),
    "pages that fill up early": (
        "create table t (n int) with (fillfactor = 30); insert into t values (1), (2), (3), (4);",
        "update t set n = n + 1 where n = 1; select string_agg(n::text, ',') from t;",
    ),
    "a table that a query makes": (T, "select * into made from t;"),
    "an open transaction": ("begin; " + T, "select n from t;"),
}


@pytest.mark.parametrize("name", list(STUBBORN))
def test_what_cannot_be_put_back_is_made_anew(lab: Lab, name: str) -> None:
    """Each was once put back otherwise than it had been."""
    setup, step = STUBBORN[name]
    case = lab.case(specfile.parse(f"setup {{ {setup} }} session A step a {{ {step} }}"))

    def outcomes(*, anew: bool) -> set[str]:
        try:
            return transcripts(case, None, 12, anew=anew)
        except SetupFailed as error:
            return {str(error)}

    assert outcomes(anew=False) == outcomes(anew=True)


def test_rows_that_cannot_be_made_as_they_first_were_stay_as_the_setup_makes_them(lab: Lab) -> None:
    """A clock's rows that break a constraint that came after them: each run begins with what it has made itself."""
    case = lab.case(
        specfile.parse("""
        setup { create table t (n int, at timestamptz default clock_timestamp()); insert into t values (1), (2);
                alter table t add check (n < 2) not valid; }
        session A step a { comment on table t is 'so the schema is made anew'; }
                  step b { select count(*) from t; }
    """)
    )
    assert [case.run().events[-1].results[0].rows for _ in range(3)] == [((2,),)] * 3


def test_who_has_a_connection_of_the_labs_may_change_rows(lab: Lab) -> None:
    """Every run begins from the setup all the same."""
    case = lab.case("lost-update")
    first = str(case.run())
    with lab.connect() as connection:
        connection.execute("update slots set booked = 0")
        assert str(case.run()) == str(case.run()) == first
        connection.execute("drop table if exists slots")
    assert str(case.run()) == first
