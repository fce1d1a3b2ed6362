"""Ways to a database that the lab has no hold on: refused before a byte is sent, in sessions, setups and invariants.

psycopg2 and what is built on it, asyncpg, pg8000, other PostgreSQL drivers on Python's sockets, and other programs.
Their connections that were open already are refused when they are used.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from zephyr_lab.errors import ScheduleError
from zephyr_lab.functions import turn
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.turn import Owner, owner

# Where each connection of a driver begins, and where one that is open is used. aiopg is built on psycopg2.
_ENTRANCES = {
    "psycopg2": (("psycopg2", "_connect"),),
    "asyncpg": (("asyncpg.connect_utils", "_connect"), ("asyncpg.connection", "Connection._check_open")),
    "pg8000": (
        ("pg8000.core", "CoreConnection.__init__"), ("pg8000.core", "CoreConnection.execute_simple"),
        ("pg8000.core", "CoreConnection.execute_unnamed"), ("pg8000.core", "CoreConnection.execute_named"),
    ),
    "pgdb": (("pgdb", "connect"),),
    "pg": (("pg", "connect"), ("pg", "DB.__init__")),
}  # fmt: skip
# Ways to start a process, or to use one that has been started, that Python's audit hooks do not tell of.
_PROCESSES = {
    "multiprocessing": (("multiprocessing.process", "BaseProcess.start"),),
    "concurrent": (("concurrent.futures.process", "ProcessPoolExecutor.submit"),),
}
_PROGRAMS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"}
)
# What the standard library asks about the machine: ctypes.util.find_library, platform, uuid.
_HARMLESS = frozenset({"ldconfig", "gcc", "cc", "ld", "objdump", "uname", "file", "ifconfig", "ip", "arp"})
_PORTS = frozenset({5432, 5433, 6432})

_REMEDY = (
    "Nothing was sent. Let the functions use psycopg 3 (SQLAlchemy: postgresql+psycopg://; Django: psycopg in place of "
    "psycopg2), or take a connection, pool, engine or session as a parameter"
)
_ANOTHER_PROGRAM = (
    "started another program, or handed it work: what it does to a database, nobody can order. Call it outside of what "
    "is explored, or put something else in its place"
)
_ALL = {**_ENTRANCES, **_PROCESSES}


def refused(who: Owner, what: str) -> ScheduleError:
    """What `who` is told, and whoever explores it, whatever it makes of being told."""
    return who.refuse(ScheduleError(f"{who.title} {what}"))  # type: ignore[return-value]


def refuse_of_driver(who: Owner, connection: Any) -> None:
    """Raises ScheduleError where a connection is one of those drivers'."""
    driver = type(connection).__module__.partition(".")[0]
    if driver in _ENTRANCES:
        raise refused(who, f"used a connection of {driver}'s that was open already. {_REMEDY}")


class _Guard:
    """What is patched while functions are explored, drivers that are imported meanwhile included."""

    def __init__(self, patches: contextlib.ExitStack) -> None:
        self._patches, self._known, self._lock = patches, set[str](), threading.RLock()

    def shut(self, package: str) -> None:
        what = _ANOTHER_PROGRAM if package in _PROCESSES else f"used {package}, which the lab has no hold on. {_REMEDY}"
        with self._lock:
            if package in self._known:
                return
            self._known.add(package)
            for module, path in _ALL[package]:
                with contextlib.suppress(ImportError, AttributeError, KeyError):
                    *inner, name = path.split(".")
                    place = functools.reduce(getattr, inner, importlib.import_module(module))
                    self._patches.enter_context(patched(place, name, partial(_shut, what)))


def _shut(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def entrance(*args: Any, **kwargs: Any) -> Any:
        if (who := owner()) is not None:
            raise refused(who, what)
        return real(*args, **kwargs)

    return entrance


_guard: _Guard | None = None
_listening = False


@contextlib.contextmanager
def foreign_refused() -> Iterator[None]:
    """While it lasts, threads that have an owner are refused such ways; other threads notice nothing."""
    global _guard, _listening
    if not _listening:
        sys.addaudithook(_heard)  # for good: Python knows no way to take one away
        _listening = True
    with contextlib.ExitStack() as patches:
        _guard = _Guard(patches)
        patches.callback(_let_go)
        for package in _ALL:
            if package in sys.modules:
                _guard.shut(package)
        if _psycopg2_is_open():
            turn.profile = _profile
        yield


def _let_go() -> None:
    global _guard
    _guard, turn.profile = None, None


def _heard(event: str, args: tuple[Any, ...]) -> None:
    """Python's audit hook (PEP 578)."""
    if _guard is None:
        return
    if event == "import":
        package = str(args[0]).partition(".")[0]
        if package in _ALL:
            _guard.shut(package)
    elif event in _PROGRAMS:
        who = owner()
        if who is not None and not _is_harmless(event, args):
            raise refused(who, _ANOTHER_PROGRAM.replace("program", f"program{_program(event, args)}", 1))
    elif event == "socket.connect":
        who = owner()
        if who is not None and _is_postgres(args[1]):
            raise refused(who, f"connected to a PostgreSQL with a driver that the lab has no hold on. {_REMEDY}")


def _program(event: str, args: tuple[Any, ...]) -> str:
    if event in ("os.fork", "os.forkpty"):
        return ""
    words = args[1] if event == "subprocess.Popen" else args[0]
    first = words[0] if isinstance(words, list | tuple) and words else words
    return f" ({os.path.basename(os.fsdecode(first).split()[0])})" if first else ""  # noqa: PTH119


def _is_harmless(event: str, args: tuple[Any, ...]) -> bool:
    return event in ("subprocess.Popen", "os.posix_spawn") and _program(event, args).strip(" ()") in _HARMLESS


def _is_postgres(address: Any) -> bool:
    if isinstance(address, str | bytes):
        return ".s.PGSQL." in os.fsdecode(address)
    return isinstance(address, tuple) and len(address) > 1 and address[1] in _PORTS


def _psycopg2_is_open() -> bool:
    """Whether a connection of psycopg2's is open: its methods are C's, and only a profiler sees their calls."""
    extensions = sys.modules.get("psycopg2.extensions")
    kind = getattr(extensions, "connection", None)
    return kind is not None and any(issubclass(type(one), kind) and not one.closed for one in gc.get_objects())


def _profile(frame: Any, event: str, called: Any) -> None:
    if event == "c_call" and type(getattr(called, "__self__", None)).__module__ == "psycopg2.extensions":
        name = getattr(called, "__name__", "")
        who = owner()
        if who is not None and name not in ("close", "cursor", "fileno", "poll"):
            raise refused(who, f"used a connection of psycopg2's that was open already. {_REMEDY}")
