"""What a driver's error means to a caller: whose fault it is, and whether to send the order again."""

from __future__ import annotations

import asyncio
import functools
import random
from typing import Any

import psycopg
import psycopg_pool
import redis.exceptions

from zephyr_lab.orders import retry
from zephyr_lab.orders.errors import (
    Closed,
    InvalidOrder,
    NotInstalled,
    OrderVoided,
    Overloaded,
    ServiceUnavailable,
    SettingsRefused,
    SlotsFull,
    TimedOut,
)


def is_lost(error: BaseException) -> bool:
    """A connection that broke: what was asked may have been done, COMMIT included."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    )


def is_retryable_by_id(error: BaseException) -> bool:
    """Refused, or lost: the id's registration makes sure that a repetition of what was done does nothing."""
    return retry.is_refused(error) or is_lost(error)


TIME_LIMITS = ("57014", "55P03")  # statement_timeout, lock_timeout
CANNOT_WRITE = ("25006", "25P03", "25P04", "53", "58")
"""Read-only, a transaction's own time limits, which end the connection, a full disk or memory, and input and output."""

RETRY_SECONDS = (0.5, 1.5)
"""When a caller that was turned away is asked to come back."""

REDIS_CANNOT_WRITE = ("READONLY", "OOM", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "NOREPLICAS")


def _from_redis(error: redis.exceptions.RedisError) -> Exception:
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return ServiceUnavailable(
            f"Redis did not answer ({type(error).__name__}); send the order again with the same id"
        )
    # redis-py takes the first word off an error that it has a class for.
    word = str(error).split(" ")[0]
    if word in REDIS_CANNOT_WRITE or isinstance(
        error,
        redis.exceptions.ReadOnlyError | redis.exceptions.OutOfMemoryError | redis.exceptions.ClusterDownError,
    ):
        return ServiceUnavailable(f"Redis takes no writes ({type(error).__name__}); send the order again later")
    if isinstance(error, redis.exceptions.NoPermissionError):
        return NotInstalled("Redis does not let the service's user run its scripts: see ACL SETUSER")
    return error


def translated(error: Exception) -> Exception:
    """A driver's error as one of ours, where a caller is to know what to do."""
    if isinstance(error, redis.exceptions.RedisError):
        return _from_redis(error)
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests):
        # Random, or all who were told so would come back together.
        return Overloaded("every connection of the pool is taken; try again later", random.uniform(*RETRY_SECONDS))
    return _from_postgres(error) if isinstance(error, psycopg.Error) else error


def _from_postgres(error: psycopg.Error) -> Exception:
    state = error.sqlstate or ""
    if isinstance(error, psycopg.errors.CheckViolation) and not error.diag.constraint_name:
        return NotInstalled(
            "orders has no partition for the month of the order's created_at: run `zephyr-lab partitions ensure`"
        )
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
        return NotInstalled(f"the service's tables are not all there: {error.diag.message_primary}")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return NotInstalled(f"the service's role may not: {error.diag.message_primary}; see sql/orders/role.sql")
    if is_lost(error):
        return ServiceUnavailable("PostgreSQL did not answer; send the order again with the same id")
    if state in TIME_LIMITS:
        return TimedOut(f"PostgreSQL ended the attempt ({error.diag.message_primary}); send the order again")
    if state.startswith(CANNOT_WRITE):
        return ServiceUnavailable(f"PostgreSQL cannot write ({error.diag.message_primary}); send the order again later")
    return error


def translating_errors(method: Any) -> Any:
    """A coroutine function that raises `translated` errors."""

    @functools.wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await method(*args, **kwargs)
        except Exception as error:
            clear = translated(error)
            if clear is error:
                raise
            raise clear from error

    return call


def outcome_of(error: BaseException) -> str:
    """The outcome of an order that was not created, for whoever counts: a word for each class."""
    for kind, name in OUTCOMES.items():
        if isinstance(error, kind):
            return name
    return "refused" if retry.is_refused(error) else "failed"


OUTCOMES: dict[type[BaseException], str] = {
    asyncio.CancelledError: "cancelled",
    SlotsFull: "full",
    Closed: "closed",
    InvalidOrder: "invalid",
    OrderVoided: "voided",
    SettingsRefused: "settings",
    Overloaded: "overloaded",
    ServiceUnavailable: "unavailable",
    TimedOut: "timed_out",
    NotInstalled: "not_installed",
}
"""The first that fits."""
