"""The exercises take what holds, and answer what does not with the schedule, the rule and a hint."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.exercises import booking, create, queue, reservation, retry, shifts, transfer
from zephyr_lab import Lab
from zephyr_lab.course import exercise
from zephyr_lab.course.answer import Answer
from zephyr_lab.course.exercises import EXERCISES
from zephyr_lab.errors import BadInput

Function = Callable[..., Any]

RIGHT = {
    "safe-booking": booking.SAFE,
    "booking-without-waits": booking.UNHINDERED,
    "transfer-without-deadlock": transfer.RIGHT,
    "exactly-once": retry.RIGHT,
    "reservation": reservation.RIGHT,
    "job-queue": queue.RIGHT,
    "idempotent-create": create.RIGHT,
    "somebody-stays": shifts.RIGHT,
}
REFUSED = {
    "safe-booking": booking.REFUSED,
    "booking-without-waits": booking.HINDERED,
    "transfer-without-deadlock": transfer.REFUSED,
    "exactly-once": retry.REFUSED,
    "reservation": reservation.REFUSED,
    "job-queue": queue.REFUSED,
    "idempotent-create": create.REFUSED,
    "somebody-stays": shifts.REFUSED,
}


ANSWERS: dict[tuple[str, Function], Answer] = {}


def answer_to(lab: Lab, name: str, function: Function) -> Answer:
    """An exercise's answer to a function; asked once."""
    if (name, function) not in ANSWERS:
        ANSWERS[name, function] = exercise(name, lab).check(function)
    return ANSWERS[name, function]


def both(solutions: dict[str, Any], first: int = 99) -> list[Any]:
    """Exercises with functions; those after the `first` of each are for `make thorough`."""
    return [
        pytest.param(
            name, function, id=f"{name}-{function.__name__}", marks=[pytest.mark.thorough] if place >= first else []
        )
        for name, functions in solutions.items()
        for place, function in enumerate(functions)
    ]


def test_every_exercise_has_a_solution_and_mistakes() -> None:
    """At least five mistakes each."""
    assert set(RIGHT) == set(REFUSED) == set(EXERCISES)
    assert all(RIGHT.values())
    assert min(len(mistakes) for mistakes in REFUSED.values()) >= 5


def test_every_exercise_has_hints_and_a_solution_behind_a_click(lab: Lab) -> None:
    """Folded, in HTML; the text has the task only."""
    for name in EXERCISES:
        posed = exercise(name, lab)
        html = posed._repr_html_()
        assert len(posed.hints()) >= 3
        assert html.count("<details") == len(posed.hints()) + 2
        assert "open" not in re.findall(r"<details[^>]*>", html)[0]
        assert posed.hints()[0] not in str(posed)


@pytest.mark.thorough_but("booking-without-waits")
@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_that_is_shown_is_taken(lab: Lab, name: str) -> None:
    """As a reader would paste it."""
    exec(exercise(name, lab).solution(), scope := {})
    (function,) = (one for key, one in scope.items() if inspect.isfunction(one))
    answer = exercise(name, lab).check(function)
    assert answer.right, answer


@pytest.mark.thorough_but("safe-booking-guarded", "exactly-once-asks_first")
@pytest.mark.parametrize(("name", "function"), both(RIGHT, first=1))
def test_what_holds_is_taken(lab: Lab, name: str, function: Function) -> None:
    """And the answer says over which orders."""
    answer = answer_to(lab, name, function)
    assert answer.right, answer
    said = " ".join(answer.words().split())
    assert "schedules of 2 sessions and in " in said or "in all 10 cases" in said
    assert answer.transcript is None


@pytest.mark.thorough_but(
    "safe-booking-check_then_add",
    "transfer-without-deadlock-naive",
    "idempotent-create-not_exists",
    "exactly-once-around_the_work_only",
)
@pytest.mark.parametrize(("name", "function"), both(REFUSED, first=3))
def test_what_does_not_hold_is_answered_with_the_rule_that_it_breaks(lab: Lab, name: str, function: Function) -> None:
    """Never with the word "wrong"; with a hint, and with the schedule where one was run."""
    answer = answer_to(lab, name, function)
    expected = REFUSED[name][function]
    assert not answer.right, answer
    assert expected in " ".join(answer.words().split())
    assert "wrong" not in answer.words().lower()
    if answer.transcript is not None:
        assert answer.rule
        assert answer.hint
        assert answer.happened
        assert "image/svg+xml" in answer.transcript._repr_mimebundle_()


def test_the_shortest_schedule_is_the_answer(lab: Lab) -> None:
    """Six steps, two switches; no schedule of naive() that breaks a rule is shorter."""
    answer = answer_to(lab, "safe-booking", booking.naive)
    assert answer.schedule == "A B B B A A"
    assert "Of all 14 schedules, 12 break a rule." in " ".join(answer.words().split())


@pytest.mark.thorough
def test_where_all_orders_were_run_the_answer_says_so_and_how_often_somebody_waited(lab: Lab) -> None:
    """Random ones are no proof, and are called so."""
    few = answer_to(lab, "safe-booking", booking.guarded).words()
    assert "in all 8 schedules of 2 sessions and in all 30 schedules of 3 sessions; 40 times" in " ".join(few.split())
    many = answer_to(lab, "safe-booking", booking.versioned).words()
    assert "60 random schedules of 3 sessions (which is no proof)" in " ".join(many.split())
    free = answer_to(lab, "booking-without-waits", booking.in_one_message).words()
    assert "nobody ever had to wait" in " ".join(free.split())


def test_an_answer_is_words_above_a_timeline(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """In Jupyter both; as text the transcript follows."""
    answer = answer_to(lab, "idempotent-create", create.naive)
    answer._ipython_display_()
    assert answer.words() in capsys.readouterr().out
    assert str(answer.transcript) in str(answer)


def test_what_a_function_prints_is_not_shown(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be printed once for every order."""

    def talkative(conn: Any, slot: str, price: int) -> bool:
        print("booking")
        return booking.guarded(conn, slot, price)

    assert exercise("safe-booking", lab).check(talkative).right
    assert capsys.readouterr().out == ""


def test_what_a_third_session_has_locked_does_not_hold_up_the_next_check(lab: Lab) -> None:
    """A lock of the session's own lasts as long as its connection."""

    def lock(conn: Any) -> bool:
        return bool(conn.execute("select pg_try_advisory_lock(18)").fetchone()[0])

    lab.explore({"C": lock})
    assert "A returned True" in str(lab.explore({"A": lock}))


@pytest.mark.thorough
@pytest.mark.slow
def test_a_function_that_hangs_is_answered_with_what_is_known_of_it(lab: Lab) -> None:
    """And the lab goes on."""

    def hangs(conn: Any, slot: str, price: int) -> bool:
        conn.execute("select pg_sleep(3600)")
        return True

    answer = exercise("safe-booking", lab).check(hangs)
    assert "hangs() could not be run to its end" in " ".join(answer.words().split())
    assert "pg_sleep" in answer.words()
    assert exercise("safe-booking", lab).check(booking.guarded).right


def test_a_function_that_tries_for_ever_is_answered_so(lab: Lab) -> None:
    """After 500 turns."""

    def spins(conn: Any, slot: str, price: int) -> bool:
        while not conn.execute("select false").fetchone()[0]:
            pass
        return True

    assert "endless retry" in exercise("safe-booking", lab).check(spins).words()


def test_what_is_no_function_and_what_is_no_exercise_is_said_at_once(lab: Lab) -> None:
    """With what there is."""
    with pytest.raises(BadInput, match="takes your function itself"):
        exercise("safe-booking", lab).check(True)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="unknown exercise 'safe-bookings'; there are: safe-booking, "):
        exercise("safe-bookings", lab)


def test_an_exercise_shows_what_it_asks_for(lab: Lab) -> None:
    """The task, what will be run, and the tables."""
    shown = str(exercise("job-queue", lab))
    assert "work(conn, bake)" in shown
    assert "two bakers, two orders, and A's oven breaks" in shown
    assert "create table orders" in shown
