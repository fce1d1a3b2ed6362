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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import psycopg

from zephyr_lab.course.answer import Answer
from zephyr_lab.course.observed import Observed
from zephyr_lab.course.rules import (
    COMES_TO_ITS_END,
    LEVEL_IS_GIVEN,
    NOBODY_IS_STUCK,
    ROWS_STAY,
    UNDERSTOOD_NOT,
    LevelChanged,
    Rule,
)
from zephyr_lab.errors import LabError
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.functions.once import once
from zephyr_lab.lab import Lab
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import Transcript

MOST = {1: 400, 2: 400, 3: 150}  # schedules that are run, by the number of sessions; where there are more,
SAMPLES = 60  # random ones are

Learners = Callable[..., Any]
Session = Callable[..., Any]


@dataclass(frozen=True)
class Scenario:
    """Concurrent calls of the learner's function, a session each.

    `calls` makes a session, a function of a connection, of the learner's function. `expected` are rules of
    this scenario beside the exercise's.
    """

    words: str
    setup: str | Session
    calls: Mapping[str, Callable[[Learners], Session]]
    expected: tuple[Rule, ...] = ()


class Checker(Protocol):
    """An exercise: its task in words, and a check of a function."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def task(self) -> str: ...

    def details(self) -> str: ...

    def check(self, lab: Lab, function: Learners) -> Answer: ...


@dataclass(frozen=True)
class Exercise:
    """An exercise that is checked by exploring; `parameters` are those of the learner's function."""

    name: str
    title: str
    task: str
    parameters: tuple[str, ...]
    scenarios: tuple[Scenario, ...]
    rules: tuple[Rule, ...]
    before: tuple[Rule, ...] = (
        NOBODY_IS_STUCK,
        LEVEL_IS_GIVEN,
        COMES_TO_ITS_END,
    )  # asked before the scenario's own rules
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED

    def details(self) -> str:
        """How it is checked, and its tables."""
        together = [one.words for one in self.scenarios if len(one.calls) > 1]
        setup = next((one.setup.strip() for one in self.scenarios if isinstance(one.setup, str)), "")
        level = f" at {self.isolation}," if setup else ""
        lines = [f"Checked{level} in the schedules of the round trips of:", *(f"  - {words}" for words in together)]
        return "\n".join([*lines, *(["", setup] if setup else [])])

    def check(self, lab: Lab, function: Learners) -> Answer:
        """Runs one session, then two, then three; the first scenario that breaks a rule gives the answer."""
        if said := wrong_form(function, self.parameters):
            return Answer(self.name, False, said)
        search = _Search(self, lab, _Watched(function))
        with contextlib.redirect_stdout(io.StringIO()):
            return next(filter(None, map(search.broken, self.scenarios)), None) or search.holds()


class _TooMany(Exception):
    """There are too many schedules to run them all."""


@dataclass
class _Search:
    exercise: Exercise
    lab: Lab
    watched: _Watched
    ran: list[tuple[int, Exploration]] = field(default_factory=list)

    def broken(self, scenario: Scenario) -> Answer | None:
        """The answer for the shortest schedule that breaks a rule, if any does."""
        rules = (*self.exercise.before, *scenario.expected, *self.exercise.rules)
        found: list[tuple[Observed, Rule, str]] = []

        def holds(transcript: Transcript) -> bool:
            run = Observed.of(transcript)
            for rule in rules:
                try:
                    said = rule.broken(run)
                except KeyError as gone:
                    rule, said = ROWS_STAY, f"{gone} is gone."
                if said:
                    found.append((run, rule, said))
                    return False
            return True

        try:
            explored = self._explore(scenario, holds)
            if explored is None and not found:
                explored = self._explore(scenario, holds, SAMPLES)
        except LabError as error:
            return self._not_run(scenario, error)
        if found:
            run, rule, said = min(found, key=lambda one: (one[1].minor, one[0].length()))
            return self._answer(scenario, run, rule, said, len(found), explored)
        assert explored
        self.ran.append((len(scenario.calls), explored))
        return None

    def _not_run(self, scenario: Scenario, error: LabError) -> Answer:
        """The answer for a function that cannot be explored; it may have raised before it sent anything."""
        if self.watched.last:
            rule, (raised, place) = COMES_TO_ITS_END, self.watched.last
            head = f"not yet, and without any race: {scenario.words}"
            said = f"{self.watched.name}() ended with {raised}."
            return Answer(self.exercise.name, False, head, said, rule.sentence, f"{place} {rule.hint}".strip())
        head = f"with {scenario.words}, {self.watched.name}() could not be run to its end: {error}."
        return Answer(self.exercise.name, False, head)

    def _explore(
        self, scenario: Scenario, holds: Callable[[Transcript], bool], samples: int | None = None
    ) -> Exploration | None:
        """All schedules, with reduction for three sessions, or some random ones; None if there are too many."""
        number = len(scenario.calls)

        def seen(explored: Exploration) -> None:
            if explored.schedules > MOST[number]:
                raise _TooMany

        try:
            return self.lab.explore(
                {name: make(self.watched) for name, make in scenario.calls.items()},
                setup=scenario.setup if isinstance(scenario.setup, str) else once(scenario.setup),
                isolation=self.exercise.isolation,
                invariant=holds,
                samples=samples,
                reduction=number > 2,
                may_raise=True,
                shrink=False,  # the shortest of all is among those that were seen
                on_progress=seen,
            )
        except _TooMany:
            return None

    def _answer(
        self, scenario: Scenario, run: Observed, rule: Rule, said: str, broken: int, explored: Exploration | None
    ) -> Answer:
        if len(scenario.calls) == 1:
            head = f"not yet, and without any race: {scenario.words}"
        else:
            head = f"the schedule {run.transcript.schedule} breaks it: {scenario.words}. "
            scope = explored.scope() if explored else f"the first {MOST[len(scenario.calls)]:,} schedules"
            scope = scope if not explored or explored.complete else f"{explored.schedules:,} random schedules"
            head += f"Of {scope}, {broken:,} {'break' if broken > 1 else 'breaks'} a rule."
        place = self.watched.place_of(said)
        hint = f"{place} {rule.hint}" if place else rule.hint if rule.first else run.diagnosis() or rule.hint
        return Answer(
            self.exercise.name, False, head, said, rule.sentence, hint, replace(run.transcript, case=self.exercise.name)
        )

    def holds(self) -> Answer:
        """The answer if no rule was broken: exactly what was run."""
        parts, waits = [], 0
        for number, group in itertools.groupby(self.ran, key=lambda one: one[0]):
            runs = [explored for _, explored in group]
            schedules = sum(one.known.schedules for one in runs)
            waits += sum(one.known.blocked_steps for one in runs)
            if number > 1:
                complete = {one.complete for one in runs}
                if len(complete) > 1:
                    which = "{} schedules, not all,"
                else:
                    which = "all {} schedules" if complete == {True} else "{} random schedules"
                proof = "" if complete == {True} else " (which is no proof)"
                parts.append(f"{which.format(f'{schedules:,}')} of {number} sessions{proof}")
        blocked = "nobody ever had to wait" if not waits else f"{waits:,} times a step had to wait for another session"
        return Answer(self.exercise.name, True, f"it holds in {' and in '.join(parts)}; {blocked}.")


def wrong_form(function: Learners, parameters: tuple[str, ...]) -> str:
    """Why a function cannot be called as the exercise calls it, in words; empty if it can."""
    name = getattr(function, "__name__", "your function")
    wanted = f"{name}({', '.join(parameters)})"
    if inspect.iscoroutinefunction(function):
        return f"{name} is an `async def`; this exercise takes an ordinary function, `def {wanted}`."
    try:
        inspect.signature(function).bind(*parameters)
    except (TypeError, ValueError) as error:
        return f"the checker calls {wanted}, and {name}() cannot be called so: {error}."
    return ""


class _Watched:
    """The learner's function; records where it raised what, and why, in the server's words."""

    def __init__(self, function: Learners) -> None:
        self._function = function
        self.name = getattr(function, "__name__", "your function")
        self._places: dict[str, str] = {}
        self.last: tuple[str, str] | None = None

    def __call__(self, *args: Any) -> Any:
        self.last = None
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
        at = ""
        if code is not None and line and (text := linecache.getline(code.co_filename, line).strip()):
            at = f"It was raised in line {line - code.co_firstlineno + 1} of {self.name}(): `{text}`."
        if isinstance(error, psycopg.Error):
            # What the server could not understand, it explains best; of conflicts the SQLSTATE says enough.
            if (error.sqlstate or "").startswith(UNDERSTOOD_NOT) and error.diag.message_primary:
                self._places[error.sqlstate or ""] = f'{at} The server says: "{error.diag.message_primary}".'.strip()
        else:
            self._places[repr(error)] = at
            self.last = repr(error), at

    def place_of(self, said: str) -> str:
        """The place at which the error that `said` quotes was raised, if it quotes one."""
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
