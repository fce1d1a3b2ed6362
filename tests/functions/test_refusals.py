"""Which errors of functions are refusals and not failures, and retries that end well or do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.functions.test_answers import COUNTER, Conn, value, write
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput


class Stale(Exception):
    pass


def book(raises: bool = False) -> Callable[[Conn], Any]:
    def optimistic(conn: Conn) -> Any:
        n = value(conn, "select n from t")
        if conn.execute("update t set n = %s where n = %s", [n + 1, n]).rowcount == 1:
            return n
        if raises:
            raise Stale
        conn.rollback()
        return "conflict"

    return optimistic


def numbered(conn: Conn) -> None:
    conn.execute("insert into numbers select coalesce(max(n), 0) + 1 from numbers")


@pytest.mark.parametrize(
    ("function", "refusals", "said"),
    [
        (book(), [lambda returned: returned == "conflict"], "was refused: returned 'conflict'"),
        (book(raises=True), [Stale], "was refused: Stale"),
        (numbered, ["23505"], "was told 23505"),
    ],
    ids=["returned", "raised", "SQLSTATE"],
)
def test_a_declared_refusal_is_one(lab: Lab, function: Any, refusals: list[Any], said: str) -> None:
    """What is an anomaly without it; and whoever tries again gets what a serial order gives."""
    setup = COUNTER + "; create table numbers (n int primary key)"
    bare = lab.explore([function] * 2, setup=setup, shrink=False)
    assert bare.anomalous > 0
    declared = lab.explore([function] * 2, setup=setup, refusals=refusals)
    assert (declared.anomalous, declared.aborted) == (0, bare.anomalous)
    assert said in str(declared)
    again = lab.explore([function] * 2, setup=setup, refusals=refusals, retry=True)
    assert (again.anomalous, again.aborted) == (0, bare.anomalous)
    assert {one.outcome.final for one in again.outcomes.values()} == {
        one.outcome.final for one in again.outcomes.values() if one.verdict == "prevented"
    }
    verdict = lab.replay([function] * 2, "A B A B", setup=setup, refusals=refusals, retry=True)
    assert "and tried again; the rest is as in" in verdict.reason


def test_a_retry_that_does_not_end_well_is_found(lab: Lab) -> None:
    """What an attempt has committed before it was refused is there twice."""

    def order(conn: Conn) -> None:
        conn.execute("insert into mails values ('thanks')")
        conn.commit()
        value(conn, "select n from t")
        conn.execute("update t set n = n + 1")

    options: dict[str, Any] = {"setup": COUNTER + "; create table mails (text text)", "isolation": "repeatable read"}
    found = lab.explore([order, order], retry=True, shrink=False, **options)
    assert found.anomalous > 0
    assert "mails: text=thanks; text=thanks; text=thanks; t: n=2" in str(found)


@pytest.mark.parametrize("wrong", [int, "unique_violation", 5])
def test_what_is_no_refusal_is_refused(lab: Lab, wrong: Any) -> None:
    with pytest.raises(BadInput, match="a refusal is"):
        lab.explore([write], setup=COUNTER, refusals=[wrong])
