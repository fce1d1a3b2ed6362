"""Two runs of one schedule are compared by what the functions have asked and got."""

from __future__ import annotations

import pytest

from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.functions.reproducible import check_same_run
from zephyr_lab.functions.surrogates import Surrogates
from zephyr_lab.schedule.transcript import Event, EventKind, Transcript


def run(sql: str) -> Transcript:
    events = (Event("A", "A", sql, EventKind.COMPLETED),)
    return Transcript("functions", "read committed", "A", ("A",), events, ())


@pytest.mark.parametrize("begins", ["BEGIN", "begin transaction", "START TRANSACTION"])
def test_the_level_that_a_transaction_has_anyway_may_be_named(begins: str) -> None:
    """A pool does so for a connection that has had another level before; any other level is a difference."""
    plain, named = run(f"{begins}; select 1"), run(f"{begins} ISOLATION LEVEL READ COMMITTED; select 1")
    check_same_run(plain, named, Surrogates(), False)
    check_same_run(named, plain, Surrogates(), False)
    for other in (f"{begins} ISOLATION LEVEL REPEATABLE READ; select 1", f"{begins}; select 2", "select 1"):
        with pytest.raises(Nondeterminism, match="session A, round trip 1 of the schedule 'A'"):
            check_same_run(plain, run(other), Surrogates(), False)
