"""Transactions of an application within those of its suite."""

from __future__ import annotations

from zephyr_lab.suite.levels import Level, Levels

APP = "the application"


def note(levels: Levels, sql: str, owner: object = APP, was_idle: bool = False, is_idle: bool = False) -> list[Level]:
    return levels.note(sql, "begin", owner, was_idle=was_idle, is_idle=is_idle)


def test_a_transaction_is_the_application_s_that_it_has_begun() -> None:
    levels = Levels()
    note(levels, "select 1", was_idle=True)
    mine = levels.application()
    assert mine is not None
    note(levels, "savepoint a")
    assert levels.application() is mine
    assert note(levels, "commit", is_idle=True)[0] is mine
    assert levels.application() is None
    assert not mine.is_rolled_back


def test_within_a_suite_s_transaction_a_savepoint_is_one() -> None:
    levels = Levels()
    note(levels, "insert into t values (1)", owner=None, was_idle=True)
    note(levels, 'SAVEPOINT "s1_x1"', owner=None)
    assert levels.application() is None
    note(levels, 'SAVEPOINT "s1_x2"')
    mine = levels.application()
    assert mine is not None
    assert (mine.name, mine.begin) == ("s1_x2", "begin")
    note(levels, 'ROLLBACK TO SAVEPOINT "s1_x2"')
    assert mine.is_rolled_back
    assert note(levels, 'RELEASE SAVEPOINT "s1_x2"') == [mine]
    assert levels.application() is None


def test_what_a_savepoint_encloses_ends_with_it() -> None:
    levels = Levels()
    note(levels, "begin", owner=None, was_idle=True)
    for name in ("a", "b", "a"):
        note(levels, f"savepoint {name}")
    assert [one.name for one in note(levels, "release a")] == ["a"]
    assert [one.name for one in note(levels, "release a")] == ["a", "b"]
    assert note(levels, "release nowhere") == []
    assert [one.is_rolled_back for one in note(levels, "rollback", is_idle=True)] == [True]
