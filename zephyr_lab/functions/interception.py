"""Patches applied in the sessions' threads while functions are explored; other threads are not affected.

Sleeps return at once: the scheduler decides when a function goes on. A connection that a function opens itself
is the session's own, and one that a setup or an invariant opens leads to the lab's schema. Redis commands wait for the
session's turn, whichever client sends them. What the lab does not control is refused. Threads that a function starts
belong to its session, and its random ids are the same in every run of a schedule.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import secrets
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import psycopg
import psycopg.connection
import psycopg.connection_async

from zephyr_lab.functions.foreign import foreign_refused, refused
from zephyr_lab.functions.frameworks import frameworks_keep_sessions_apart
from zephyr_lab.functions.ids import ids_are_the_sessions, tokens_are_the_sessions
from zephyr_lab.functions.imports import when_imported
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.pools import pools_are_the_sessions
from zephyr_lab.functions.postgres import AsyncControlledConnection, ControlledConnection, text_of
from zephyr_lab.functions.turn import (
    Abandoned,
    Owner,
    Turn,
    Unscheduled,
    check_bounds,
    current_session,
    on_behalf_of,
    owner,
    owner_of,
)

_lock = threading.Lock()
_users, _patches = 0, contextlib.ExitStack()
_started: weakref.WeakKeyDictionary[Any, Owner] = weakref.WeakKeyDictionary()  # threads started by an owner


@contextlib.contextmanager
def intercepted() -> Iterator[None]:
    """Patches drivers, pools, time and asyncio, for threads that have an owner; once for concurrent explorations."""
    global _users, _patches
    with _lock:
        if _users == 0:
            with contextlib.ExitStack() as stack:
                _patch(stack)
                _patches = stack.pop_all()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _patches.close()


def _patch(patches: contextlib.ExitStack) -> None:
    everywhere = {
        time.sleep: _sleep,
        asyncio.sleep: _async_sleep,
        _thread.start_new_thread: _start_raw,
        secrets.token_bytes: tokens_are_the_sessions,
    }
    for place, name, make in (
        *_places_of(everywhere),
        (threading.Thread, "start", _start),
        (ThreadPoolExecutor, "submit", _submit),
        (asyncio.BaseEventLoop, "call_soon_threadsafe", _call_elsewhere),
        (psycopg.Connection, "wait", _wait_of_uncontrolled),
        (psycopg.AsyncConnection, "wait", _wait_of_uncontrolled),
        (psycopg.connection, "conninfo_attempts", _attempts),
        (psycopg.connection_async, "conninfo_attempts_async", _attempts_async),
    ):
        patches.enter_context(patched(place, name, make))
    # On their common base class: both inherit it.
    base = next(one for one in psycopg.Connection.__mro__ if "_connect_gen" in vars(one))
    patches.enter_context(patched(base, "_connect_gen", lambda real: classmethod(_connect(real.__func__))))
    patches.enter_context(ids_are_the_sessions())
    patches.enter_context(pools_are_the_sessions())
    patches.enter_context(foreign_refused())
    patches.enter_context(frameworks_keep_sessions_apart())
    patches.enter_context(when_imported({"redis": _redis_takes_turns, "multiprocessing.pool": _pools_of_before}))


def _redis_takes_turns() -> contextlib.AbstractContextManager[None]:
    from zephyr_lab.functions.keyvalue import redis_takes_turns  # redis-py takes as long to import as all the rest

    return redis_takes_turns()


def _connect(real: Any) -> Any:
    def connect(cls: type, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        match owner():
            case None:
                return (yield from real(cls, *args, **kwargs))
            case Turn() as turn:
                return turn.open_connection(cls)
            case beside:
                unscheduled = cast(Unscheduled, beside)
                return (yield from unscheduled.connecting(lambda conninfo: real(cls, conninfo, **kwargs)))

    return connect


def _places_of(functions: dict[Any, Any]) -> list[tuple[Any, str, Any]]:
    """The modules that have one of the functions, with its name there and its replacement: `from time import sleep`
    too; but for `threading`, which is patched elsewhere."""
    by_id = {id(function): said for function, said in functions.items()}
    modules = [module for module in list(sys.modules.values()) if isinstance(getattr(module, "__dict__", None), dict)]
    return [
        (module, name, by_id[id(value)])
        for module in modules
        if module is not threading
        for name, value in list(vars(module).items())
        if id(value) in by_id
    ]


@contextlib.contextmanager
def held(run: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """The same function, for a thread that is started here: patches stay until it ends, even after the exploration."""
    hold = contextlib.ExitStack()
    hold.enter_context(intercepted())

    def until_the_end() -> None:
        with hold:
            run()

    try:
        yield until_the_end
    except BaseException:  # it could not be started
        hold.close()
        raise


def _start(real: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def start(self: threading.Thread) -> None:
        if (who := owner()) is None or self.ident is not None:
            return real(self)
        run = on_behalf_of(who, self.run)

        def until_abandoned() -> None:
            with contextlib.suppress(Abandoned):
                run()

        _started[self] = who
        with held(until_abandoned) as self.run:  # type: ignore[method-assign]
            return real(self)

    return start


def _start_raw(real: Callable[..., int]) -> Callable[..., int]:
    def start_new_thread(function: Callable[..., Any], *args: Any) -> int:
        if (who := owner()) is None:
            return real(function, *args)
        with held(partial(on_behalf_of(who, function), *args[0], **dict(*args[1:]))) as run:
            return real(run, ())

    return start_new_thread


def _pools_of_before() -> contextlib.AbstractContextManager[None]:
    return patched(sys.modules["multiprocessing.pool"].Pool, "_check_running", _check_running)


def _check_running(real: Callable[[Any], None]) -> Callable[[Any], None]:
    """Every way to submit work to a multiprocessing pool begins with it."""

    def check_running(self: Any) -> None:
        if (who := owner()) is not None and any(_started.get(one) is not who for one in self._pool):
            raise refused(
                who,
                "handed work to a pool of processes, or of threads that were there before it, where the lab "
                "cannot order it: make the pool inside the function, of threads",
            )
        real(self)

    return check_running


def _submit(real: Callable[..., Any]) -> Callable[..., Any]:
    """Its threads are reused by other sessions, so each call runs for the session that submitted it."""

    def submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if (who := owner()) is None:
            return real(self, fn, *args, **kwargs)
        return on_behalf_of(None, real)(self, on_behalf_of(who, fn), *args, **kwargs)

    return submit


def _call_elsewhere(real: Callable[..., Any]) -> Callable[..., Any]:
    """An event loop without an owner, such as a service's permanent one, works in no session's turn."""

    def call_soon_threadsafe(self: Any, *args: Any, **kwargs: Any) -> Any:
        thread = getattr(self, "_thread_id", None)
        if (who := owner()) is not None and thread is not None and owner_of(thread) is not who:
            raise refused(
                who,
                "handed work to an event loop in a thread of no session, where the lab cannot order it: "
                "run the loop inside the function (asyncio.run), or let the function be asynchronous itself",
            )
        return real(self, *args, **kwargs)

    return call_soon_threadsafe


def _sleep(real: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        if (turn := current_session()) is None:
            real(seconds)
        else:
            turn.sleeps += 1

    return sleep


def _async_sleep(real: Any) -> Any:
    async def sleep(delay: float, result: Any = None) -> Any:
        if (turn := current_session()) is not None and delay > 0:
            turn.sleeps += 1
            delay = 0
        return await real(delay, result)

    return sleep


def _wait_of_uncontrolled(real: Any) -> Any:
    def wait(self: Any, gen: Any, *args: Any, **kwargs: Any) -> Any:
        who = owner()
        if who is not None and not _controls(who, self):
            raise refused(who, _UNCONTROLLED)
        if who is not None and not isinstance(who, Turn):
            who.said.append(text_of(gen.__name__, gen.gi_frame.f_locals, self))
            check_bounds(who, who.said[-1])
        return real(self, gen, *args, **kwargs)

    return wait


def _attempts(real: Any) -> Any:
    """Looks up no name: the connection is replaced."""
    return lambda params: real(params) if owner() is None else [params]


def _attempts_async(real: Any) -> Any:
    async def attempts(params: Any) -> Any:
        return await real(params) if owner() is None else [params]

    return attempts


def _controls(who: Owner, connection: Any) -> bool:
    if isinstance(who, Turn):
        return isinstance(connection, ControlledConnection | AsyncControlledConnection)
    return cast(Unscheduled, who).controls(connection)


_UNCONTROLLED = (
    "used a connection that was opened before the exploration, by a pool of its own perhaps, and that the lab has no "
    "hold on: let the function take it as a parameter (conn, pool, engine or session)"
)
