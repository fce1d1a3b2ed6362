"""An exercise: a function to be written, and a checker that runs it in every order and looks for one that breaks it.

The checker calls the learner's function alone, then in 2 sessions at once, then in 3, on the real server. After every
schedule it asks whether the exercise's rules hold, and the shortest schedule that breaks one is the answer: never
"wrong", but the schedule, the rule and a hint.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import linecache
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg

from zephyr_lab.course.answer import Answer
from zephyr_lab.course.observed import Observed
from zephyr_lab.errors import LabError
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.lab import Lab
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import Transcript

FEW = 6  # schedules of two sessions, of which three have so few that all are run
UNDERSTOOD_NOT = ("0A", "22", "42")  # classes of SQLSTATEs: feature not supported, data exception, syntax error
SAMPLES = 60  # random schedules of three sessions otherwise

Learners = Callable[..., Any]
Session = Callable[..., Any]


@dataclass(frozen=True)
class Rule:
    """What must hold after every schedule.

    `broken` says in words what happened instead, or nothing. `hint` is used where the schedule itself does not show
    why it went wrong, or, with `first`, in any case.
    """

    sentence: str
    broken: Callable[[Observed], str | None]
    hint: str
    first: bool = False


@dataclass(frozen=True)
class Scenario:
    """Calls of the learner's function at the same time, a session each.

    `calls` makes a session, a function of a connection, of the learner's function. `expected` are further rules that
    are the scenario's own.
    """

    words: str
    setup: str | Session
    calls: Mapping[str, Callable[[Learners], Session]]
    expected: tuple[Rule, ...] = ()


class Checker(Protocol):
    """What an exercise can do: say what it asks for, and check a function."""

    name: str
    title: str
    task: str

    def details(self) -> str: ...

    def check(self, lab: Lab, function: Learners) -> Answer: ...


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answer is found by exploring; `parameters` are those of the function that it asks for."""

    name: str
    title: str
    task: str
    parameters: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    rules: tuple[Rule, ...]
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED

    def details(self) -> str:
        """How it is checked, and the tables."""
        together = [one.words for one in self.scenarios if len(one.calls) > 1]
        lines = [f"Checked at {self.isolation}, in the orders of the round trips of:"]
        lines += [f"  - {words}" for words in together]
        setups = dict.fromkeys(one.setup for one in self.scenarios if isinstance(one.setup, str))
        return "\n".join([*lines, "", *[setup.strip() for setup in list(setups)[:1]]])

    def check(self, lab: Lab, function: Learners) -> Answer:
        """Alone, then two sessions, then three; the first scenario that breaks a rule gives the answer."""
        if said := wrong_form(function, self.parameters):
            return Answer(self.name, False, said)
        search = _Search(self, lab, _Watched(function))
        with contextlib.redirect_stdout(io.StringIO()):
            return next(filter(None, map(search.broken, self.scenarios)), None) or search.holds()


@dataclass
class _Search:
    exercise: Exercise
    lab: Lab
    watched: _Watched
    ran: list[tuple[int, Exploration]] = field(default_factory=list)

    def broken(self, scenario: Scenario) -> Answer | None:
        """The answer of the shortest schedule that breaks a rule, if any does."""
        rules = (*scenario.expected, *self.exercise.rules)
        found: list[tuple[Observed, Rule, str]] = []

        def holds(transcript: Transcript) -> bool:
            run = Observed.of(transcript)
            for rule in rules:
                if said := rule.broken(run):
                    found.append((run, rule, said))
                    return False
            return True

        number = len(scenario.calls)
        few = all(one.schedules <= FEW for sessions, one in self.ran if sessions == number - 1)
        try:
            explored = self.lab.explore(
                {name: make(self.watched) for name, make in scenario.calls.items()},
                setup=scenario.setup,
                isolation=self.exercise.isolation,
                invariant=holds,
                samples=None if number < 3 or few else SAMPLES,
                shrink=False,  # the shortest of all is among those that were seen
            )
        except LabError as error:
            return Answer(
                self.exercise.name,
                False,
                f"with {scenario.words}, {self.watched.name}() could not be run to its end: {error}",
            )
        self.ran.append((number, explored))
        if not found:
            return None
        run, rule, said = min(found, key=lambda one: one[0].length())
        return self._answer(scenario, run, rule, said, len(found), explored)

    def _answer(
        self, scenario: Scenario, run: Observed, rule: Rule, said: str, broken: int, explored: Exploration
    ) -> Answer:
        if len(scenario.calls) == 1:
            head = f"not yet, and without any race: {scenario.words}"
        else:
            head = f"the schedule {run.transcript.schedule} breaks it: {scenario.words} ({_share(broken, explored)})"
        hint = rule.hint if rule.first else self.watched.place_of(said) or run.diagnosis() or rule.hint
        return Answer(self.exercise.name, False, head, said, rule.sentence, hint, run.transcript)

    def holds(self) -> Answer:
        """The answer where no rule was broken: what was run, as exactly as it was."""
        parts, waits = [], 0
        for number, group in itertools.groupby(self.ran, key=lambda one: one[0]):
            runs = [explored for _, explored in group]
            schedules = sum(one.schedules for one in runs)
            waits += sum(one.run.blocked_steps for one in runs)
            if number > 1:
                complete = all(one.complete for one in runs)
                which = f"all {schedules:,}" if complete else f"{schedules:,} random"
                parts.append(f"{which} orders of {number} sessions" + ("" if complete else " (which is no proof)"))
        blocked = "nobody ever had to wait" if not waits else f"{waits:,} times a step had to wait for another session"
        return Answer(self.exercise.name, True, f"it holds in {' and in '.join(parts)}; {blocked}.")


def _share(broken: int, explored: Exploration) -> str:
    scope = f"all {explored.schedules:,}" if explored.complete else f"{explored.schedules:,} random"
    return f"in {broken:,} of {scope} schedules a rule is broken"


def wrong_form(function: Learners, parameters: tuple[str, ...]) -> str:
    """In words, how a function cannot be called as the exercise calls it; empty where it can."""
    name = getattr(function, "__name__", "your function")
    wanted = f"{name}({', '.join(parameters)})"
    if inspect.iscoroutinefunction(function):
        return f"{name} is an `async def`; this exercise takes an ordinary function, `def {wanted}`."
    try:
        inspect.signature(function).bind(*parameters)
    except (TypeError, ValueError) as error:
        return f"the checker calls {wanted}, and {name}() cannot be called so: {error}."
    return ""


class LevelChanged(Exception):
    """A function has chosen another isolation level, and the exercise is to do without."""


class _Watched:
    """The learner's function; keeps in mind where, and in the server's words why, it raised what."""

    def __init__(self, function: Learners) -> None:
        self._function = function
        self.name = getattr(function, "__name__", "your function")
        self._places: dict[str, str] = {}

    def __call__(self, *args: Any) -> Any:
        try:
            return self._function(*args)
        except Exception as error:
            self._note(error)
            raise

    def _note(self, error: Exception) -> None:
        code = getattr(inspect.unwrap(self._function), "__code__", None)
        trace, line = error.__traceback__, 0
        while trace is not None:
            if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
                line = trace.tb_lineno
            trace = trace.tb_next
        text = linecache.getline(code.co_filename, line).strip() if code is not None and line else ""
        at = f"It was raised in line {line - code.co_firstlineno + 1} of {self.name}(): `{text}`." if text else ""
        if isinstance(error, psycopg.Error):
            # What the server could not understand, it explains best; of conflicts the SQLSTATE says enough.
            if (error.sqlstate or "").startswith(UNDERSTOOD_NOT) and error.diag.message_primary:
                self._places[error.sqlstate or ""] = f'{at} The server says: "{error.diag.message_primary}".'.strip()
        else:
            self._places[repr(error)] = at

    def place_of(self, said: str) -> str:
        """Where the error that is quoted in `said` came from, if one is."""
        return next((place for error, place in self._places.items() if error and error in said), "")


def call(*args: Any) -> Callable[[Learners], Session]:
    """A session that calls the learner's function with its connection and `args`."""

    def of(function: Learners) -> Session:
        def session(conn: psycopg.Connection[Any]) -> Any:
            answer = function(conn, *args)
            if conn.isolation_level is not None:
                raise LevelChanged(f"conn.isolation_level = {conn.isolation_level.name}")
            return answer

        return session

    return of


def _ended_with(run: Observed, wanted: Callable[[str], bool]) -> str | None:
    said = [f"{name} ended with {error}" for name, error in run.raised.items() if wanted(error)]
    return "; ".join(said) + "." if said else None


def _is_refusal(error: str) -> bool:
    """Whether a server refused, by SQLSTATE, and not because it could not understand or compute what it was sent."""
    return re.match(r"[0-9A-Z]{5} ", error) is not None and not error.startswith(UNDERSTOOD_NOT)


COMES_TO_ITS_END = Rule(
    "the function comes to its end",
    lambda run: _ended_with(run, lambda error: not _is_refusal(error)),
    "Run the function's first steps by hand, on a connection of lab.connect().",
)


def nobody_is_sent_away(sentence: str, hint: str) -> Rule:
    """The rule that no call ends with an error of the server."""
    return Rule(sentence, lambda run: _ended_with(run, _is_refusal), hint)


def _other_level(run: Observed) -> str | None:
    for step in run.steps:
        text = step.sql.lower()
        if "set isolation" in text or "isolation level" in text or "transaction_isolation" in text:
            return f"{step.session} sent `{' '.join(step.sql.split())}`."
    return next((f"{name} set {text}." for name, text in run.raised.items() if "LevelChanged" in text), None)


LEVEL_IS_GIVEN = Rule(
    "the isolation level stays as it is given",
    _other_level,
    "Another level is another remedy, and its 40001 has to be retried. This exercise is to do without.",
    first=True,
)
