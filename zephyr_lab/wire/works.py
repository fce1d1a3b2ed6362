"""The sessions of an exploration that pass the wire: functions with a driver of their own, requests, commands."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.answers import Answers
from zephyr_lab.functions.arguments import Kind, is_async, name_of, parameters_of
from zephyr_lab.functions.loops import Loops
from zephyr_lab.functions.scheduled import Scheduled
from zephyr_lab.wire.called import Called
from zephyr_lab.wire.calls import Call
from zephyr_lab.wire.command import Command
from zephyr_lab.wire.endpoint import Endpoint
from zephyr_lab.wire.http import HttpRequest
from zephyr_lab.wire.processes import computes_here
from zephyr_lab.wire.proxy import Wire

HABIT_SECONDS, LONG_HABIT_SECONDS = 0.1, 2.5
WIRED = {Kind.DSN, Kind.REDIS_URL}


@runtime_checkable
class Request(Protocol):
    """A session that is not a function: it asks something that is connected to the wire already."""

    def ask(self, opened: Callable[[Any], object] = ...) -> Any:
        """Asks, and returns the answer, the session's outcome.

        `opened` is called with an object whose `close()` ends the wait.
        """
        ...


@runtime_checkable
class Connecting(Request, Protocol):
    """A request that connects by itself: a process of `command`.

    If `command.kept`, the process goes on from schedule to schedule, and keeps its connections.
    """

    @property
    def command(self) -> Command: ...

    def ask_at(self, name: str, endpoint: Endpoint, opened: Callable[[Any], object]) -> Any:
        """As `ask`, for the session of this name; it connects to `endpoint`."""
        ...


def is_wired(one: Any) -> bool:
    """Whether a session of `lab.explore` passes the wire. Raises BadInput for what cannot be a session."""
    return isinstance(one, Request) or bool(WIRED & set(parameters_of(one).kinds()))


class Works:
    """Those of one exploration, by session. Raises BadInput for a function with parameters of both kinds."""

    def __init__(self, wire: Wire, works: Mapping[str, Any], answers: Answers) -> None:
        self._wire, self._works, self._answers = wire, works, answers
        self._loops = Loops()
        wire.stillness.places.clear()
        wire.habits.clear()
        for name, one in works.items():
            if not isinstance(one, Request) and Kind.REDIS_URL in parameters_of(one).kinds():
                _ = wire.endpoint(name).redis_url  # starts Redis, before imports are watched
        connecting = {name: one.command for name, one in works.items() if isinstance(one, Connecting)}
        self._commands = list(connecting.values())
        for name, command in connecting.items():
            if command.uses_redis:
                _ = (wire.shared if command.kept else wire.endpoint(name)).redis_url
        services = [work.service for work in works.values() if isinstance(work, HttpRequest | Called)]
        self._services = {id(one): one for one in services if one}.values()
        self._to_put_back = [one for one in self._services if one.reset]
        for one in works.values():
            if not isinstance(one, Request) and (other := set(parameters_of(one).kinds()) - WIRED):
                raise BadInput(
                    f"{name_of(one)} takes a DSN and {', '.join(map(str, other))}: a session goes by the wire or not; "
                    "let it open all of its connections itself, by dsn and redis_url"
                )

    @property
    def functions(self) -> list[Callable[..., Any]]:
        called = [one.bound if isinstance(one, Call) else one for one in self._works.values()]
        return [one for one in called if not isinstance(one, Request)]

    @property
    def hides_memory(self) -> bool:
        return any(isinstance(one, Request) and not isinstance(one, Call) for one in self._works.values())

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._works)

    @contextlib.contextmanager
    def controlled(self) -> Iterator[None]:
        """Inside the block, sessions wait for their turns."""
        with self._wire.serving.paused():
            self._wire.begin_all()
            self._wire.stillness.programs.add(computes_here)
            try:
                if any(one.is_new for one in self._services):
                    self._wire.learn_habits(HABIT_SECONDS)
                for service in self._services:
                    service.is_new = False
                yield
            finally:
                self._wire.end()
                self._loops.close()
                for one in self._commands:
                    self._wire.aside(one.end)

    def begin(self, level: str) -> None:
        """Before each schedule. Raises LabError if the memory of a service cannot be reset."""
        if self._to_put_back:
            self._wire.aside(self._put_back)
        self._wire.begin(level)

    def _put_back(self) -> None:
        for one in self._to_put_back:
            one.put_back()

    def session(self, name: str) -> Scheduled:
        one = self._works[name]
        if isinstance(one, Connecting):
            # A kept process keeps its connections, too: they come to the shared endpoint, as a service's do.
            own = not one.command.kept
            endpoint = self._wire.endpoint(name) if own else self._wire.shared
            return self._wire.session(name, partial(one.ask_at, name, endpoint), self._answers, own=own)
        if isinstance(one, Request):
            return self._wire.session(name, one.ask, self._answers, own=False)
        call = self._call(one, self._wire.endpoint(name))
        return self._wire.session(name, lambda opened: call(), self._answers, own=True)

    def takes(self, setup: Callable[..., Any]) -> bool:
        kinds = set(parameters_of(setup).kinds())
        return bool(kinds) and kinds <= WIRED

    def prepare(self, setup: Callable[..., Any]) -> None:
        """Runs a setup, in a thread of its own. Raises what it raises."""
        self._wire.aside(self._call(setup, self._wire.shared))

    def _call(self, function: Callable[..., Any], endpoint: Endpoint) -> Callable[[], Any]:
        give = {
            kind: endpoint.url("postgresql") if kind is Kind.DSN else endpoint.redis_url
            for kind in parameters_of(function).kinds()
        }
        parameters = parameters_of(function)
        call = partial(
            function,
            *(give[kind] for kind in parameters.positional),
            **{name: give[kind] for name, kind in parameters.named.items()},
        )
        return (lambda: self._loops.run(call())) if is_async(function) else call

    def not_compared(self) -> set[str]:
        """What belongs to no session. Raises Nondeterminism if it has changed something."""
        self._wire.background.check()
        return self._wire.background.told() | set(self._wire.troubles)

    def learns_habits(self) -> bool:
        """Whether a service turns out to have habits that were not known; it is listened to for LONG_HABIT_SECONDS."""
        if not self.hides_memory:
            return False
        with self._wire.serving.paused():
            is_new = self._wire.learn_habits(LONG_HABIT_SECONDS)
            self._wire.begin_all()
            return is_new

    def waits_inside(self) -> bool:
        return bool(self._wire.stillness.places)

    def unordered(self) -> str:
        """Why there may be orders that were not run, as a sentence; '' for nothing."""
        reasons = sorted(self._wire.background.chance())
        if names := sorted({name for name, _ in self._wire.stillness.places}):
            reasons.append(
                f"session{'s' * (len(names) > 1)} {' and '.join(names)} waited inside the program for another session: "
                "who goes on there first is decided by the program, so there may be other orders; explore the sessions "
                "also in another order"
            )
        return "; ".join(reasons)

    def troubles(self) -> str:
        """The errors that clients were sent, and what commands printed, as sentences; '' for nothing."""
        said = [f"The lab's socket says: {'; '.join(self._wire.troubles)}"] if self._wire.troubles else []
        said += dict.fromkeys(one.trouble for one in self._commands if one.trouble)
        return "".join(f" {one}." for one in said)
