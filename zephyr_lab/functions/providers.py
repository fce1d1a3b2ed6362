"""Provides functions with their arguments: each leads to the session's own, controlled connection.

A transaction that a function leaves open on a provided connection or ORM session is committed when the function
returns, and rolled back when it raises, as `with psycopg.connect(...)` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import psycopg

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.arguments import Kind
from zephyr_lab.functions.loops import Loops
from zephyr_lab.functions.turn import current_session
from zephyr_lab.servers.database import Database

if TYPE_CHECKING:
    from zephyr_lab.functions.content import Content
    from zephyr_lab.servers.keyvalue import KeyValue

_DIALECT = "postgresql+psycopg://"

OpenConnection = Callable[[type], Any]  # another connection object, of that class, for a session's backend


class Providers:
    """What the sessions of one exploration share; the lab's Redis starts on first use, `content` is its content."""

    def __init__(self, database: Database, keyvalue: Callable[[], KeyValue]) -> None:
        self._database, self._keyvalue = database, keyvalue
        self.loops = Loops()
        self.bounds = database.bounds
        self.content: Content | None = None
        self._async_redis: dict[asyncio.AbstractEventLoop, Any] = {}

    @contextlib.contextmanager
    def provide(self, open_connection: OpenConnection, kind: Kind) -> Iterator[Any]:
        """The argument for a parameter of that kind, until the function ends."""
        match kind:
            case Kind.CONNECTION:
                with open_connection(psycopg.Connection) as connection:
                    yield connection
            case Kind.REDIS:
                yield self.redis
            case Kind.POOL:
                yield self._pools.ConnectionPool(open=False)
            case Kind.ENGINE:
                yield self.engine
            case Kind.ORM:
                from sqlalchemy.orm import Session

                with Session(self.engine) as orm:
                    yield orm
                    orm.commit()
            case Kind.CORE:
                with self.engine.connect() as core:
                    yield core
                    core.commit()

    @contextlib.asynccontextmanager
    async def provide_async(self, open_connection: OpenConnection, kind: Kind) -> AsyncIterator[Any]:
        """The same for an asynchronous function."""
        match kind:
            case Kind.CONNECTION:
                async with open_connection(psycopg.AsyncConnection) as connection:
                    yield connection
            case Kind.REDIS:
                yield self.async_redis()
            case Kind.POOL:
                yield self._pools.AsyncConnectionPool(open=False)
            case Kind.ENGINE:
                yield self.async_engine
            case Kind.ORM:
                from sqlalchemy.ext.asyncio import AsyncSession

                async with AsyncSession(self.async_engine) as orm:
                    yield orm
                    await orm.commit()
            case Kind.CORE:
                async with self.async_engine.connect() as core:
                    yield core
                    await core.commit()

    @property
    def redis(self) -> Any:
        return self._keyvalue().client

    def async_redis(self) -> Any:
        """The client of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_redis:
            self._async_redis[loop] = self._keyvalue().async_client()
        return self._async_redis[loop]

    @cached_property
    def _pools(self) -> Any:
        try:
            import psycopg_pool
        except ImportError:
            raise BadInput(
                "a function takes a pool, and psycopg_pool is not installed: pip install psycopg-pool"
            ) from None
        return psycopg_pool

    # An engine's first queries are made on a plain connection, outside of all schedules.

    @cached_property
    def engine(self) -> Any:
        sqlalchemy = _sqlalchemy()

        def connect() -> Any:
            turn = current_session()
            return turn.open_connection(psycopg.Connection) if turn else self._database.connect("setup")

        engine = sqlalchemy.create_engine(_DIALECT, creator=connect, poolclass=sqlalchemy.NullPool)
        engine.connect().close()
        return engine

    @cached_property
    def async_engine(self) -> Any:
        sqlalchemy = _sqlalchemy()
        from sqlalchemy.ext.asyncio import create_async_engine

        async def connect() -> Any:
            turn = current_session()
            if turn:
                return turn.open_connection(psycopg.AsyncConnection)
            return await self._database.connect_async("setup")

        engine = create_async_engine(_DIALECT, async_creator=connect, poolclass=sqlalchemy.NullPool)

        async def ask() -> None:
            async with engine.connect():
                pass

        self.loops.run(ask())
        return engine

    def prepare(self, kinds: tuple[Kind, ...], asynchronous: bool) -> None:
        """Creates what is created once, before any schedule."""
        if {Kind.ENGINE, Kind.ORM, Kind.CORE} & set(kinds):
            _ = self.async_engine if asynchronous else self.engine
        if Kind.POOL in kinds:
            _ = self._pools

    def close(self) -> None:
        for loop, client in self._async_redis.items():
            if not loop.is_closed():
                loop.run_until_complete(client.aclose())
        self._async_redis.clear()
        self.loops.close()


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ImportError:
        raise BadInput(
            "a function takes a SQLAlchemy engine, and SQLAlchemy is not installed: pip install sqlalchemy"
        ) from None
    return sqlalchemy
