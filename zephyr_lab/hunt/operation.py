"""An operation on its own: what it asks, alone or after others, and how it is run before others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zephyr_lab.errors import LabError, SetupFailed, StepTimeout
from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.functions.arguments import Kind, name_of, parameters_of
from zephyr_lab.functions.places import place_of
from zephyr_lab.functions.trace import Trace
from zephyr_lab.hunt.access import REDIS, Footprint, footprint_of
from zephyr_lab.hunt.decision import NOT_HERE, Explores
from zephyr_lab.schedule.faults import CLOCK
from zephyr_lab.schedule.transcript import Transcript
from zephyr_lab.wire.works import Connecting, Request, is_wired

Names = tuple[str, ...]
_FAILED = re.compile(r"-> (HTTP [45]\d\d.*)", re.DOTALL)
_GIVEN_TO_A_SETUP = {Kind.CONNECTION, Kind.REDIS, Kind.ENGINE}


@dataclass(frozen=True)
class Setups:
    """Setups that differ: `of` gives what the schedules of these operations begin with."""

    of: Callable[[Names], Any]


@dataclass(frozen=True)
class Met:
    """What came of an operation that was run after those of `prefix`, from the setup.

    `trouble` is why it did not do its work: it raised, was answered with an error, or asked nothing; '' if it did.
    `footprint` is None if it asked nothing that the lab sees. `is_final`: it would be the same after any others.
    """

    prefix: Names
    footprint: Footprint | None
    trouble: str = ""
    is_final: bool = False


class Operations:
    """Operations by name, as sessions of `lab`'s explorations; `options` are those of one run of them."""

    def __init__(
        self, lab: Explores, sessions: Mapping[str, Any], options: Mapping[str, Any], *, trusts_memory: bool
    ) -> None:
        self._lab, self.sessions, self._options, self._trusts_memory = lab, sessions, options, trusts_memory
        self._met: dict[tuple[str, Names], Met] = {}

    def setup(self, names: Names, prefix: Names) -> list[Any]:
        """The setup of some operations, and those of a prefix behind it."""
        given = self._options.get("setup", "")
        given = given.of((*prefix, *names)) if isinstance(given, Setups) else given
        parts = [given] if isinstance(given, str) or callable(given) else list(given)
        return [*parts, *(_as_setup(name, self.sessions[name]) for name in prefix)]

    def meet(self, name: str, prefix: Names = ()) -> Met:
        """Runs an operation alone, after a prefix; once for each. Raises what concerns all operations."""
        if (name, prefix) not in self._met:
            self._met[name, prefix] = self._run_alone(name, prefix)
        return self._met[name, prefix]

    def _run_alone(self, name: str, prefix: Names) -> Met:
        about = {**self._options, "setup": self.setup((name,), prefix)}
        for name_of_option in ("invariant", "faults", "time"):  # this run is to be as others expect it
            about.pop(name_of_option, None)
        try:
            trace = self._lab.function_explorer({"A": self.sessions[name]}, **about).trace()
        except NOT_HERE:
            raise
        except LabError as error:
            if isinstance(error, SetupFailed) and not prefix:
                raise
            return Met(prefix, None, str(error), is_final=isinstance(error, Nondeterminism | StepTimeout))
        return Met(prefix, self._footprint(trace), _trouble(trace.transcript))

    def _footprint(self, trace: Trace) -> Footprint:
        found = footprint_of(trace, "A", trusts_memory=self._trusts_memory)
        expires = bool(self._options.get("time")) and REDIS in found.reads  # under its reader
        return replace(found, writes=found.writes | {REDIS}) if expires else found

    def prefixes(self) -> dict[str, Met]:
        """Each operation as it is hunted: alone, or after the first of the others with which it works, if it does not.

        That one may need others before itself.
        """
        found = {name: self.meet(name) for name in self.sessions}
        failing = [name for name, met in found.items() if met.trouble and not met.is_final]
        before = [name for name, met in found.items() if not met.trouble]
        while before and failing:
            helped = {}
            for name in failing:
                tried = (self.meet(name, (*found[one].prefix, one)) for one in before if self._can_be_setup(one))
                if works := next((met for met in tried if not met.trouble), None):
                    helped[name] = works
            found |= helped
            before, failing = list(helped), [name for name in failing if name not in helped]
        return found

    def _can_be_setup(self, name: str) -> bool:
        one = self.sessions[name]
        if isinstance(one, Request):
            return not isinstance(one, Connecting)
        return is_wired(one) or set(parameters_of(one).kinds()) <= _GIVEN_TO_A_SETUP

    def place(self, name: str) -> str:
        """Where a function is defined, such as `shop.py:12`; '' for a request."""
        one = self.sessions[name]
        return "" if isinstance(one, Request) else place_of(one)


def _trouble(transcript: Transcript) -> str:
    """Why a session that ran alone did not do its work; '' if it did."""
    (one,) = [event for event in transcript.events if event.is_return]
    if one.failure or one.results[0].answered != "returned":
        return f"raised {one.text().removeprefix('-> ')}"
    answer = _FAILED.fullmatch(one.text())
    return answer[1] if answer else ""


def _as_setup(name: str, session: Any) -> Callable[..., Any]:
    """A setup that does what a session does. A function is one as it is."""
    if not isinstance(session, Request):
        function: Callable[..., Any] = session
        return function

    def ask_before(dsn: str) -> None:  # who takes a DSN is run with the service's connections let through
        answer = session.ask()
        if getattr(answer, "failed", False):
            raise RuntimeError(f"{name_of(session)} answered {answer.status}: {answer.body!r}")

    ask_before.__name__ = name
    return ask_before


def named(operations: Sequence[str], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """For each of some operations the name of its session, by `names`, and the operation: `book`, `book-2`."""
    for place, one in enumerate(operations):
        number = operations[: place + 1].count(one)
        yield names[one] + (f"-{number}" if number > 1 else ""), one


def session_names(operations: Sequence[str]) -> dict[str, str]:
    """A word for each operation, that a schedule can hold: `POST-/orders`. No two are the same, none is a fault's."""
    words: dict[str, str] = {}
    for one in operations:
        word = re.sub(r"[^\w./-]+", "-", one).strip("-") or "operation"
        while word in words.values() or word == CLOCK:
            word += "_"
        words[one] = word
    return words
