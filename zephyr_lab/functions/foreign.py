"""Ways to a database that the lab does not control: refused before a byte is sent, in sessions, setups and invariants.

psycopg2 and what is built on it, asyncpg, pg8000, other PostgreSQL drivers on Python's sockets, and other programs.
Their open connections are refused when they are used.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from zephyr_lab.errors import ScheduleError
from zephyr_lab.functions.imports import when_imported
from zephyr_lab.functions.outside import FILES, SERVERS
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.turn import Owner, Turn, owner

# By module, where a driver's connections are opened, and where they are used. aiopg is built on psycopg2.
_ENTRANCES = {
    "psycopg2": ("_connect",),
    "psycopg2._psycopg": ("connection", "cursor"),
    "asyncpg.connect_utils": ("_connect",),
    "asyncpg.connection": ("Connection._check_open",),
    "pg8000.core": tuple(
        f"CoreConnection.{name}" for name in ("__init__", "execute_simple", "execute_unnamed", "execute_named")
    ),
    "pgdb": ("connect",),
    "pg": ("connect", "DB.__init__"),
    "valkey.connection": ("AbstractConnection.connect", "AbstractConnection.send_packed_command"),
    "valkey.asyncio.connection": ("AbstractConnection.connect", "AbstractConnection.send_packed_command"),
}
# Methods of a patched class that send nothing.
_HARMLESS_METHODS = frozenset({"close", "fileno", "isexecuting", "poll", "get_transaction_status"})
# Ways to start a process, or to use a running one, that raise no audit event.
_PROCESSES = {
    "multiprocessing.process": ("BaseProcess.start",),
    "concurrent.futures.process": ("ProcessPoolExecutor.submit",),
}
_PROGRAMS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"}
)
# Programs by which the standard library examines the machine: ctypes.util.find_library, platform, uuid.
_HARMLESS = frozenset({"ldconfig", "gcc", "cc", "ld", "objdump", "uname", "file", "ifconfig", "ip", "arp"})
_PORTS = frozenset({5432, 5433, 6432})

_REMEDY = (
    "Nothing was sent. Let the functions use psycopg 3 (SQLAlchemy: postgresql+psycopg://; Django: psycopg in place of "
    "psycopg2) and redis-py, or take a connection, pool, engine, session or Redis client as a parameter. Or let them "
    "take a dsn, and connect by it with any driver; lab.wire.call(function) is for those whose engine or pool connects "
    "by lab.wire.dsn"
)
_ANOTHER_PROGRAM = (
    "started another program, or handed it work: what it does to a database, nobody can order. Call it outside of what "
    "is explored, or put something else in its place"
)
_DRIVERS = frozenset(name.partition(".")[0] for name in _ENTRANCES)


def refused(who: Owner, what: str) -> ScheduleError:
    """The error for `who`; the exploration raises it too, even if the function catches it."""
    return who.refuse(ScheduleError(f"{who.title} {what}"))  # type: ignore[return-value]


def refuse_of_driver(who: Owner, connection: Any) -> None:
    """Raises ScheduleError for a connection of one of those drivers."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in _DRIVERS:
        raise refused(who, f"used a connection of {driver}'s that was open already. {_REMEDY}")


@contextlib.contextmanager
def _shut_all(module: str, paths: tuple[str, ...]) -> Iterator[None]:
    package = module.partition(".")[0]
    what = f"used {package}, which the lab has no hold on. {_REMEDY}" if module in _ENTRANCES else _ANOTHER_PROGRAM
    with contextlib.ExitStack() as patches:
        for path in paths:
            with contextlib.suppress(AttributeError, KeyError):
                *inner, name = path.split(".")
                place = functools.reduce(getattr, inner, sys.modules[module])
                whole = getattr(place, name)
                places = [(whole, one) for one in _methods(whole)] if isinstance(whole, type) else [(place, name)]
                for where, one in places:
                    patches.enter_context(patched(where, one, partial(_shut, what)))
        yield


def _methods(kind: type) -> list[str]:
    public = (name for name in vars(kind) if name == "__enter__" or not name.startswith("_"))
    return [name for name in public if callable(vars(kind)[name]) and name not in _HARMLESS_METHODS]


def _shut(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def entrance(*args: Any, **kwargs: Any) -> Any:
        if (who := owner()) is not None:
            raise refused(who, what)
        return real(*args, **kwargs)

    return entrance


_users = 0
_listening = False


@contextlib.contextmanager
def foreign_refused() -> Iterator[None]:
    """Refuses such ways in threads that have an owner, inside the block; other threads are not affected."""
    global _users, _listening
    if not _listening:
        sys.addaudithook(_heard)  # for good: an audit hook cannot be removed
        _listening = True
    ways = {**_ENTRANCES, **_PROCESSES}
    with when_imported({module: partial(_shut_all, module, paths) for module, paths in ways.items()}):
        _users += 1
        try:
            yield
        finally:
            _users -= 1


def _heard(event: str, args: tuple[Any, ...]) -> None:
    """Python's audit hook (PEP 578)."""
    if not _users:
        return
    if event in _PROGRAMS:
        who = owner()
        if who is not None and not _is_harmless(event, args):
            raise refused(who, _ANOTHER_PROGRAM.replace("program", f"program{_program(event, args)}", 1))
    elif event == "socket.connect":
        who = owner()
        if who is not None and _is_postgres(args[1]):
            raise refused(who, f"connected to a PostgreSQL with a driver that the lab has no hold on. {_REMEDY}")
        if isinstance(who, Turn) and not who.inside:  # a Redis client connects inside of what it does
            who.outside.add(SERVERS)
    elif event == "open" and isinstance(who := owner(), Turn) and _is_written(*args):
        who.outside.add(FILES)


def _is_written(path: Any, mode: str | None, flags: int) -> bool:
    if not isinstance(path, str | bytes):  # an open descriptor
        return False
    writes = any(letter in mode for letter in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
    return writes and "__pycache__" not in os.fsdecode(path) and not os.fsdecode(path).startswith(os.devnull)


def _program(event: str, args: tuple[Any, ...]) -> str:
    if event in ("os.fork", "os.forkpty"):
        return ""
    words: Any = args[1] if event == "subprocess.Popen" else args[0]
    first: Any = words[0] if isinstance(words, list | tuple) and words else words
    return f" ({os.path.basename(os.fsdecode(first).split()[0])})" if first else ""  # noqa: PTH119


def _is_harmless(event: str, args: tuple[Any, ...]) -> bool:
    return event in ("subprocess.Popen", "os.posix_spawn") and _program(event, args).strip(" ()") in _HARMLESS


def _is_postgres(address: Any) -> bool:
    if isinstance(address, str | bytes):
        return ".s.PGSQL." in os.fsdecode(address)
    return isinstance(address, tuple) and len(address) > 1 and address[1] in _PORTS
