"""psycopg pools of one connection: the session's own.

What sessions share in a pool of many, they do not share here: nobody waits for a connection to come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool

if TYPE_CHECKING:
    from zephyr_lab.functions.session import FunctionSession


def pool(session: FunctionSession) -> ConnectionPool:
    """A pool whose connection is opened when it is asked for, and closed when it is given back."""
    return _Pool(session)


def async_pool(session: FunctionSession) -> AsyncConnectionPool:
    return _AsyncPool(session)


class _Pool(ConnectionPool):
    def __init__(self, session: FunctionSession) -> None:
        super().__init__("", min_size=0, max_size=1, open=False, num_workers=1)
        self._session = session

    def open(self, *args: Any, **kwargs: Any) -> None:
        self._opened, self._closed = True, False

    def close(self, *args: Any, **kwargs: Any) -> None:
        self._closed = True

    def wait(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to wait for."""

    def check(self) -> None:
        """The connection is a new one each time."""

    def getconn(self, timeout: float | None = None) -> Any:
        self._check_open()
        connection = self._session.open_connection(psycopg.Connection)
        connection._pool = self
        return connection

    def putconn(self, conn: Any) -> None:
        conn._pool = None
        if not self._session.turn.abandoned:
            conn.rollback()
        conn.disown()


class _AsyncPool(AsyncConnectionPool):
    def __init__(self, session: FunctionSession) -> None:
        super().__init__("", min_size=0, max_size=1, open=False, num_workers=1)
        self._session = session

    async def open(self, *args: Any, **kwargs: Any) -> None:
        self._opened, self._closed = True, False

    async def close(self, *args: Any, **kwargs: Any) -> None:
        self._closed = True

    async def wait(self, *args: Any, **kwargs: Any) -> None:
        """There is nothing to wait for."""

    async def check(self) -> None:
        """The connection is a new one each time."""

    async def getconn(self, timeout: float | None = None) -> Any:
        self._check_open()
        connection = self._session.open_connection(psycopg.AsyncConnection)
        connection._pool = self
        return connection

    async def putconn(self, conn: Any) -> None:
        conn._pool = None
        if not self._session.turn.abandoned:
            await conn.rollback()
        conn.disown()
