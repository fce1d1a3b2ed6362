"""By when a caller wants its answer; carried to the pool, to retries and to the database.

What is done for a caller who has gone is lost, and the next caller waits for it: so a service that was late once stays
late (Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021). Nothing is started that cannot end in
time, and PostgreSQL is told what is left (`statement_timeout`): for the connection, since most callers who follow one
another on it have about as much left, so that an order is still one message.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

LEAST_SECONDS = 0.02
"""What must be left for a transaction to be started."""

_at: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """The caller waits so many seconds more; None: for ever."""
    token = _at.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _at.reset(token)


def left() -> float | None:
    """Seconds until the caller goes, below 0 where it has gone; None if it has named no deadline."""
    at = _at.get()
    return None if at is None else at - time.monotonic()


def statement_milliseconds() -> int | None:
    """A statement_timeout for what is left: the server's word comes before the client's end.

    Not less than `LEAST_SECONDS`: the statement that sets another limit for the next caller is under this one.
    """
    remaining = left()
    return None if remaining is None else int(1000 * max(LEAST_SECONDS, remaining - LEAST_SECONDS / 2))


NEAR = 0.9
"""Of what is left: a connection's limit between this and the whole stays as it is."""

_limits: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""The limit in milliseconds of a connection's statements, 0 where it is not known; absent where it is the server's."""


def fits(connection: Any, milliseconds: int | None) -> bool:
    """Whether a connection's statements have about this limit, and no longer one; None: their own."""
    has = _limits.get(connection)
    if milliseconds is None or has is None:
        return milliseconds is has
    return NEAR * milliseconds <= has <= milliseconds


@contextmanager
def setting(connection: Any, milliseconds: int | None) -> Iterator[str]:
    """The statement that sets such a limit, for the block to send."""
    _limits[connection] = 0  # until it is answered
    limit = 0 if milliseconds is None else int(milliseconds * (1 + NEAR) / 2)
    yield f"set statement_timeout = {limit}" if limit else "reset statement_timeout"
    if limit:
        _limits[connection] = limit
    else:
        del _limits[connection]
