"""Rules: what must hold after every schedule of a learner's function; those of several exercises."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from zephyr_lab.course.observed import Observed
from zephyr_lab.sql.classify import mentions_level

UNDERSTOOD_NOT = ("0A", "22", "42")  # classes of SQLSTATEs: feature not supported, data exception, syntax error


@dataclass(frozen=True)
class Rule:
    """What must hold after every schedule.

    `broken` says in words what happened instead, or nothing. `hint` is used if the schedule itself does not show
    why it went wrong, or, with `first`, in any case. A `minor` rule is about the price: it counts where no other
    rule is broken by any schedule.
    """

    sentence: str
    broken: Callable[[Observed], str | None]
    hint: str
    first: bool = False
    minor: bool = False


class LevelChanged(Exception):
    """The function chose another isolation level, which the exercise rules out."""


def _ended_with(run: Observed, wanted: Callable[[str], bool]) -> str | None:
    said = [f"{name} ended with {error}" for name, error in run.raised.items() if wanted(error)]
    return "; ".join(said) + "." if said else None


def _is_refusal(error: str) -> bool:
    """Whether an SQLSTATE is a refusal, and not an error in the statement or its data."""
    return re.match(r"[0-9A-Z]{5} ", error) is not None and not error.startswith(UNDERSTOOD_NOT)


COMES_TO_ITS_END = Rule(
    "the function comes to its end",
    lambda run: _ended_with(run, lambda error: not _is_refusal(error)),
    "Try the function's first steps by hand, in a cell of their own.",
)


def _stuck(run: Observed) -> str | None:
    for name in run.stuck:
        wait = next((step for step in reversed(run.steps) if step.session == name and step.wait), None)
        if wait and wait.wait:
            return f"{name} {wait.wait.text()}, and goes on waiting when all the others have come to their end."
        return f"{name} has not come to its end, though it could have gone on."
    return None


NOBODY_IS_STUCK = Rule(
    "whoever waits goes on when the others have come to their end",
    _stuck,
    "A lock of the session outlives the transaction. Who gives it back, on every way through the function?",
    first=True,
)

ROWS_STAY = Rule(
    "the tables and rows that the exercise is about are still there",
    lambda run: None,  # noticed by the other rules, when they look for them
    "What the function is to change is in the rows: it neither takes them away nor their tables.",
    first=True,
)


def nobody_is_aborted(sentence: str, hint: str) -> Rule:
    """The rule that no call ends with an error of the server."""
    return Rule(sentence, lambda run: _ended_with(run, _is_refusal), hint)


def _other_level(run: Observed) -> str | None:
    for step in run.steps:
        if mentions_level(step.sql):
            return f"{step.session} sent `{' '.join(step.sql.split())}`."
    return next((f"{name} set {text}." for name, text in run.raised.items() if "LevelChanged" in text), None)


LEVEL_IS_GIVEN = Rule(
    "the isolation level stays as it is given",
    _other_level,
    "Another level is another remedy, and its 40001 has to be retried. This exercise is to do without.",
    first=True,
)


def yes_or_no(name: str) -> Rule:
    """The rule that a function returns True or False."""

    def broken(run: Observed) -> str | None:
        said = [f"{who} returned {answer!r}" for who, answer in run.returned.items() if not isinstance(answer, bool)]
        return "; ".join(said) + "." if said else None

    hint = "The caller is told a bool, and on every way through the function."
    return Rule(f"{name}() returns True or False", broken, hint)
