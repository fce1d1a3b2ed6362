"""Schedules in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zephyr_lab.errors import BadInput
from zephyr_lab.lab.case import load_case
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.model import Schedule, Spec

SPEC = specfile.parse("""
    session A  step a1 { select 1; }  step a2 { select 2; }  step a3 { select 3; }
    session B  step b1 { select 1; }  step b2 { select 2; }
""")


def test_a_session_takes_its_next_step() -> None:
    """Words are sessions, steps, or both."""
    assert Schedule.parse("A B A", SPEC).steps == ("a1", "b1", "a2")
    assert Schedule.parse("a1 b1 a2", SPEC).steps == ("a1", "b1", "a2")
    assert Schedule.parse("a2 A", SPEC).steps == ("a2", "a3")
    assert Schedule.parse(["A", "b2"], SPEC).steps == ("a1", "b2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "an empty schedule"),
        ("A C", "word 2 of the schedule, 'C', is neither a session (A, B) nor a step (a1, a2, a3, b1, b2)"),
        ("ABA", "word 1 of the schedule, 'ABA', is neither"),
        ("B B B", "word 3 of the schedule: session B has 2 steps (b1, b2), and all are taken by then"),
        ("a b", "word 1 of the schedule, 'a'"),
    ],
)
def test_a_malformed_schedule_is_refused_with_the_word_and_an_example(words: str, said: str) -> None:
    """The example can be copied."""
    with pytest.raises(BadInput) as error:
        Schedule.parse(words, SPEC)
    assert str(error.value).startswith(said)


@given(st.lists(st.sampled_from(["a1", "a2", "a3", "b1", "b2"]), min_size=1, max_size=12))
def test_what_text_writes_parse_reads(steps: list[str]) -> None:
    """Also where steps are out of order, or taken twice."""
    schedule = Schedule(tuple(steps))
    assert Schedule.parse(schedule.text(SPEC), SPEC) == schedule


def test_a_serial_schedule_runs_one_session_after_another() -> None:
    """Each from its first step to its last."""
    spec: Spec = load_case("lost-update")
    assert Schedule.serial(spec, ["B", "A"]).text(spec) == "B B B A A A"
    assert Schedule.serial(spec, ["B"]).text(spec) == "B B B"
