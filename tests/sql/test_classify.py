"""What a statement is, by PostgreSQL's grammar and by what its server does: tried on PostgreSQL 18."""

from __future__ import annotations

import pytest

from zephyr_lab.sql.classify import Kind, classify, is_local, mentions_level, with_level

KINDS = {
    Kind.BEGIN: [
        "begin", "Begin Work;", "start transaction", "begin isolation level serializable read only deferrable",
        "begin isolation/**/level serializable", "start transaction read only, isolation level read uncommitted",
        "begin -- now\n not deferrable",
    ],
    Kind.COMMIT: ["commit", "end", "END TRANSACTION", "commit work and chain", "end and no chain"],
    Kind.ROLLBACK: ["rollback", "abort", "abort work and chain"],
    Kind.ROLLBACK_TO: ["rollback to a", 'rollback work to savepoint "A b"'],
    Kind.SAVEPOINT: ["savepoint a", 'savepoint "A b"'],
    Kind.RELEASE: ["release a", "release savepoint a"],
    Kind.PREPARE_TRANSACTION: ["prepare transaction 'x'"],
    Kind.COMMIT_PREPARED: ["commit prepared 'x'"],
    Kind.ROLLBACK_PREPARED: ["rollback prepared 'x'"],
    Kind.SET_TRANSACTION: [
        "set transaction isolation level repeatable read, read only", "set local transaction read write",
        "set session transaction isolation level serializable", "set transaction_isolation = 'serializable'",
        "set local transaction_isolation to serializable", "set transaction deferrable",
    ],
    Kind.IMPORT_SNAPSHOT: ["set transaction snapshot '00000003-1'"],
    Kind.SET_CONSTRAINTS: ["set constraints all immediate", "set constraints s.a, b deferred"],
    Kind.SET: [
        "set work_mem = '4MB'", "set local app.x to 1, -2", "set session time zone interval '1' hour to minute",
        "set time zone 'UTC'", "set role none", "set session authorization default", "set names 'utf8'",
        "set session characteristics as transaction isolation level serializable", 'set "WORK_MEM" to default',
    ],
    Kind.RESET: ["reset all", "reset app.x", "reset time zone", "reset session authorization"],
    Kind.SHOW: ["show all", "show transaction_isolation", "show transaction isolation level", "show time zone"],
    Kind.LOCK: ["lock t", "lock table t, u in share row exclusive mode nowait", "lock only s.t, u *"],
    Kind.LISTEN: ["listen a"],
    Kind.NOTIFY: ["notify a", "notify a, 'b'", "unlisten *"],
    Kind.DECLARE: ["declare c scroll cursor with hold for select 1", "declare c cursor for select 1 for update"],
    Kind.FETCH: ["fetch c", "fetch -1 from c", "move forward all in c"],
    Kind.CLOSE: ["close c", "close all"],
    Kind.DEALLOCATE: ["deallocate a", "deallocate all", "deallocate prepare a"],
    Kind.DISCARD: ["discard all", "discard plans"],
    Kind.QUERY: [
        "select 1", "table t", "values (1)", "((select 1) union select 2)", "select a from t for no key update",
        "with a as (select delete from t) select update from a for update", "select ' into '",
    ],
    Kind.CHANGE: [
        "insert into t values (1)", "update t set a = 1", "delete from t",
        "merge into t using u on true when matched then delete",
        "with a as (select 1) update t set a = 1", "with a as materialized (delete from t returning a) table a",
        "with a as (insert into t default values) select 1",
    ],
    Kind.UNKNOWN: [
        "", "begin , read only", "begin isolation level serializable,, read only", "start transaction work",
        "begin isolation level snapshot", "abort to a", "commit a", "release", "set", "show", "fetch", "set a from b",
        "set x = (select 1)", "select a into b from c", "create table t ()", "truncate t", "do 'begin end'", "call p()",
        "explain select 1", "execute a", "prepare a as select 1", "copy t to stdout", "tpc begin", "savepoint U&'a'",
        "create function f() returns int begin atomic select 1; select 2; end",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "sql"), [(kind, sql) for kind, some in KINDS.items() for sql in some if sql])
def test_a_statement_is_of_a_kind(kind: Kind, sql: str) -> None:
    """One statement each, be it a function with a body of statements."""
    assert [one.kind for one in classify(sql)] == [kind]


def test_every_kind_is_in_the_table() -> None:
    assert set(KINDS) == set(Kind)


@pytest.mark.parametrize("kind", list(Kind))
def test_local_is_what_takes_no_snapshot_no_lock_and_tells_nobody(kind: Kind) -> None:
    """As seen on the server: a transaction's snapshot is there after any other statement than these."""
    local = "begin savepoint release set_transaction set reset show".upper().split()
    none = (
        "commit rollback rollback_to prepare_transaction commit_prepared rollback_prepared set_constraints lock".upper()
    )
    none += " LISTEN NOTIFY FETCH"
    for sql in filter(None, KINDS[kind]):
        (found,) = classify(sql)
        assert found.is_local == is_local(sql) == (kind.name in local)
        assert found.takes_snapshot == (kind.name not in [*local, *none.split()])
        assert found.ends == (kind.name in ("COMMIT", "ROLLBACK", "PREPARE_TRANSACTION"))


@pytest.mark.parametrize(
    ("sql", "local"),
    [
        ("set transaction snapshot '0001'", False), ("begin read only deferrable", True), ("deallocate all", False),
        ("set constraints all immediate", False), ("begin; set local app.x = 1", True), ("begin; select 1", False),
        ("rollback to a", False), ("release a;", True), ("", False), ("-- nothing", False),
        ("begin; savepoint 'a", False),
        ("begin isolation level snapshot", False),
    ],
)  # fmt: skip
def test_a_message_is_local_where_all_of_it_is(sql: str, local: bool) -> None:
    """What is not understood is not; nor what takes a snapshot, checks constraints or lets go of locks."""
    assert is_local(sql) == local


def test_what_a_statement_names() -> None:
    """A level, a setting, tables; and what comes of it later."""
    begin, own, later, reset, lock = classify(
        "begin isolation level read committed isolation level serializable, read only, deferrable;"
        "set transaction_isolation = 'Repeatable Read'; set default_transaction_isolation to serializable;"
        "reset time zone; lock T, u in share mode"
    )
    assert (begin.level, begin.deferrable, begin.setting) == ("serializable", True, "")
    assert (own.kind, own.level, own.setting) == (Kind.SET_TRANSACTION, "repeatable read", "transaction_isolation")
    assert (later.kind, later.level) == (Kind.SET, "serializable")
    assert reset.setting == "timezone"
    assert (lock.tables, lock.locks) == (("t", "u"), True)
    assert [one.chains for one in classify("commit and chain; rollback and no chain; end")] == [True, False, False]
    assert not classify("begin not deferrable")[0].deferrable
    locking = classify("select 1 for key share; select pg_advisory_xact_lock(1); select 'for update'")
    assert [one.locks for one in locking] == [True, True, False]
    assert [one.text for one in classify("-- a\nbegin /* b */; select 1 ;")] == ["begin", "select 1"]
    assert [one.kind for one in classify("select U&'a'; rollback")] == [Kind.UNKNOWN, Kind.ROLLBACK]


@pytest.mark.parametrize(
    ("sql", "mentions"),
    [
        ("begin isolation\n level serializable", True),
        ("begin isolation/**/level serializable", True),
        ("select set_config('transaction_isolation', 'x', true)", True),
        ("show transaction isolation level", True),
        ("do $$ begin set transaction isolation -- a\n level serializable; end $$", True),
        ("select 'open", True),
        ('set "default_transaction_isolation" = x', True),
        ("select 1 -- isolation level", False),
        ("select isolation, level from t", False),
    ],
)
def test_any_mention_of_a_level_counts(sql: str, mentions: bool) -> None:
    """In a function's body too; what is not closed may hold one."""
    assert mentions_level(sql) == mentions


@pytest.mark.parametrize(
    ("sql", "instead"),
    [
        ("begin ISOLATION level Serializable; select 1", "begin ISOLATION level repeatable read; select 1"),
        ("begin isolation/**/level serializable", "begin isolation/**/level repeatable read"),
        ("set transaction_isolation to serializable", "set transaction_isolation to 'repeatable read'"),
        ("set default_transaction_isolation = 'serializable'", "set default_transaction_isolation = 'repeatable read'"),
        (
            "select set_config('transaction_isolation', 'serializable', true), 'serializable'",
            "select set_config('transaction_isolation', 'repeatable read', true), 'serializable'",
        ),
        ("select 'isolation level serializable'", "select 'isolation level serializable'"),
        ("select 'open", "select 'open"),
    ],
)
def test_a_level_gives_place_to_another(sql: str, instead: str) -> None:
    """Where it is named, and nowhere else."""
    assert with_level(sql, "serializable", "repeatable read") == instead
