"""A PostgreSQL connection and a Redis client behind one `await`, whether they are synchronous or asyncio's.

Strategies and services are written once, as coroutines. On asyncio connections they are awaited as usual. On
synchronous ones nothing they await ever waits, since the driver has waited already: `run` drives such a coroutine to
its end in one go, with no event loop. So the same source is explored (synchronous, one thread a session), loaded and
served (asyncio).
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import IsolationLevel

from zephyr_lab.errors import BadInput
from zephyr_lab.orders import deadline

T = TypeVar("T")
Row = tuple[Any, ...]
Params = dict[str, Any] | Sequence[Any] | None


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drives a coroutine over synchronous connections to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise BadInput("this coroutine waits for an event loop: await it, or give it synchronous connections")


async def maybe_await(value: Any) -> Any:
    """The result of a call, awaited if it is asyncio's."""
    return await value if inspect.isawaitable(value) else value


class Session:
    """A connection, and a Redis client, during one booking.

    `isolation` is the level of its transactions; None leaves the connection's own. `waited` is called with the
    seconds of each statement that may have waited for a lock.
    """

    def __init__(
        self,
        connection: Any,
        redis: Any = None,
        isolation: IsolationLevel | None = None,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        if connection.autocommit:
            raise BadInput("the order service needs a connection with autocommit off: its transactions are its own")
        self.connection = connection
        self.redis = redis
        self.isolation = isolation
        self._waited = waited
        self._is_async = isinstance(connection, psycopg.AsyncConnection) or inspect.iscoroutinefunction(
            getattr(redis, "execute_command", None)
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN before the first statement; COMMIT at the end, ROLLBACK when an error leaves the block.

        On asyncio each statement has as long as is left of the caller's `deadline`, if there is one.
        """
        milliseconds = deadline.statement_milliseconds() if self._is_async else None
        async with self._limited(milliseconds) if milliseconds is not None else self._unlimited():
            yield

    @asynccontextmanager
    async def _limited(self, milliseconds: int) -> AsyncIterator[None]:
        """With BEGIN of our own, which carries the time limit: no message more than without."""
        connection, level = self.connection, self.isolation or self.connection.isolation_level
        named = f" isolation level {level.name.replace('_', ' ')}" if level else ""
        await connection.set_autocommit(True)  # of the driver alone: it would send a BEGIN before this one
        try:
            await connection.execute(f"begin{named}; set local statement_timeout = {milliseconds}")
            yield
            await connection.commit()
        except BaseException:
            with suppress(psycopg.Error):  # a lost connection has nothing to roll back
                await connection.rollback()
            raise
        finally:
            with suppress(psycopg.Error):
                await connection.set_autocommit(False)

    @asynccontextmanager
    async def _unlimited(self) -> AsyncIterator[None]:
        connection, before = self.connection, self.connection.isolation_level
        if self.isolation is not None:
            await maybe_await(connection.set_isolation_level(self.isolation))
        try:
            yield
            await maybe_await(connection.commit())
        except BaseException:
            with suppress(psycopg.Error):  # a lost connection has nothing to roll back
                await maybe_await(connection.rollback())
            raise
        finally:
            if self.isolation is not None:
                with suppress(psycopg.Error):  # the next one to have this connection from the pool has its own level
                    await maybe_await(connection.set_isolation_level(before))

    async def rows(self, sql: str, params: Params = None, *, may_wait: bool = False) -> list[Row]:
        """The rows that a statement returns."""
        began = time.perf_counter()
        cursor = await maybe_await(self.connection.execute(sql, params))
        if may_wait and self._waited:
            self._waited(time.perf_counter() - began)
        return await maybe_await(cursor.fetchall()) if cursor.description else []

    async def alone(self, sql: str, params: Params = None, *, may_wait: bool = False) -> list[Row]:
        """The rows of a statement that is a transaction of its own, in one round trip; none may be open."""
        await maybe_await(self.connection.set_autocommit(True))
        try:
            return await self.rows(sql, params, may_wait=may_wait)
        finally:
            with suppress(psycopg.Error):  # of a lost connection
                await maybe_await(self.connection.set_autocommit(False))

    async def row(self, sql: str, params: Params = None, *, may_wait: bool = False) -> Row | None:
        """The first row, or None."""
        return next(iter(await self.rows(sql, params, may_wait=may_wait)), None)

    async def change(self, sql: str, params: Params = None, *, may_wait: bool = False) -> int:
        """The number of rows that a statement has changed."""
        began = time.perf_counter()
        cursor = await maybe_await(self.connection.execute(sql, params))
        if may_wait and self._waited:
            self._waited(time.perf_counter() - began)
        return int(cursor.rowcount)

    async def sleep(self, seconds: float) -> None:
        if self._is_async:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)
