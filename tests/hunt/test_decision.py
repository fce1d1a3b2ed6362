"""What an exploration shows of a pair, and what it is called; the explorations are made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.hunt.made import finding
from zephyr_lab.errors import ScheduleError, ServerLost
from zephyr_lab.explore.exploration import Counts, Exploration
from zephyr_lab.explore.verdict import Outcome, VerdictKind
from zephyr_lab.hunt.candidates import Candidate
from zephyr_lab.hunt.decision import Decision, Kind, _kind_of, _pattern, decide

PAIR = Candidate(("book", "book"), ("create",), "read-then-write", "both write slots")
SESSIONS = {"book": print, "book-2": print}


def explored(*counts: Counts, complete: bool = True, aborted: tuple[tuple[str, str], ...] = ()) -> Exploration:
    found = Exploration("functions", "read committed", complete=complete)
    for one in counts:
        found.note((VerdictKind.PREVENTED, Outcome((), ()), aborted), "book book-2", one, 1)
    return found


FINE = Counts(schedules=1)
SHOWN = {
    "a race": (explored(Counts(1, anomalous=1), complete=False), Kind.RACES, "an outcome that no serial order gives"),
    "a violation": (explored(Counts(1, violated=1), complete=False), Kind.RACES, "the invariant is violated"),
    "safe": (explored(FINE, FINE), Kind.SAFE, "no anomaly in all 2 schedules"),
    "aborts": (
        explored(Counts(1, aborted=1), aborted=(("book", "40001"),)), Kind.ABORTS,
        "40001, and no anomaly in all 1 schedules",
    ),
    "not all": (
        explored(FINE, complete=False), Kind.UNDECIDED, "1 schedule run, not all, and none of them anomalous"
    ),
    "aborts so far": (
        explored(Counts(1, aborted=1), complete=False), Kind.UNDECIDED,
        "1 schedule run, not all, and none of them anomalous",
    ),
    "no judgement": (explored(Counts(1, undecided=1)), Kind.UNDECIDED, ""),
}  # fmt: skip


@pytest.mark.parametrize("what", SHOWN)
def test_only_a_complete_search_shows_that_there_is_no_race(what: str) -> None:
    found, kind, why = SHOWN[what]
    assert _kind_of(found, SESSIONS, "conflict", is_tested=True) == (kind, why)


def test_what_was_used_and_not_compared_is_said() -> None:
    found = explored(FINE)
    found.not_compared = ("files",)
    assert _kind_of(found, SESSIONS, "conflict", is_tested=True)[1].endswith("; used, and not compared: files")


def test_where_only_memory_is_shared_the_way_on_is_said() -> None:
    found = explored(FINE, complete=False)
    assert "reduction=True (--reduction)" in _kind_of(found, SESSIONS, "memory", is_tested=True)[1]


@pytest.mark.parametrize(
    ("schedule", "pattern"),
    [
        ("book book-2", "read-then-write"), ("book book:crash", "not-atomic"),
        ("book:lost-commit book-2", "not-atomic"),
        ("book time:lock:18", "expiry"), ("book book-2:timeout", "expiry"), ("book:crash time:lock", "not-atomic"),
    ],
)  # fmt: skip
def test_a_race_by_a_fault_is_called_so(schedule: str, pattern: str) -> None:
    assert _pattern(PAIR, replace(finding(), schedule=schedule)) == pattern
    assert _pattern(PAIR, None) == "read-then-write"


class Failing:
    """Explores nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def explore(self, *_: object, **__: object) -> Exploration:
        raise self.error

    replay = function_explorer = explore  # type: ignore[assignment]


def test_an_error_of_one_pair_is_its_reason_and_one_of_all_is_raised() -> None:
    found = decide(Failing(ScheduleError("odd")), PAIR, SESSIONS, {}, None)  # type: ignore[arg-type]
    assert found == Decision(
        PAIR.operations, Kind.UNDECIDED, "odd", PAIR.pattern, PAIR.prefix, 0, found.seconds, failed=True
    )
    assert not {"ran_out", "interrupted", "failed"} & found.to_dict().keys()
    with pytest.raises(ServerLost):
        decide(Failing(ServerLost("gone")), PAIR, SESSIONS, {}, None)  # type: ignore[arg-type]
