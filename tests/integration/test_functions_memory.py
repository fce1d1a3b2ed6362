"""Python's own memory: what functions read and write of it beside their round trips."""

from __future__ import annotations

from typing import Any

import psycopg

from zephyr_lab import Lab

Conn = psycopg.Connection[Any]

MEMORY: dict[str, int] = {}
SETUP = ["create table t (n int); insert into t values (0)", lambda: MEMORY.clear()]


def looks(conn: Conn) -> None:
    conn.execute("select 1 from t").fetchone()


def counts_early(conn: Conn) -> int:
    """Reads memory before its first round trip, and writes after it."""
    before = MEMORY.get("count", 0)
    looks(conn)
    MEMORY["count"] = before + 1
    return before + 1


def test_serially_a_function_begins_when_the_one_before_has_ended(lab: Lab) -> None:
    """What Python does before the first round trip, too: the serial orders return 1 and 2, never 1 and 1."""
    found = lab.explore([counts_early, counts_early], setup=SETUP)
    assert (found.schedules, found.anomalous) == (6, 6)
    assert lab.replay([counts_early, counts_early], "A A B B", setup=SETUP).anomalous


def test_a_function_without_a_round_trip_of_its_own_ends_too(lab: Lab) -> None:
    """Beside one that makes some; also where whoever was sent away tries again."""
    found = lab.explore({"still": lambda: MEMORY.get("count", 0), "moves": counts_early}, setup=SETUP, retry=True)
    assert (found.schedules, found.complete) == (1, True)
