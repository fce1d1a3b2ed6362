"""By when a caller wants its answer; carried to the pool, to retries and to the database.

What is done for a caller who has gone is lost, and the next caller waits for it: so a service that was late once stays
late (Bronson et al., "Metastable Failures in Distributed Systems", HotOS 2021). Nothing is started that cannot end in
time, and each transaction tells PostgreSQL what is left (`statement_timeout`), in the message that begins it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
    """A statement_timeout for what is left: the server's word comes before the client's end."""
    remaining = left()
    return None if remaining is None else max(1, int(1000 * (remaining - LEAST_SECONDS / 2)))
