"""Chooses a function's arguments by its parameters' annotations, else their names.

A psycopg connection, a Redis client, a psycopg pool, a SQLAlchemy engine, ORM session or connection: each leads to
connections that wait for the session's turn; or a DSN or a Redis URL, for a driver that the function brings.
"""

from __future__ import annotations

import ctypes
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from zephyr_lab.errors import BadInput


class Kind(StrEnum):
    CONNECTION = "a psycopg connection"
    REDIS = "a Redis client"
    POOL = "a psycopg pool"
    ENGINE = "a SQLAlchemy engine"
    ORM = "a SQLAlchemy session"
    CORE = "a SQLAlchemy connection"
    DSN = "a DSN"
    REDIS_URL = "a Redis URL"


_METH_NOARGS = 0x0004
_BY_CLASS = {
    ("psycopg", "Connection"): Kind.CONNECTION, ("psycopg", "AsyncConnection"): Kind.CONNECTION,
    ("redis", "Redis"): Kind.REDIS, ("valkey", "Valkey"): Kind.REDIS,
    ("psycopg_pool", "ConnectionPool"): Kind.POOL, ("psycopg_pool", "AsyncConnectionPool"): Kind.POOL,
    ("sqlalchemy", "Engine"): Kind.ENGINE, ("sqlalchemy", "AsyncEngine"): Kind.ENGINE,
    ("sqlalchemy", "Session"): Kind.ORM, ("sqlalchemy", "AsyncSession"): Kind.ORM,
    ("sqlalchemy", "Connection"): Kind.CORE, ("sqlalchemy", "AsyncConnection"): Kind.CORE,
}  # fmt: skip
_BY_NAME = {
    Kind.REDIS: {"redis", "r", "rds", "valkey", "cache", "kv", "redis_client", "cache_client"},
    Kind.POOL: {"pool", "db_pool", "connection_pool"},
    Kind.ENGINE: {"engine", "db_engine"},
    Kind.ORM: {"session", "db_session", "orm_session"},
    Kind.DSN: {"dsn", "database_url", "db_url", "conninfo"},
    Kind.REDIS_URL: {"redis_url", "valkey_url", "cache_url"},
}


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine, as far as can be told without calling it."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def name_of(session: Any) -> str:
    """What a function is called in reports, or a request, which has a title."""
    title = getattr(session, "title", None)
    inner = getattr(session, "func", session)  # of a partial
    return title if isinstance(title, str) else getattr(inner, "__name__", type(inner).__name__)


@dataclass(frozen=True)
class Parameters:
    """A function's arguments, positional and by name. `guessed`: its signature does not say what it takes."""

    positional: tuple[Kind, ...]
    named: dict[str, Kind]
    guessed: bool = False

    def kinds(self) -> tuple[Kind, ...]:
        return (*self.positional, *self.named.values())


@lru_cache(maxsize=256)
def parameters_of(function: Callable[..., Any]) -> Parameters:
    """An argument for each parameter without a default. Raises BadInput if a parameter's kind is unknown."""
    try:
        signature = inspect.signature(function)
    except TypeError:
        raise BadInput(f"{function!r} is no function: give functions that take a connection") from None
    except ValueError:  # of C
        return Parameters((), {}) if _takes_nothing(function) else Parameters((Kind.CONNECTION,), {}, guessed=True)
    try:
        hints = typing.get_type_hints(getattr(function, "func", function))
    except Exception:
        hints = {}  # names that exist for type checkers only
    kinds: dict[str, Kind] = {}
    for name, parameter in signature.parameters.items():
        if parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        annotation = hints.get(name, parameter.annotation)
        if driver := _foreign(annotation):
            raise BadInput(
                f"{name_of(function)}: parameter {name!r} is to be {driver}'s, which the lab does not make: let "
                "the function take a dsn, and connect by it"
            )
        kind = _by_annotation(annotation) or _by_name(name)
        if kind in kinds.values():
            raise BadInput(
                f"{name_of(function)}: parameter {name!r} would be {kind} like the one before it, and a session has "
                "one: give other arguments by functools.partial, or name and annotate it as what it is (conn, redis, "
                "pool, engine, session)"
            )
        kinds[name] = kind
    by_name = {name for name, one in signature.parameters.items() if one.kind is one.KEYWORD_ONLY}
    return Parameters(
        tuple(kind for name, kind in kinds.items() if name not in by_name),
        {name: kind for name, kind in kinds.items() if name in by_name},
    )


def _takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether a function written in C takes no arguments, such as a dict's `clear` (METH_NOARGS)."""
    if not isinstance(function, types.BuiltinFunctionType):
        return False
    return bool(ctypes.pythonapi.PyCFunction_GetFlags(ctypes.py_object(function)) & _METH_NOARGS)


def _by_name(name: str) -> Kind:
    return next((kind for kind, names in _BY_NAME.items() if name in names), Kind.CONNECTION)


def _foreign(annotation: Any) -> str:
    """The uncontrollable driver whose class an annotation names, if any."""
    named = annotation if isinstance(annotation, str) else getattr(annotation, "__module__", "")
    package = named.strip("\"'").partition(".")[0]
    return package if package in ("asyncpg", "psycopg2", "aiopg", "pg8000") else ""


def _by_annotation(annotation: Any) -> Kind | None:
    if isinstance(annotation, str):
        path, _, name = annotation.partition("[")[0].strip("\"'").rpartition(".")
        top = path.partition(".")[0].replace("aioredis", "redis")
        return next(
            (kind for (package, known), kind in _BY_CLASS.items() if name == known and top in ("", package)), None
        )
    annotation = typing.get_origin(annotation) or annotation
    if not isinstance(annotation, type):
        return None
    for base in annotation.__mro__:
        package = base.__module__.split(".")[0]
        if (package, base.__name__) in _BY_CLASS:
            return _BY_CLASS[package, base.__name__]
    return None
