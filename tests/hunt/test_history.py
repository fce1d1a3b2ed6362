"""Races as histories: what is told is true and all there is, and anything else is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hunt import shop
from zephyr_lab import Lab, check
from zephyr_lab.errors import LabError
from zephyr_lab.hunt.by_key import Action, ByKey, Statements, Untold
from zephyr_lab.hunt.history import write
from zephyr_lab.hunt.telling import Telling, Version
from zephyr_lab.schedule.transcript import Result, Transcript
from zephyr_lab.sql.classify import classify

SETUP = """
create table t (id int primary key, a int not null, b int);
insert into t values (1, 0, 0), (2, 0, 0);
create table log (note text);
create table named (id serial primary key, name text unique);
create table child (id serial primary key, t int not null references t);
create table watched (id int primary key, n int);
insert into watched values (1, 0);
create function touch() returns trigger language plpgsql as $$ begin new.n := 7; return new; end $$;
create table two (a text, b text, n int, primary key (a, b));
insert into two values ('x/y', 'z', 0), ('x', 'y/z', 0);
create table day (d date primary key, n int);
insert into day values ('2026-01-01', 0);
"""
NAMES = "insert into named (name) values ('{}')"
TRIGGER = "create trigger touched before update on watched for each row execute function touch();"


def sends(*statements: str) -> Callable[[Any], None]:
    def ask(conn: Any) -> None:
        for sql in statements:
            conn.execute(sql)

    return ask


def observed(lab: Lab, some: Any, schedule: str, isolation: str = "read committed", setup: str = SETUP) -> Transcript:
    return lab.function_explorer(some, setup=setup, isolation=isolation).replay(schedule, observed=True)


def asks(lab: Lab) -> Callable[[str], list[Result]]:
    return lambda sql: lab.engine.runner.workspace.execute(sql, "the schema")


def written(lab: Lab, path: Path, *given: Any) -> tuple[list[str], check.History]:
    """The anomalies that the checker names in the history of a schedule, and the history."""
    write(path, observed(lab, *given), asks(lab))
    history = check.read(path)
    return check.check(history, "serializable").names, history


def ops(history: check.History) -> list[list[Any]]:
    return [[list(op) for op in one.ops] for one in history.transactions()]


def test_a_lost_update(lab: Lab, tmp_path: Path) -> None:
    """The same bytes each time."""
    told = observed(lab, {"book": shop.book, "book-2": shop.book}, SCHEDULE, setup=shop.SETUP)
    assert write(tmp_path / "x.edn", told, asks(lab)) == "not valid at serializable: lost-update, G-single-item"
    assert (tmp_path / "x.edn").read_text(encoding="utf-8") == LOST_UPDATE
    history = check.read(tmp_path / "x.edn")
    assert [check.check(history, level).valid for level in ("read-committed", "snapshot-isolation")] == [True, False]


def test_a_hunt_says_why_it_writes_none(lab: Lab, tmp_path: Path) -> None:
    found = lab.hunt({"order": shop.order}, setup=shop.SETUP, history=tmp_path / "races")
    assert "order+order.edn: reads or writes by something else than a primary key: select count(*)" in str(found)
    assert "the hunt's own verdict stands" in str(found)
    assert not list((tmp_path / "races").iterdir())


SCHEDULE = "book book-2 book book book-2 book-2"
LOST_UPDATE = """\
{:index 0, :time 0, :process 0, :type :invoke, :f :txn, :value [[:append "slots/1/booked" "setup: 0"]], \
:operation "setup"}
{:index 1, :time 1, :process 0, :type :ok, :f :txn, :value [[:append "slots/1/booked" "setup: 0"]], :operation "setup"}
{:index 2, :time 2, :process 1, :type :invoke, :f :txn, \
:value [[:r "slots/1/booked" nil] [:append "slots/1/booked" "book: 1"]], :operation "book"}
{:index 3, :time 3, :process 2, :type :invoke, :f :txn, \
:value [[:r "slots/1/booked" nil] [:append "slots/1/booked" "book-2: 1"]], :operation "book-2"}
{:index 4, :time 4, :process 1, :type :ok, :f :txn, \
:value [[:r "slots/1/booked" ["setup: 0"]] [:append "slots/1/booked" "book: 1"]], :operation "book"}
{:index 5, :time 5, :process 2, :type :ok, :f :txn, \
:value [[:r "slots/1/booked" ["setup: 0"]] [:append "slots/1/booked" "book-2: 1"]], :operation "book-2"}
{:index 6, :time 6, :process 0, :type :invoke, :f :txn, :value [[:r "slots/1/booked" nil]], :operation "setup"}
{:index 7, :time 7, :process 0, :type :ok, :f :txn, \
:value [[:r "slots/1/booked" ["setup: 0" "book: 1" "book-2: 1"]]], :operation "setup"}
"""


def test_write_skew_on_two_rows(lab: Lab, tmp_path: Path) -> None:
    """As snapshot isolation allows it; what is written by an expression has been read."""
    one = sends("select a from t where id = 1", "update t set b = a + 1 where id = 2")
    other = sends("select b from t where id = 2", "update t set a = 1 where id = 1")
    names, history = written(lab, tmp_path / "x.edn", [one, other], "A B A B A B", "repeatable read")
    assert names == ["G2-item"]
    assert check.check(history, "snapshot-isolation").valid
    assert [["r", "t/1/a", ["setup: 0"]], ["append", "t/2/b", "A: 1"]] in ops(history)


def test_rows_that_come_and_go(lab: Lab, tmp_path: Path) -> None:
    """Absence is a version too: before a row is inserted, and after it was deleted. Keys may be the server's."""
    one = sends("select from t where id = 3", "insert into t values (4, 4)", "insert into child (t) values (1)")
    other = sends("select from t where id = 4", "insert into t (a, id) values (3, 3)", "delete from t where id = 2")
    names, history = written(lab, tmp_path / "x.edn", [one, other], "A B A B A B A B", "read committed", KEYLESS)
    assert names == ["G2-item"]
    told = ops(history)
    assert ["r", "t/3/id", []] in told[1] + told[2]
    assert sum(op[0] == "append" and op[1].startswith("child/") for op in told[1]) == 2
    assert ["append", "t/2/a", "B: deleted"] in told[1] + told[2]
    assert ["r", "t/2/a", ["setup: 0", "B: deleted"]] in told[3]


KEYLESS = SETUP.replace("references t", "")


def test_an_operation_of_two_transactions_is_one(lab: Lab, tmp_path: Path) -> None:
    def renumber(conn: Any) -> None:
        (a,) = conn.execute("select a from t where id = 1").fetchone()
        conn.commit()
        conn.execute("update t set a = %s where id = 1 and b = 0", [a + 1])

    names, history = written(lab, tmp_path / "x.edn", [renumber, renumber], "A A B B B B A A")
    assert names == ["lost-update", "G-single-item"]
    assert len(history) == 4


def test_what_is_rolled_back_or_refused_is_left_out(lab: Lab, tmp_path: Path) -> None:
    """What a session read before it rolled back, it may act upon; what a refused transaction read, it may not."""

    def gives_up(conn: Any) -> None:
        conn.execute("select a from t where id = 2")
        conn.execute("update t set a = 9 where id = 2")
        conn.execute("select a from t where id = 2")
        conn.rollback()
        conn.execute("select b from t where id = 1")

    def changes(conn: Any) -> None:
        conn.execute("update t set a = 1, b = 1 where id = 1")
        conn.execute("update t set a = 1 where id = 2")

    names, history = written(lab, tmp_path / "x.edn", [gives_up, changes], "A A A A B B B A A")
    assert names == ["G-single-item"]
    assert ops(history)[2] == [["r", "t/2/a", ["setup: 0"]], ["r", "t/1/b", ["setup: 0", "B: 1"]]]
    refused = sends("select b from t where id = 2", "update t set a = 5 where id = 1")
    other = sends("select a from t where id = 1", "update t set a = 7, b = 7 where id = 1", "select 1")
    told = observed(lab, [refused, other], "A B B B B A A", "repeatable read")
    assert told.failures() == {"A": "40001"}
    statements = Statements.ask(asks(lab), {name: one.columns for name, one in told.glances[0].tables.items()})
    assert {session: bool(ops) for session, ops in Telling(told, statements).ops.items()} == {"A": False, "B": True}
    with pytest.raises(Untold, match="is valid at serializable"):
        write(tmp_path / "y.edn", told, asks(lab))
    assert [one.name for one in tmp_path.iterdir()] == ["x.edn"]


MORE_THAN_A_ROW = (
    "select sum(a) from t", "select a from t", "select a from t where id > 1", "select a from t where id = 1 or a = 0",
    "select t.a from t join log on true where id = 1", "select a from t where id = (select 1)", "update t set a = 1",
    "with one as (select a from t where id = 1) select * from one", "select count(*) from t where id = 1",
    "select a from t where id = 1 for update skip locked", "select a from t where id = 1 limit 0", "table t",
    "select a from t where id = 1 union select 2", "select row_number() over () from t where id = 1",
    "select generate_series(1, 0) from t where id = 1", "select a from t where id = 1 offset 1", "delete from t",
    "insert into t values (1, 1) on conflict do nothing", "insert into t select 5, 5", "select t from t where id = 1",
    "insert into log values ('x')", "select xmin from t where id = 1", "select n from two where a = 'x'",
    "update t set a = 1 from watched where t.id = 1", "update t set id = 5 where id = 1", "select from t where id = a",
    "update t set a = 1 where id = 1 returning old.a", "update t set (a, b) = (1, 2) where id = 1",
    "delete from t using watched where t.id = 1", "select a from t as s (id, b, a) where id = 1",
    "insert into t values (7, 7), (8, 8)", "select random() from t where id = 1", "select a from t where id = 1.5",
    "merge into t using watched on t.id = 1 when matched then delete",
)  # fmt: skip
NOT_UNDERSTOOD = (
    "select pg_try_advisory_lock(1)", "select nextval('child_id_seq')", "select a from public.t where id = 1",
    "update watched set n = 1 where id = 1", "fetch all from c", "copy t to stdout",
)  # fmt: skip
UNDERSTOOD = {
    "select a as x, (t.b), 1 from t where t.id = 1 for update": ("read", ("1",), "a b id", ""),
    "select * from t as s where (s.id = 1::int and a > 0) order by a limit 1::integer": ("read", ("1",), "a b id", ""),
    "update t set a = t.b + 1 where id = -1 returning a": ("update", ("-1",), "b id", "a"),
    "update two set n = 1 where b = 'y' and 2 > 1 and b = 'x'::text and a = 'x'": ("update", ("x", "y"), "a b", "n"),
    "delete from t where id = 01 returning b": ("delete", ("1",), "b id", "a b id"),
    "insert into t (b, id, a) values (1, 2, default) returning *": ("insert", ("2",), "id", "a b id"),
    "insert into child (t) values (1)": ("insert", (), "id", "id t"),
}


def test_which_statements_are_about_a_row(lab: Lab) -> None:
    told = observed(lab, [sends("select 1")], "A A", setup=SETUP + TRIGGER)
    columns = {name: one.columns for name, one in told.glances[0].tables.items()}
    statements = Statements.ask(asks(lab), columns)

    def of(sql: str) -> ByKey | None:
        (statement,) = classify(sql)
        return statements.of(statement)

    for sql in MORE_THAN_A_ROW:
        with pytest.raises(Untold, match=r"something else than a primary key|not understood"):
            pytest.fail(f"{sql}: {of(sql)}")
    for sql in NOT_UNDERSTOOD:
        with pytest.raises(Untold, match="not understood"):
            pytest.fail(f"{sql}: {of(sql)}")
    for sql in ("select 1", "select pg_advisory_xact_lock(1)", "select pg_catalog.version()"):
        assert of(sql) is None
    for sql, (action, key, reads, sets) in UNDERSTOOD.items():
        found = of(sql)
        assert found
        assert (found.action, found.key) == (action, key), sql
        assert (found.finds | found.takes, found.sets) == (set(reads.split()), set(sets.split())), sql
    guarded = [of(f"update t set b = 1 where id = 1 and {one}") for one in ("a = 2", "a > 2", "a = b")]
    assert [one and (one.asks, one.is_conditional) for one in guarded] == [((("a", "2"),), False), *[((), True)] * 2]


@pytest.mark.parametrize(
    ("one", "other", "schedule", "why"),
    [
        ("insert into t values (1, 1)", "select 1", "A A B B", "a statement fails .23505 unique violation"),
        (NAMES.format("x"), NAMES.format("y"), "A B A B", "must differ in name"),
        ("insert into child (t) values (2)", "insert into t values (3, 3)", "A B A B", "foreign keys"),
        ("delete from t where id = 2", "insert into child (t) values (1)", "A B A B", "foreign keys"),
        ("insert into log values ('x')", "select 1", "A A B B", "something else than a primary key: insert into log"),
        ("select n from day where d = '1 Jan 2026'", "select 1", "A A B B", "whether it names a row is not known"),
        ("insert into child (t) values (1); select from child where id = 1", "select 1", "A A A B B", "it has made"),
        ("set local work_mem = '1MB'; update t set a = 1 where id = 1", "select 1", "A A B B", "are one transaction"),
        ("savepoint s; select a from t where id = 1; rollback to s", "select 1", "A A A B B", "not understood: rollb"),
    ],
)
def test_what_is_not_known_is_not_told(lab: Lab, tmp_path: Path, one: str, other: str, schedule: str, why: str) -> None:
    told = observed(lab, [sends(*one.split("; ")), sends(other)], schedule)
    with pytest.raises(Untold, match=why):
        write(tmp_path / "x.edn", told, asks(lab))
    assert not list(tmp_path.iterdir())


def test_what_drivers_write_in_their_own_ways_tells_no_versions_apart() -> None:
    """A time, for example; but nothing, a number or a text is itself."""
    asked = ByKey("t", Action.READ, ("1",), shows=("at", "n"), loosely=frozenset({"at"}))
    version = Version("A", frozenset(), {"at": "2026-01-01 00:00:00+00", "n": 1})
    assert not Version("A", frozenset(), {"at": None, "n": 1}).may_be(asked, Result("", ("at", "n"), (("2026", 1),)))
    answers = ("2026-01-01 00:00:00+00:00", 1), ("2026-01-01 00:00:00+00", 2), (None, 1)
    assert [version.may_be(asked, Result("SELECT 1", ("at", "n"), (row,))) for row in answers] == [True, False, False]
    text = Version("A", frozenset(), {"name": "x"})
    assert not text.may_be(ByKey("t", Action.READ, shows=("name",)), Result("SELECT 1", ("name",), (("y",),)))


def test_who_came_first_after_a_wait_must_be_known(lab: Lab, tmp_path: Path) -> None:
    def add(conn: Any) -> None:
        conn.autocommit = True
        conn.execute("update t set a = a + 1 where id = 1")

    told = observed(lab, [sends("update t set a = 5 where id = 1"), add, add], "A B C A")
    with pytest.raises(Untold, match="in which order B and C went on after a wait is not known"):
        write(tmp_path / "x.edn", told, asks(lab))
    reads = sends("select a from t where id = 1", "update t set a = 5, b = 5 where id = 1")
    names, history = written(lab, tmp_path / "x.edn", [reads, add, add], "A C A B A")
    assert (names, len(history)) == (["lost-update", "G-single-item"], 5)
    assert ["r", "t/1/a", ["setup: 0", "C: 1", "A: ?"]] in ops(history)[3]  # it was written over in the same step


def test_which_version_was_read_must_be_known(lab: Lab, tmp_path: Path) -> None:
    """Two that hold the same are not told apart; but one that was not there yet, or holds something else."""
    away_and_back = sends("update t set a = 1 where id = 1", "commit", "update t set a = 0 where id = 1")
    reads = sends("select a from t where id = 1", "select b from t where id = 2")
    told = observed(lab, [away_and_back, reads], "A A A A B B B")
    with pytest.raises(Untold, match="which of several versions it read is not known: select a from t"):
        write(tmp_path / "x.edn", told, asks(lab))
    twice = sends("select a from t where id = 1", "select a, b from t where id = 1")
    names, history = written(lab, tmp_path / "x.edn", [sends("update t set a = 1 where id = 1"), twice], "B A A B B")
    assert names == ["internal", "G-single-item"]
    assert ["r", "t/1/a", ["setup: 0", "A: 1"]] in ops(history)[2]
    guarded = sends("update t set a = 1 where id = 1 and a = 0", "update t set b = 1 where id = 2 and a = 0")
    told = observed(lab, [guarded, guarded], "A B A A B B")
    with pytest.raises(Untold, match="is valid at serializable"):
        write(tmp_path / "x.edn", told, asks(lab))


def test_what_a_trigger_does_is_no_statements(lab: Lab, tmp_path: Path) -> None:
    told = observed(lab, [sends("update watched set n = 1 where id = 1")] * 2, "A A B B", setup=SETUP + TRIGGER)
    with pytest.raises(Untold, match="not understood: update watched"):
        write(tmp_path / "x.edn", told, asks(lab))
    lab.engine.runner.workspace.execute("drop trigger touched on watched", "as if it were not seen")
    with pytest.raises(Untold, match="changed by something that no statement names"):
        write(tmp_path / "x.edn", replace(told, glances=_with_another_row(told)), asks(lab))
    lab.engine.runner.workspace.forget()


def _with_another_row(told: Transcript) -> tuple[Any, ...]:
    """As if the last step had changed a row of another table, too."""
    last = told.glances[-1]
    table = replace(last.tables["t"], rows=((1, 5, 0), (2, 0, 0)))
    return (*told.glances[:-1], replace(last, tables={**last.tables, "t": table}))


def test_what_the_server_promises_must_hold(lab: Lab, tmp_path: Path) -> None:
    """A history that says otherwise tells something that is not so, such as another level."""
    told = observed(lab, [shop.book, shop.book], "A B A A B B", setup=shop.SETUP)
    assert write(tmp_path / "x.edn", told, asks(lab)).endswith("lost-update, G-single-item")
    with pytest.raises(Untold, match="is not snapshot-isolation, which the server promises"):
        write(tmp_path / "y.edn", replace(told, isolation="repeatable read"), asks(lab))


def test_keys_of_several_columns_are_told_apart(lab: Lab, tmp_path: Path) -> None:
    one = "select n from two where a = 'x/y' and b = 'z'", "update two set n = 1 where b = 'y/z' and a = 'x'"
    other = "select n from two where a = 'x' and b = 'y/z'", "update two set n = 1 where a = 'x/y' and b = 'z'"
    names, history = written(lab, tmp_path / "x.edn", [sends(*one), sends(*other)], "A B A B A B")
    assert names == ["G2-item"]
    assert set(history.keys) == {"two/x%2Fy/z/n", "two/x/y%2Fz/n"}


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(40))
def test_no_race_by_keys_is_valid(lab: Lab, tmp_path: Path, seed: int) -> None:
    """Of random operations by primary keys: each race is told, or one of few things is not known."""
    chance = random.Random(seed)
    some = [_random(chance) for _ in range(chance.choice([2, 2, 3]))]
    level = chance.choice(["read committed", "repeatable read"])
    try:
        found = lab.explore(some, setup=SETUP, isolation=level, may_raise=True, samples=40, seed=seed, shrink=False)
    except LabError:
        return
    for one in found.outcomes.values():
        if one.verdict == "occurs":
            told = observed(lab, some, one.example, level)
            assert not _why_not(lab, told, tmp_path / "x.edn")


def _why_not(lab: Lab, told: Transcript, path: Path) -> str:
    """Why a race is not told, unless that is as it should be."""
    try:
        write(path, told, asks(lab))
    except Untold as error:
        half_done = any(end.end == "aborted" for end in told.transactions)
        again = "delete" in str(told) and "insert" in str(told)  # whoever waits finds neither the old row nor the new
        known = ["which of several versions", "a statement fails", *["is valid"] * half_done, *["promises"] * again]
        return "" if any(one in str(error) for one in known) else f"{error}\n{told}"
    return ""


def _random(chance: random.Random) -> Callable[[Any], list[Any]]:
    kinds = ("read", "read", "lock", "star", "save", "save", "add", "blind", "guard", "more", "insert", "delete", "end")
    steps = [
        (chance.choice(kinds), chance.choice([1, 1, 2, 3]), chance.choice("ab"), chance.randint(3, 6))
        for _ in range(chance.randint(1, 4))
    ]

    def go(conn: Any) -> list[Any]:
        seen: list[Any] = []
        last = 0
        for kind, row, column, n in steps:
            where, update = f"where id = {row}", f"update t set {column} ="
            match kind:
                case "read" | "lock":
                    sql = f"select {column} from t {where}" + " for update" * (kind == "lock")
                    seen.append(conn.execute(sql).fetchone())
                    last = (seen[-1] or (0,))[0] or 0
                case "star":
                    seen.append(conn.execute(f"select * from t {where}").fetchone())
                case "save":
                    conn.execute(f"{update} {last + 10} {where}")
                case "add":
                    seen.append(conn.execute(f"{update} {column} + 100 {where}").rowcount)
                case "blind":
                    conn.execute(f"{update} {n} {where}")
                case "guard":
                    seen.append(conn.execute(f"{update} {n} {where} and {column} = {last}").rowcount)
                case "more":
                    seen.append(conn.execute(f"{update} {n} {where} and {column} > 2").rowcount)
                case "insert":
                    if conn.execute(f"select id from t {where}").fetchone() is None:
                        conn.execute(f"insert into t (b, id, a) values ({n}, {row}, {n})")
                case "delete":
                    seen.append(conn.execute(f"delete from t {where}").rowcount)
                case _:
                    conn.commit() if n % 2 else conn.rollback()
        return seen

    return go
