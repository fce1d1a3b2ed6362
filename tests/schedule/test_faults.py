"""The words of faults in schedules."""

from __future__ import annotations

import shlex

import pytest

from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.faults import Fault, Faults, expiry_of, fault_of, is_expiry, key_of, session_of


@pytest.mark.parametrize(
    ("word", "session", "fault"),
    [
        ("A", "A", None),
        ("A:crash", "A", Fault.CRASH),
        ("A:crash-after", "A", Fault.CRASH_AFTER),
        ("B2:lost-commit", "B2", Fault.LOST_COMMIT),
        ("A:redis-timeout", "A", Fault.REDIS_TIMEOUT),
        ("A:timeout", "A", Fault.TIMEOUT),
        ("A:other", "A:other", None),
        ("time:crash", "time", Fault.CRASH),
    ],
)
def test_a_word_names_a_session_and_a_fault(word: str, session: str, fault: Fault | None) -> None:
    assert (session_of(word), fault_of(word)) == (session, fault)


@pytest.mark.parametrize(
    "key", ["lock:18", "a b", "100%", "it's", 'say "x"', "{slot}:18", "\\", "\u00e9\xff", "#1", "1/k"]
)
def test_a_key_comes_through_a_schedule(key: str) -> None:
    word = expiry_of(key)
    assert is_expiry(word)
    assert shlex.split(f"A {word} B") == ["A", word, "B"]
    assert key_of(word) == key


def test_so_many_of_each_kind_and_crashes_of_both_sorts_are_one_kind() -> None:
    faults = Faults.of({"crash": 1, "lost-commit": 2}, 1)
    assert faults.left(["A", "B"]) == {Fault.CRASH, Fault.LOST_COMMIT}
    assert faults.left(["A:crash-after"]) == {Fault.LOST_COMMIT}
    assert faults.left(["A:crash", "A:lost-commit", "B:lost-commit"]) == set()
    assert faults.may_tick(["A"])
    assert not faults.may_tick(["time:k"])
    assert not faults.may_tick(["A:timeout"])


def test_words_of_a_shell() -> None:
    assert Faults.of(["crash", "lost-commit=2"], 0) == Faults.of({"crash": 1, "lost-commit": 2}, 0)
    with pytest.raises(BadInput, match="crash=1"):
        Faults.of(["crash=one"], 0)


def test_none_are_none() -> None:
    assert not Faults.of(None, 0)
    assert not Faults.of({"crash": 0}, 0)
    assert Faults.of({}, 1)


@pytest.mark.parametrize("given", [{"krash": 1}, {"crash": -1}, {"crash": "one"}, {"crash-after": 1}])
def test_what_cannot_be_asked_for_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"unknown fault .*crash, lost-commit, redis-timeout|how many of each kind"):
        Faults.of(given, 0)


@pytest.mark.parametrize("name", ["time", "A:crash", "time:x"])
def test_a_session_that_would_be_taken_for_a_fault_is_refused(name: str) -> None:
    Faults().check_names([name])
    with pytest.raises(BadInput, match="rename it"):
        Faults.of({"crash": 1}, 0).check_names(["B", name])
