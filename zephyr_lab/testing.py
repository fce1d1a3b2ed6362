"""What a test says to its lab: `Zephyr`, the value of the fixture `zephyr`, and what fails a test.

The lab and its dependencies are imported on first use: pytest loads this in projects that never use them.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from zephyr_lab.options import RUN_OPTIONS, TEST_OPTIONS, ExploreOptions

if TYPE_CHECKING:
    from zephyr_lab.explore.exploration import Exploration
    from zephyr_lab.explore.verdict import Verdict
    from zephyr_lab.lab import Lab
    from zephyr_lab.wire.command_line import Words
    from zephyr_lab.wire.description import Description
    from zephyr_lab.wire.service import Service

T = TypeVar("T")
Setup = str | Path | Callable[..., Any]
Functions = Sequence[Any] | Mapping[str, Any]  # functions, and requests

# The keys in a test's report, also from a worker of xdist and in JUnit's XML.
EXPLORED, INCOMPLETE, REPLAYED = "zephyr", "zephyr_incomplete", "zephyr_replay"
NOT_COMPARED = "zephyr_not_compared"


class ExplorationFailed(AssertionError):
    """Base of a test's failures; `xfail(raises=...)` takes these classes."""


class AnomalyFound(ExplorationFailed):
    """In some schedule the outcome is not that of any serial order."""


class InvariantViolated(ExplorationFailed):
    """In some schedule the invariant does not hold, and no schedule is anomalous."""


class NothingFound(ExplorationFailed):
    """A race was expected, and none was found."""


class NothingTested(ExplorationFailed):
    """Schedules that cannot be judged, or a function that raises in all of them."""


for _one in (AnomalyFound, InvariantViolated, NothingFound, NothingTested):
    _one.__module__ = "builtins"  # like pytest's own outcomes: reports show the name alone


class Replayed(pytest.skip.Exception):  # type: ignore[name-defined,misc]  # an attribute that pytest sets
    """Ends a test whose schedule was replayed without an anomaly; no `except Exception` catches it."""


def seconds_of(text: Any) -> float:
    """Raises UsageError."""
    try:
        seconds = float(text)
    except (TypeError, ValueError):
        seconds = math.nan
    bounds = ExploreOptions.about("budget").bounds
    assert bounds
    if not bounds.admit(seconds):
        raise pytest.UsageError(f"zephyr: {bounds.rule('budget')}, not {text!r}")
    return seconds


def refusals_named(text: str) -> tuple[Any, ...]:
    """SQLSTATEs, and classes by their full names, from the ini file. Raises UsageError."""
    found: list[Any] = []
    for word in text.split():
        if "." not in word:
            found.append(word)
            continue
        module, _, name = word.rpartition(".")
        try:
            found.append(getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError) as error:
            raise pytest.UsageError(f"zephyr_refusals: there is no {word}: {error}") from None
    return tuple(found)


def levels_named(given: Any) -> list[str]:
    """Raises UsageError, which lists the levels."""
    from zephyr_lab.errors import BadInput
    from zephyr_lab.schedule.levels import IsolationLevel

    if given == "all":
        return [str(level) for level in IsolationLevel]
    several = given.split(",") if isinstance(given, str) else given
    try:
        return [str(IsolationLevel.of(one)) for one in (several if isinstance(several, list | tuple) else [several])]
    except BadInput as error:
        raise pytest.UsageError(f"zephyr: {error}; or 'all'") from None


UNSAID = ExploreOptions(isolation=None)
"""The default options of a test; its level is that of the ini file."""


def changed(options: ExploreOptions, given: Mapping[str, Any], places: Sequence[Any] = ()) -> ExploreOptions:
    """These options, overridden by name. Raises UsageError for unknown or positional ones."""
    if wrong := [*map(repr, places), *(name for name in given if name not in TEST_OPTIONS)]:
        known = ", ".join(f"{name}=" for name in TEST_OPTIONS)
        raise pytest.UsageError(f"zephyr takes {known}; not {', '.join(wrong)}")
    if given.get("budget") is not None:
        seconds_of(given["budget"])
    return replace(options, **given)


class Zephyr:
    """The interface of a test to its lab; `lab` is the `zephyr_lab.Lab` itself, one for all tests of a worker.

    `unblocked` gives a context in which other plugins allow the functions to connect.
    """

    def __init__(
        self,
        lab: Lab,
        node: pytest.Item,
        options: ExploreOptions,
        unblocked: Callable[[], Any] = contextlib.nullcontext,
    ) -> None:
        self.lab, self._node, self._options, self._calls = lab, node, options, 0
        self._unblocked = unblocked

    @property
    def isolation(self) -> str:
        """The level, such as `read committed`."""
        return str(self._options.isolation)

    def service(self, command: Words | Description, **options: Any) -> Service:
        """As `Lab.service`, until the test ends; the fixture `zephyr_service` is for fixtures, of any scope."""
        service = self.lab.service(command, **options)
        self._node.addfinalizer(service.close)
        return service

    def explore(self, functions: Functions, **options: Any) -> Exploration:
        """Fails the test if any schedule is anomalous, violates the invariant, or cannot be judged.

        `options` are the marker's: `setup`, SQL, a Path of a file of SQL, or a function, or a list of these, run before
        every schedule; after `once(function)` and SQL rows are restored instead, which is faster; `invariant`, a query
        for true, or a function of the transcript; `isolation`, one level; `samples` and `seed`, for random schedules
        instead of all; `budget`, in seconds. A search that the budget ends skips the test, with its progress.
        `may_raise`: a function may raise in all schedules. `ignore`, `compare`, `refusals`, `retry`, `faults` and
        `time` are as for `Lab.explore`.
        """
        __tracebackhide__ = True
        asked = self._ask(functions, options)
        if asked.replays is not None:
            verdict = asked.replay(asked.replays)
            wrong: type[ExplorationFailed] | None = AnomalyFound if verdict.anomalous else None
            if wrong is None and not asked.holds(verdict):
                wrong = InvariantViolated
            elif wrong is None and verdict.kind == "undecided":
                wrong = NothingTested
            self._end(asked, verdict, wrong)
        found = asked.explore()
        if found.counterexample:
            raise AnomalyFound(asked.explain(found, found.counterexample))
        if found.violation:
            raise InvariantViolated(asked.explain(found, found.violation))
        if undecided := [one for one in found.outcomes.values() if one.verdict == "undecided"]:
            raise NothingTested(asked.explain(found, undecided[0].example))
        if not asked.options.may_raise and (never := _never_returned(found)):
            raise NothingTested(never)
        if asked.cut_short(found):
            # The summary shows the test's location, not this line.
            why = f", {found.unordered}" if found.unordered else f" after {asked.options.budget:g} s"
            raise pytest.skip.Exception(
                f"incomplete{why}: none of {_scope(found)} is anomalous, which is no proof",
                _use_item_location=True,
            )  # fmt: skip
        return found

    def expect_anomaly(self, functions: Functions, **options: Any) -> Exploration:
        """Fails the test if no schedule is anomalous; otherwise as `explore`. `counterexample` is one that is."""
        __tracebackhide__ = True
        asked = self._ask(functions, options)
        if asked.replays is not None:
            verdict = asked.replay(asked.replays)
            self._end(asked, verdict, None if verdict.anomalous else NothingFound)
        found = asked.explore()
        if not found.anomalous:
            raise NothingFound(f"an anomaly was expected, and none of {_scope(found)} is anomalous\n{found}")
        return found

    def expect_violation(self, functions: Functions, **options: Any) -> Exploration:
        """Fails the test if the invariant holds in every schedule; otherwise as `explore`. `violation` is one that
        violates it."""
        __tracebackhide__ = True
        asked = self._ask(functions, options)
        if asked.options.invariant is None:
            raise pytest.UsageError("zephyr: expect_violation needs an invariant")
        if asked.replays is not None:
            verdict = asked.replay(asked.replays)
            self._end(asked, verdict, NothingFound if asked.holds(verdict) else None)
        found = asked.explore()
        if not found.violation:
            raise NothingFound(
                f"the invariant was expected to fail, and none of {_scope(found)} is in violation\n{found}"
            )
        return found

    def _ask(self, functions: Functions, given: Mapping[str, Any]) -> _Asked:
        self._calls += 1
        options = changed(self._options, given)
        levels = levels_named(options.isolation)
        if len(levels) > 1:
            raise pytest.UsageError("zephyr: one call explores one level; the marker takes several")
        config = self._node.config
        bounds = [one for one in (options.budget, config.getoption("--zephyr-budget")) if one is not None]
        setup = options.setup
        parts = [setup] if isinstance(setup, str | Path) or callable(setup) else setup
        read = [(config.rootpath / one).read_text(encoding="utf-8") if isinstance(one, Path) else one for one in parts]
        options = replace(options, isolation=levels[0], setup=read, budget=min(bounds, default=None))
        if not isinstance(functions, Mapping):
            functions = {} if callable(functions) else dict(zip(ascii_uppercase, functions, strict=False))
        return _Asked(self.lab, self._node, self._calls, dict(functions), options, self._unblocked)

    def _end(self, asked: _Asked, verdict: Verdict, wrong: type[ExplorationFailed] | None) -> None:
        """Ends a test after a replay."""
        __tracebackhide__ = True
        text = asked.verdict_text(verdict)
        if wrong is not None:
            raise wrong(f"{asked.told_of(verdict)}\n{text}")
        self._node.user_properties.append((REPLAYED, text))
        raise Replayed


@dataclass(frozen=True)
class _Asked:
    """One call of a test, the `number`th from 1."""

    lab: Lab
    node: pytest.Item
    number: int
    functions: dict[str, Any]
    options: ExploreOptions
    unblocked: Callable[[], Any]

    @property
    def replays(self) -> str | None:
        """The schedule to replay in this call, if any: `A B A`, or `2: A B A` for the second call."""
        given = self.node.config.getoption("--zephyr-replay")
        if given is None:
            return None
        number, schedule = re.fullmatch(r"(?:\s*(\d+):)?(.*)", given, re.DOTALL).groups()  # type: ignore[union-attr]
        return schedule.strip() if int(number or 1) == self.number else None

    def explore(self) -> Exploration:
        __tracebackhide__ = True
        options = self.options
        found = self._without_internals(
            lambda: self.lab.explore(self.functions, **replace(options, may_raise=True).part(TEST_OPTIONS))
        )
        if found.interrupted:  # the lab keeps what was found; a test run must stop
            raise KeyboardInterrupt
        name = EXPLORED if found.complete else INCOMPLETE
        told = f"{found.scope()}, {found.known.anomalous} anomalous, {found.known.blocked_steps} blocked steps"
        self.node.user_properties.append((name, f"{self.sessions} at {options.isolation}: {told}"))
        if found.not_compared:
            self.node.user_properties.append((NOT_COMPARED, f"used, and not compared: {'; '.join(found.not_compared)}"))
        return found

    def replay(self, schedule: str) -> Verdict:
        __tracebackhide__ = True
        return self._without_internals(
            lambda: self.lab.replay(self.functions, schedule, **self.options.part(RUN_OPTIONS))
        )

    def _without_internals(self, call: Callable[[], T]) -> T:
        """Starts the traceback of the lab's errors at the test."""
        __tracebackhide__ = True
        from zephyr_lab.errors import LabError

        try:
            with self.unblocked():
                return call()
        except LabError as error:
            raise error.with_traceback(None) from None

    def holds(self, verdict: Verdict) -> bool:
        invariant = self.options.invariant
        if invariant is None:
            return True
        if not callable(invariant):
            return verdict.transcript.answer == ((True,),)
        with self.unblocked():
            return bool(self.lab.run_beside("invariant", lambda: invariant(verdict.transcript)))

    def cut_short(self, found: Exploration) -> bool:
        return not found.complete and (self.options.samples is None or found.schedules < self.options.samples)

    @property
    def sessions(self) -> str:
        from zephyr_lab.functions.arguments import name_of

        return ", ".join(f"{name} {name_of(one)}" for name, one in self.functions.items())

    def explain(self, found: Exploration, schedule: str) -> str:
        """The first line is the error; then the schedule, its transcript, and how to run it alone."""
        from zephyr_lab.errors import StepTimeout

        counts = found.known
        of = f"of {_scope(found)} ({self.sessions}; {self.options.isolation})"
        if counts.anomalous:
            first = f"{counts.anomalous:,} {of} have an outcome that no serial order gives"
        elif counts.violated:
            first = f"{counts.violated:,} {of} violate the invariant"
        else:
            first = f"{counts.undecided:,} {of} cannot be judged"
        if counts.anomalous and counts.violated:
            first += f", {counts.violated:,} violate the invariant"
        try:
            text = self.verdict_text(self.replay(schedule))
        except StepTimeout as error:
            text = str(error)
        if schedule == found.counterexample and found.explanation:
            text = "\n".join([text, *found.explanation])
        return "\n".join([first, text, f"replay: {self.command(schedule)}", *self.exported(found)])

    def exported(self, found: Exploration) -> list[str]:
        """The files of --zephyr-export, which are written, or the command that writes one."""
        files = self.node.config.getoption("--zephyr-export")
        if not found.counterexample:
            return []
        if not files:
            return [f"export: pytest {self._nodeid} --zephyr-export race.html (or .spec, .sql, .py)"]
        with self.unblocked():
            return found.counterexample.export_all(map(Path, files))

    @property
    def _nodeid(self) -> str:
        return shlex.quote(self.node.config.cwd_relative_nodeid(self.node.nodeid))

    def told_of(self, verdict: Verdict) -> str:
        return f"schedule {verdict.transcript.schedule!r} at {self.options.isolation}: {verdict.kind}: {verdict.reason}"

    def verdict_text(self, verdict: Verdict) -> str:
        shown, alike = verdict.of_what_differs()
        lines = ["", str(shown.transcript), "", str(shown)]
        if alike:
            lines.append(f"{alike} more table{'s are' if alike > 1 else ' is'} the same in all these orders")
        if self.options.invariant is not None:
            lines.append("the invariant " + ("holds" if self.holds(verdict) else "is violated"))
            if not self.holds(verdict) and verdict.kind not in ("occurs", "undecided"):
                lines[-1] += " although a serial order ends so, too: the functions break it, not their order"
        if self.replays is not None:
            asked, run = self.replays.split(), verdict.transcript.schedule.split()
            if run[: len(asked)] != asked:
                lines.append(f"asked for {self.replays!r}: turns of sessions that waited or had ended were passed over")
            elif run != asked:
                lines.append(f"asked for {self.replays!r}: then the sessions ran on")
        return "\n".join([*lines, f"on {self.lab.server}"])

    def command(self, schedule: str) -> str:
        words = f"{self.number}: {schedule}" if self.number > 1 else schedule
        return f"pytest {self._nodeid} --zephyr-replay " + (
            f'"{words}"' if re.fullmatch(r"[\w :]+", words) else shlex.quote(words)
        )


def _scope(found: Exploration) -> str:
    total = found.known.schedules
    counted = f"{total:,} schedule{'s' if total != 1 else ''}"
    return f"all {counted}" if found.complete else f"the {counted} that were run (not all)"


def _never_returned(found: Exploration) -> str | None:
    """Sessions that raised the same kind of error in every schedule, serial ones included, so that there is no
    anomaly."""
    for session, texts in found.raised_only().items():
        return (
            f"session {session} returned in none of {_scope(found)}, it raised {' or '.join(texts)}: "
            "nothing was tested; say may_raise=True if that is intended"
        )
    return None
