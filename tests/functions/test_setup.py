"""What every schedule begins with: what a setup has made, each time from the same state."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functions.test_outcome import Conn, Redis, T
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.functions.once import once


def test_a_setup_function_is_run_before_every_schedule(lab: Lab) -> None:
    """Serial ones included: what it clears in Python's memory is clear; what is run once is not run again."""
    mailbox: list[int] = []
    calls = {"migrate": 0, "clear": 0}

    def migrate(conn: Conn) -> None:
        calls["migrate"] += 1
        conn.execute(T)

    def clear() -> None:
        calls["clear"] += 1
        mailbox.clear()

    def sends(conn: Conn) -> int:
        conn.execute("update t set n = n + 1")
        mailbox.append(1)
        return len(mailbox)

    found = lab.explore([sends, sends], setup=[once(migrate), clear])
    assert (found.schedules, found.anomalous, found.complete) == (4, 0, True)
    assert calls["migrate"] <= 2  # one more, to see whether its rows can be put back
    assert calls["clear"] > 8
    assert lab.explore([sends, sends], setup=[T, clear]).anomalous == 0
    calls["migrate"] = 0
    assert lab.explore([sends, sends], setup=[migrate, clear]).anomalous == 0
    assert calls["migrate"] > 8
    with pytest.raises(BadInput, match="setup migrate is to be run once, and comes after clear"):
        lab.explore([sends], setup=[clear, once(migrate)])


def test_what_a_setup_makes_before_every_schedule_is_made_from_the_same_ground(lab: Lab) -> None:
    """Rows, tables, keys of Redis: one that adds to what was run once finds that as it was."""

    def adds(conn: Conn, redis: Redis) -> None:
        conn.execute("insert into t values (7)")
        conn.execute("create table more (n int)")
        redis.incr("n")

    def counts(conn: Conn, redis: Redis) -> Any:
        conn.execute("insert into more values (1)")
        return redis.incr("n"), conn.execute("select count(*) from t").fetchone()

    first = once(lambda conn, redis: (conn.execute(T), redis.set("n", 5)))
    found = lab.explore([counts], setup=[first, adds])
    assert "A returned (7, (2,)); more: n=1; t: n=0; n=7" in str(found)
    assert lab.explore([counts], setup=[first, adds]).anomalous == 0


def test_tables_of_a_setup_are_analysed(lab: Lab) -> None:
    """Those with rows; whatever has made them, and by what is put back too."""
    setup = "create table empty (n int); create table t (n int primary key); insert into t select generate_series(1, 9)"

    def looks(conn: Conn) -> Any:
        conn.execute("update t set n = n where n = 1")
        return conn.execute(
            "select relname, reltuples from pg_class where relname in ('empty', 't') order by 1"
        ).fetchall()

    for one in (setup, once(lambda conn: conn.execute(setup)), lambda conn: conn.execute(setup)):
        found = lab.explore([looks, looks], setup=one)
        assert (found.complete, len(found.outcomes)) == (True, 1)
        assert "A returned [('empty', -1.0), ('t', 9.0)]" in str(found)
