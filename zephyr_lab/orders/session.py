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
from contextlib import asynccontextmanager, nullcontext, suppress
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

    @property
    def _is_pooled(self) -> bool:
        """Whether a pooler is between, by what `clients.BEHIND_POOLER` says of the connection."""
        return self._is_async and self.connection.prepare_threshold is None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """BEGIN before the first statement; COMMIT at the end, ROLLBACK when an error leaves the block.

        On asyncio each statement has as long as is left of the caller's `deadline`, if there is one.
        """
        local = await self._keep_to_deadline()
        connection, before = self.connection, self.connection.isolation_level
        try:
            if self.isolation is not None:
                await maybe_await(connection.set_isolation_level(self.isolation))
            if local is not None:
                await connection.execute(f"set local statement_timeout = {local}")
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

    async def _keep_to_deadline(self) -> int | None:
        """Limits the connection's statements to what is left of the caller's deadline.

        Behind a pooler, where the next statement may meet another server process, it gives the milliseconds instead,
        for the transaction to set.
        """
        if not self._is_async:
            return None
        wanted = deadline.statement_milliseconds()
        if self._is_pooled:
            return wanted
        if not deadline.fits(self.connection, wanted):
            try:
                await self.connection.set_autocommit(True)
                with deadline.setting(self.connection, wanted) as sql:
                    await self.connection.execute(sql, prepare=False)
            finally:
                with suppress(psycopg.Error):  # of a lost connection
                    await self.connection.set_autocommit(False)
        return None

    async def rows(self, sql: str, params: Params = None, *, may_wait: bool = False) -> list[Row]:
        """The rows that a statement returns."""
        began = time.perf_counter()
        cursor = await maybe_await(self.connection.execute(sql, params))
        if may_wait and self._waited:
            self._waited(time.perf_counter() - began)
        return await maybe_await(cursor.fetchall()) if cursor.rownumber is not None else []

    async def alone(self, sql: str, params: Params = None, *, may_wait: bool = False) -> list[Row]:
        """The rows of a statement that is a transaction of its own, in one round trip; none may be open."""
        await self._keep_to_deadline()
        try:
            await maybe_await(self.connection.set_autocommit(True))  # of the driver: nothing is sent
            return await self.rows(sql, params, may_wait=may_wait)
        finally:
            with suppress(psycopg.Error):  # of a lost connection
                await maybe_await(self.connection.set_autocommit(False))

    async def at_once(self, sql: str, params: Params = None, *, may_wait: bool = False) -> Row | None:
        """The first row of a statement that is the whole transaction, or None; no transaction may be open.

        On asyncio it goes `alone`: the server commits before it answers, and nobody waits for what it holds while the
        answer is on its way. A level or, behind a pooler, a deadline of its own takes a BEGIN. So do synchronous
        connections, whose explorer would not see what happens within one message: that others wait, and look again.
        """
        has_level = self.isolation is not None or self.connection.isolation_level is not None
        if not self._is_async or has_level or (self._is_pooled and deadline.left() is not None):
            async with self.transaction():
                return await self.row(sql, params, may_wait=may_wait)
        return next(iter(await self.alone(sql, params, may_wait=may_wait)), None)

    async def row(self, sql: str, params: Params = None, *, may_wait: bool = False) -> Row | None:
        """The first row, or None."""
        return next(iter(await self.rows(sql, params, may_wait=may_wait)), None)

    async def change(self, sql: str, params: Params = None, *, may_wait: bool = False) -> int:
        """The number of rows that a statement has changed."""
        return (await self.changes((sql, params), may_wait=may_wait))[0]

    async def changes(self, *statements: tuple[str, Params], may_wait: bool = False) -> list[int]:
        """The number of rows that each statement has changed.

        On asyncio they are sent in one round trip; on synchronous connections one after another, so that an
        exploration comes between them.
        """
        began = time.perf_counter()
        together = len(statements) > 1 and self._is_async and psycopg.AsyncPipeline.is_supported()
        async with self.connection.pipeline() if together else nullcontext():
            cursors = [await maybe_await(self.connection.execute(sql, params)) for sql, params in statements]
        if may_wait and self._waited:
            self._waited(time.perf_counter() - began)
        return [int(cursor.rowcount) for cursor in cursors]

    async def sleep(self, seconds: float) -> None:
        if self._is_async:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)
