"""Sees each round trip of psycopg while tests run, and keeps what calls of application code have asked.

It never breaks what it sees: whatever goes wrong here is counted, and said in the end.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import pq

from zephyr_lab.functions.imports import when_imported
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.postgres import SILENT, WORDS, begin_of, text_of
from zephyr_lab.functions.turn import owner
from zephyr_lab.sql.classify import is_local
from zephyr_lab.suite.call import Call
from zephyr_lab.suite.levels import Level, Levels
from zephyr_lab.suite.operations import Operation, Statement, at_home_in
from zephyr_lab.suite.rows import Rows
from zephyr_lab.suite.stack import Caller, Files, Stack

# By module, where what is not recorded begins, and what that is.
_CONNECTIONS = "connections of {}, which is not recorded: psycopg 3 is"
_OTHERS = {
    "psycopg2": ("_connect", _CONNECTIONS.format("psycopg2")),
    "asyncpg.connect_utils": ("_connect", _CONNECTIONS.format("asyncpg")),
    "pg8000.core": ("CoreConnection.__init__", _CONNECTIONS.format("pg8000")),
    "redis.connection": ("AbstractConnection.send_packed_command", "commands to Redis"),
    "redis.asyncio.connection": ("AbstractConnection.send_packed_command", "commands to Redis"),
}
_IDLE = pq.TransactionStatus.IDLE


@dataclass(frozen=True)
class _Trip:
    """A round trip that is under way."""

    connection: Any
    sql: str
    begin: str
    was: pq.TransactionStatus
    stack: Stack
    call: Call | None
    cursor: Any
    savepoint: Any

    def text(self) -> str:
        """What was sent; psycopg names a savepoint when it is made, and releases one that it has rolled back to."""
        name = getattr(self.savepoint, "savepoint_name", None)
        if name and self.sql.startswith("savepoint "):
            return f"savepoint {name}"
        return f"{self.sql}; release {name}" if name and self.sql.startswith("rollback to ") else self.sql

    @property
    def where(self) -> tuple[str, int]:
        return self.stack.caller.where if self.stack.caller else ("", 0)


@dataclass
class Recorder:
    """`operations` are those of the tests that have ended; `lost` says what was not recorded, and how often."""

    files: Files
    rows: Rows
    operations: list[Operation] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    _test: str | None = None
    _calls: dict[tuple[int, ...], list[Call]] = field(default_factory=dict)
    _levels: weakref.WeakKeyDictionary[Any, Levels] = field(default_factory=weakref.WeakKeyDictionary)
    _lock: Any = field(default_factory=threading.RLock)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Inside of the block round trips are seen, in all threads."""
        with contextlib.ExitStack() as patches:
            patches.enter_context(patched(psycopg.Connection, "wait", self._wait))
            patches.enter_context(patched(psycopg.AsyncConnection, "wait", self._async_wait))
            ways = {module: partial(self._counting, module, *said) for module, said in _OTHERS.items()}
            patches.enter_context(when_imported(ways))
            yield

    @contextlib.contextmanager
    def test(self, name: str) -> Iterator[None]:
        """Operations are recorded in such a block, which is the call of a test; its fixtures only wrap it."""
        self._test = name
        try:
            yield
        finally:
            with self._lock:
                self._test, calls, self._calls = None, self._calls, {}
            for one in itertools.chain(*calls.values()):
                self._keep(one)

    def lose(self, why: str) -> None:
        self.lost[why] = self.lost.get(why, 0) + 1

    def _keep(self, call: Call) -> None:
        call.holds_back |= call.by_session and bool(call.open)
        if call.lost:
            self.lose(call.lost)
        elif any(not is_local(one.sql) for one in call.statements):
            self.operations.append(call.operation())

    # -- what is patched

    def _wait(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wait(connection: Any, gen: Any, *args: Any, **kwargs: Any) -> Any:
            trip = self._begin(connection, gen)
            try:
                told = real(connection, gen, *args, **kwargs)
            except BaseException:
                self._end(trip, failed=True)
                raise
            self._end(trip)
            return told

        return wait

    def _async_wait(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def wait(connection: Any, gen: Any, *args: Any, **kwargs: Any) -> Any:
            trip = self._begin(connection, gen)
            try:
                told = await real(connection, gen, *args, **kwargs)
            except BaseException:
                self._end(trip, failed=True)
                raise
            self._end(trip)
            return told

        return wait

    @contextlib.contextmanager
    def _counting(self, module: str, path: str, why: str) -> Iterator[None]:
        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def begin(*args: Any, **kwargs: Any) -> Any:
                if owner() is None:
                    self.lose(why)
                return real(*args, **kwargs)

            return begin

        place, _, name = path.rpartition(".")
        with patched(getattr(sys.modules[module], place) if place else sys.modules[module], name, counted):
            yield

    # -- round trips

    def _begin(self, connection: Any, gen: Any) -> _Trip | None:
        try:
            if gen.__name__ in SILENT or owner() is not None:
                return None
            return self._trip(connection, gen)
        except Exception as error:
            self.lose(f"round trips that could not be read ({type(error).__name__})")
            return None

    def _trip(self, connection: Any, gen: Any) -> _Trip | None:
        name, known, was = gen.__name__, gen.gi_frame.f_locals, connection.pgconn.transaction_status
        if was == _IDLE and name in WORDS:
            return None
        stack = self.files.stack()
        sql = text_of(name, known, connection)
        begins = was == _IDLE and not connection.autocommit and name not in WORDS
        begin = begin_of(connection) if begins else sql
        savepoint = known.get("self")
        if not isinstance(savepoint, psycopg.Transaction | psycopg.AsyncTransaction):
            savepoint = None
        call = self._call(connection, stack.caller) if stack.caller and self._test is not None else None
        if call and (why := _why_lost(connection, name, known)):
            call.lost = call.lost or why
        return _Trip(connection, sql, begin, was, stack, call, known.get("self"), savepoint)

    def _call(self, connection: Any, caller: Caller) -> Call:
        with self._lock:
            begun = self._levels[connection].application() if connection in self._levels else None
            there = self._calls.setdefault(caller.errand, [])
            if begun is not None and begun.owner in there:
                found: Call = begun.owner
            else:
                known = [one for one in there if one.is_of(caller)]
                if not known:
                    rows = self.rows.read(connection, (caller.code, *caller.where))
                    there.append(Call(caller, str(self._test), rows, {}))
                found = (known or there)[-1]
            found.frames.setdefault(caller.code, caller.frame)
            return found

    def _end(self, trip: _Trip | None, *, failed: bool = False) -> None:
        if trip is None:
            return
        try:
            with self._lock:
                self._note(trip, failed)
        except Exception as error:
            self.lose(f"round trips that could not be read ({type(error).__name__})")

    def _note(self, trip: _Trip, failed: bool) -> None:
        levels = self._levels.setdefault(trip.connection, Levels())
        is_idle, before = trip.connection.pgconn.transaction_status == _IDLE, levels.application()
        sql, was_idle = trip.text(), trip.was == _IDLE
        owner = None if self._test is None else trip.call or trip.stack.is_served or None
        said = "" if failed and sql.strip("; ").lower() not in ("commit", "rollback") else sql
        ended = levels.note(said, trip.begin, owner, was_idle=was_idle, is_idle=is_idle)
        level = levels.application() or before
        if trip.call is not None:
            number = trip.call.transaction(trip.stack, level, is_idle=was_idle and is_idle)
            if level is not None and level not in ended:
                trip.call.open.add(level.number)
            if _is_asked(sql, level):
                said, changed = at_home_in(sql, self.rows.home), None if failed else _count(trip.cursor)
                trip.call.add(Statement(said, *trip.where, number, changed))
        for one in ended:
            if isinstance(one.owner, Call):
                one.owner.end(one, by_itself=trip.call is one.owner)


_CONTROL = frozenset({"begin", "start", "commit", "rollback", "end", "abort", "savepoint", "release"})


def _is_asked(sql: str, level: Level | None) -> bool:
    """Whether it is none of the words that begin and end the application's transaction."""
    words = sql.lower().replace('"', "").rstrip("; ").split()
    if not words or words[0] not in _CONTROL:
        return bool(words)
    of_savepoints = words[0] in ("savepoint", "release") or words[:2] == ["rollback", "to"]
    return level is not None and of_savepoints and level.name.lower() != words[-1]


def _why_lost(connection: Any, name: str, known: dict[str, Any]) -> str:
    """Why what a generator of psycopg is about to do cannot be said as SQL."""
    if "copy" in name:
        return "calls that use COPY"
    if "params_seq" in known:
        return "calls that use executemany"
    if connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
        return "calls that use a pipeline"
    if name == "notifies":
        return "calls that wait for notifications"
    return ""


def _count(cursor: Any) -> int:
    count = getattr(cursor, "rowcount", 0)
    return max(0, count) if isinstance(count, int) else 0
