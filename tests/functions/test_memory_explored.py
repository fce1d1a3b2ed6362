"""Python's own memory: what functions read and write of it beside their round trips."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.explore.scheduler import Nondeterminism

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
    """Beside one that makes some; also where whoever was aborted tries again."""
    found = lab.explore({"still": lambda: MEMORY.get("count", 0), "moves": counts_early}, setup=SETUP, retry=True)
    assert (found.schedules, found.complete) == (1, True)


def counts_late(conn: Conn) -> int:
    """Reads and writes memory between round trips that touch nothing of another session."""
    looks(conn)
    before = MEMORY.get("count", 0)
    looks(conn)
    MEMORY["count"] = before + 1
    looks(conn)
    return MEMORY["count"]


def test_reduction_is_not_used_where_functions_share_memory(lab: Lab) -> None:
    """Their round trips are independent, and their dict is shared; what was seen to change is named."""
    found = lab.explore([counts_late, counts_late], setup=SETUP, reduction=True, shrink=False)
    assert (found.schedules, found.complete) == (70, True)
    assert found.anomalous > 0
    assert found.not_compared == (f"Python's memory: MEMORY of module {__name__}",)


def test_a_flag_that_is_put_back_is_shared_memory_too(lab: Lab) -> None:
    """At the end of each schedule all is as it was."""

    def once_at_a_time(conn: Conn) -> str:
        looks(conn)
        if MEMORY.get("busy"):
            return "busy"
        MEMORY["busy"] = 1
        looks(conn)
        del MEMORY["busy"]
        return "done"

    found = lab.explore([once_at_a_time, once_at_a_time], setup=SETUP, reduction=True, shrink=False)
    assert found.anomalous > 0


def test_memory_that_is_only_read_does_not_forbid_reduction(lab: Lab) -> None:
    """A table of constants, and what a first run has left."""
    prices = {"mill": 1}

    def reads(conn: Conn) -> int:
        looks(conn)
        prices.setdefault("bread", 2)
        looks(conn)
        return prices["mill"]

    found = lab.explore([reads, reads], setup=SETUP[0], reduction=True)
    assert (found.schedules, found.anomalous, found.not_compared) == (1, 0, ())


class Order:
    """As a model of an ORM has it."""

    make_id = staticmethod(uuid.uuid4)


def orders(conn: Conn) -> tuple[str, ...]:
    made = (Order.make_id(), uuid.uuid4(), uuid.uuid1(), secrets.token_hex(8), secrets.token_bytes(8).hex())
    conn.execute("insert into orders select unnest(%s::text[])", ([str(one) for one in made],))
    return tuple(str(one) for one in made)


def test_ids_that_functions_make_up_are_no_chance(lab: Lab) -> None:
    """Each is another one; other threads notice nothing, and numbers drawn at random are refused as before."""
    found = lab.explore([orders, orders], setup="create table orders (id text primary key)")
    assert (found.schedules, found.anomalous, found.complete) == (6, 0, True)

    def draws(conn: Conn) -> None:
        conn.execute("select %s::int", (secrets.randbelow(1 << 30),))

    with pytest.raises(Nondeterminism, match="chance"):
        lab.explore([draws], setup=SETUP[0])


def test_an_attempt_after_a_refusal_makes_up_another_id(lab: Lab) -> None:
    """As it would: the first one may have been told to somebody."""
    made: dict[str, None] = {}

    def counts(conn: Conn) -> None:
        made[str(uuid.uuid4())] = None
        (n,) = conn.execute("select n from t").fetchone() or (0,)
        conn.execute("update t set n = %s", (n + 1,))

    found = lab.explore(
        [counts, counts],
        setup=[SETUP[0], made.clear],
        isolation="repeatable read",
        retry=True,
        invariant=lambda transcript: len(made) >= len(transcript.transactions),
    )
    assert (found.run.violated, found.anomalous) == (0, 0)
    assert found.schedules > 1
