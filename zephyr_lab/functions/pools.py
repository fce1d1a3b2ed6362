"""Connection pools in the sessions' threads, a function's own and given ones, are replaced.

`getconn` opens a connection of the session's own and `putconn` closes it, so no session waits for another one's
connection. Session-level locks survive `putconn`, as they do in a pool.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from zephyr_lab.functions.foreign import refuse_of_driver
from zephyr_lab.functions.imports import when_imported
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.turn import current_session, owner


def pools_are_the_sessions() -> contextlib.AbstractContextManager[None]:
    """Patches psycopg_pool and SQLAlchemy, as soon as they have been imported."""
    return when_imported({"psycopg_pool": _psycopgs_are, "sqlalchemy": _sqlalchemys_are})


@contextlib.contextmanager
def _psycopgs_are() -> Iterator[None]:
    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    with contextlib.ExitStack() as stack:
        for owner, nothing in ((ConnectionPool, _nothing), (AsyncConnectionPool, _nothing_async)):
            stack.enter_context(patched(owner, "_open", _nothing))
            for name in ("close", "wait", "check"):
                stack.enter_context(patched(owner, name, nothing))
        stack.enter_context(patched(ConnectionPool, "getconn", _getconn))
        stack.enter_context(patched(ConnectionPool, "putconn", _putconn))
        stack.enter_context(patched(AsyncConnectionPool, "getconn", _getconn_async))
        stack.enter_context(patched(AsyncConnectionPool, "putconn", _putconn_async))
        yield


@contextlib.contextmanager
def _sqlalchemys_are() -> Iterator[None]:
    from sqlalchemy import event
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
    from sqlalchemy.pool import Pool

    with contextlib.ExitStack() as stack:
        stack.enter_context(patched(PGDialect_psycopg, "initialize", _initialize))
        for name, listener in (("checkin", _checked_in), ("checkout", _checked_out)):
            event.listen(Pool, name, listener)
            stack.callback(event.remove, Pool, name, listener)
        yield


def _getconn(real: Any) -> Any:
    return lambda self, timeout=None: real(self, timeout) if owner() is None else self._connect()


def _getconn_async(real: Any) -> Any:
    async def getconn(self: Any, timeout: float | None = None) -> Any:
        return await (real(self, timeout) if owner() is None else self._connect())

    return getconn


def _putconn(real: Any) -> Any:
    def putconn(self: Any, conn: Any) -> None:
        if owner() is None:
            real(self, conn)
            return
        conn._pool = None
        if (turn := current_session()) is None:
            conn.close()
            return
        if not (turn.abandoned or conn.closed):
            conn.rollback()
        conn.disown()

    return putconn


def _putconn_async(real: Any) -> Any:
    async def putconn(self: Any, conn: Any) -> None:
        if owner() is None:
            await real(self, conn)
            return
        conn._pool = None
        if (turn := current_session()) is None:
            await conn.close()
            return
        if not (turn.abandoned or conn.closed):
            await conn.rollback()
        conn.disown()

    return putconn


def _nothing(real: Any) -> Any:
    return lambda self, *args, **kwargs: real(self, *args, **kwargs) if owner() is None else None


def _nothing_async(real: Any) -> Any:
    async def nothing(self: Any, *args: Any, **kwargs: Any) -> None:
        if owner() is None:
            await real(self, *args, **kwargs)

    return nothing


def _initialize(real: Callable[[Any, Any], None]) -> Any:
    """An engine's queries on its first connection are made once, by any session, under the engine's lock."""

    def initialize(self: Any, connection: Any) -> None:
        turn = current_session()
        with turn.outside_schedule() if turn else contextlib.nullcontext():
            real(self, connection)
            if turn:  # else SQLAlchemy rolls back afterwards, in a turn taken while the lock is held
                self.do_rollback(connection.connection)

    return initialize


def _checked_in(connection: Any, record: Any) -> None:
    if owner() is not None:
        record.close()


def _checked_out(connection: Any, record: Any, proxy: Any) -> None:
    """Refuses another driver's connection that the engine's pool has kept and that does not connect again."""
    if (who := owner()) is not None:
        refuse_of_driver(who, record.driver_connection)
