"""What is not as usual in the sessions' threads while functions are explored; other threads notice nothing.

Sleeps return at once: when a function goes on is the scheduler's business. A connection that a function opens itself
is the session's own. Redis commands wait for the session's turn, whichever client sends them. What the lab has no hold
on is refused, not overlooked. Threads that a function starts are its session's.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg.connection
import psycopg.connection_async

from zephyr_lab.errors import ScheduleError
from zephyr_lab.functions.postgres import AsyncControlledConnection, ControlledConnection
from zephyr_lab.functions.turn import Abandoned, Turn, as_session, here


@contextlib.contextmanager
def intercepted() -> Iterator[None]:
    """Patches psycopg, time and asyncio, for threads that are sessions'."""
    with contextlib.ExitStack() as patches:
        for owner, name, make in (
            *((module, name, _sleep) for module, name in _places_of(time.sleep)),
            *((module, name, _async_sleep) for module, name in _places_of(asyncio.sleep)),
            (threading.Thread, "start", _start),
            (ThreadPoolExecutor, "submit", _submit),
            (psycopg.Connection, "wait", _wait_of_uncontrolled),
            (psycopg.AsyncConnection, "wait", _wait_of_uncontrolled),
            (psycopg.connection, "conninfo_attempts", _attempts),
            (psycopg.connection_async, "conninfo_attempts_async", _attempts_async),
        ):
            patches.enter_context(patched(owner, name, make))
        real = psycopg.Connection._connect_gen.__func__

        def connect(cls: type, conninfo: str = "") -> Iterator[Any]:
            if (turn := here()) is None:
                return (yield from real(cls, conninfo))
            return turn.open_connection(cls)

        # Of their common base: both classes inherit it.
        base = next(one for one in psycopg.Connection.__mro__ if "_connect_gen" in vars(one))
        patches.enter_context(patched(base, "_connect_gen", lambda _: classmethod(connect)))
        yield


@contextlib.contextmanager
def patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Puts what `make` makes of an attribute in its place."""
    before = vars(owner)[name]
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _places_of(function: Any) -> list[tuple[Any, str]]:
    """The modules that have a function, and under which names: `from time import sleep` too."""
    modules = [module for module in list(sys.modules.values()) if isinstance(getattr(module, "__dict__", None), dict)]
    return [(module, name) for module in modules for name, value in list(vars(module).items()) if value is function]


def _start(real: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def start(self: threading.Thread) -> None:
        if (turn := here()) is not None:
            run = as_session(turn, self.run)

            def until_abandoned() -> None:
                with contextlib.suppress(Abandoned):
                    run()

            self.run = until_abandoned  # type: ignore[method-assign]
        real(self)

    return start


def _submit(real: Callable[..., Any]) -> Callable[..., Any]:
    """Its threads are used again by other sessions, so each call is the session's that has submitted it."""

    def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if (turn := here()) is None:
            return real(self, fn, *args, **kwargs)
        return as_session(None, real)(self, as_session(turn, fn), *args, **kwargs)

    return submit


def _sleep(real: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        if (turn := here()) is None:
            real(seconds)
        else:
            turn.naps += 1

    return sleep


def _async_sleep(real: Any) -> Any:
    async def sleep(delay: float, result: Any = None) -> Any:
        if (turn := here()) is not None and delay > 0:
            turn.naps += 1
            delay = 0
        return await real(delay, result)

    return sleep


def _wait_of_uncontrolled(real: Any) -> Any:
    def wait(self: Any, gen: Any, *args: Any, **kwargs: Any) -> Any:
        turn = here()
        if turn and not isinstance(self, ControlledConnection | AsyncControlledConnection):
            raise turn.refuse(uncontrolled(turn))
        return real(self, gen, *args, **kwargs)

    return wait


def _attempts(real: Any) -> Any:
    """No name is looked up for a connection that is not made."""
    return lambda params: real(params) if here() is None else [params]


def _attempts_async(real: Any) -> Any:
    async def attempts(params: Any) -> Any:
        return await real(params) if here() is None else [params]

    return attempts


def uncontrolled(turn: Turn) -> ScheduleError:
    return ScheduleError(
        f"session {turn.name} used a connection that was opened before the exploration, by a pool of its own perhaps, "
        "and that the lab has no hold on: let the function take it as a parameter (conn, pool, engine or session)"
    )
