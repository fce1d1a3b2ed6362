"""Clients for the service: commands and statements are sent once, and every wait has a limit."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from psycopg import Connection
from psycopg_pool import AsyncConnectionPool
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from zephyr_lab.orders.service import POOL

REDIS_SECONDS = 1.0


def redis_client(url: str, seconds: float = REDIS_SECONDS, **settings: Any) -> redis.Redis:
    """Gives up after `seconds`. redis-py's own default sends a command that timed out again, up to ten times."""
    once = {"retry": Retry(NoBackoff(), 0), "retry_on_timeout": False}
    return redis.Redis.from_url(
        url, decode_responses=True, socket_timeout=seconds, socket_connect_timeout=seconds, **{**once, **settings}
    )


def async_redis_client(url: str, seconds: float = REDIS_SECONDS) -> redis.asyncio.Redis:
    """The same for asyncio; with all 25 connections in use, a caller waits for one."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        decode_responses=True,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        max_connections=25,
        timeout=5,
        retry=AsyncRetry(NoBackoff(), 0),
        retry_on_timeout=False,
    )
    return redis.asyncio.Redis.from_pool(pool)


BEHIND_POOLER: dict[str, Any] = {"kwargs": {"prepare_threshold": None}}
"""Settings of a pool whose statements may each meet another server process, which does not know what one prepared."""


def is_pooler(connection: Connection[Any]) -> bool:
    """Whether PgBouncer or its like answers for PostgreSQL: another process than the one that it names is at work."""
    row = connection.execute("select pg_backend_pid()").fetchone()
    return row != (connection.info.backend_pid,)


def async_pool(dsn: str, **settings: Any) -> AsyncConnectionPool:
    """The write-up's pool, for an `async with`."""
    return AsyncConnectionPool(dsn, open=False, **{**POOL, **settings})
