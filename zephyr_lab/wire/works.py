"""What the sessions of an exploration run that go by the wire: functions with a driver of their own, and requests."""

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
    """A session that is no function: asked of something that is connected to the wire already."""

    def ask(self, opened: Callable[[Any], object] = ...) -> Any:
        """Asks it, and waits for the answer, which is the session's outcome. `opened` is given what ends the wait by
        its `close()`."""
        ...


@runtime_checkable
class Connecting(Request, Protocol):
    """A request that connects itself: a process that is told where to. `command` is what it is a process of.

    `command.kept` is one that goes on from schedule to schedule, and keeps its connections.
    """

    @property
    def command(self) -> Command: ...

    def ask_at(self, name: str, endpoint: Endpoint, opened: Callable[[Any], object]) -> Any:
        """As `ask`, for the session of this name, its connections by an endpoint."""
        ...


def is_wired(one: Any) -> bool:
    """Whether a session of `lab.explore` goes by the wire. Raises BadInput for what cannot be a session."""
    return isinstance(one, Request) or bool(WIRED & set(parameters_of(one).kinds()))


class Works:
    """By session, what goes by the wire; an exploration has one."""

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
        """While it lasts, whoever connects waits for turns."""
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
        """Before each schedule. Raises LabError where a service cannot be put back."""
        if self._to_put_back:
            self._wire.aside(self._put_back)
        self._wire.begin(level)

    def _put_back(self) -> None:
        for one in self._to_put_back:
            one.put_back()

    def session(self, name: str) -> Scheduled:
        one = self._works[name]
        if isinstance(one, Connecting):
            # What is kept keeps its connections too, which come to the socket of all, as a service's do.
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
        """In a thread of its own, part of no schedule. Raises what it raises."""
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
        """What was seen that belongs to no session. Raises Nondeterminism where that has changed something."""
        self._wire.background.check()
        return self._wire.background.told() | set(self._wire.troubles)

    def learns_habits(self) -> bool:
        """Whether a service turns out to ask something again and again of its own accord, which takes a while."""
        if not self.hides_memory:
            return False
        with self._wire.serving.paused():
            is_new = self._wire.learn_habits(LONG_HABIT_SECONDS)
            self._wire.begin_all()
            return is_new

    def unordered(self) -> str:
        """What is said where sessions have waited inside their program."""
        reasons = sorted(self._wire.background.chance())
        if names := sorted({name for name, _ in self._wire.stillness.places}):
            reasons.append(
                f"session{'s' * (len(names) > 1)} {' and '.join(names)} waited inside the program for another session: "
                "who goes on there first is decided by the program, so there may be other orders; explore the sessions "
                "also in another order"
            )
        return "; ".join(reasons)

    def troubles(self) -> str:
        """What clients were told by the wire, and commands have printed, as sentences; '' for nothing."""
        said = [f"The lab's socket says: {'; '.join(self._wire.troubles)}"] if self._wire.troubles else []
        said += dict.fromkeys(one.trouble for one in self._commands if one.trouble)
        return "".join(f" {one}." for one in said)
