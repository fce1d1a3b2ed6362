"""Which faults can befall a round trip, and the errors that a client gets by them."""

from __future__ import annotations

from psycopg import pq

from zephyr_lab.functions.scheduled import LONGEST_LIMIT
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.schedule.faults import Fault
from zephyr_lab.sql.classify import Kind, classify

CONNECTION_BROKE = (
    "consuming input failed: server closed the connection unexpectedly\n"
    "\tThis probably means the server terminated abnormally\n\tbefore or while processing the request."
)
"""libpq's words, as an application that parses them expects."""
TIMED_OUT = "Timeout reading from socket"
"""redis-py's words."""

_NOT_A_WRITE = {
    Kind.BEGIN, Kind.ROLLBACK, Kind.SAVEPOINT, Kind.RELEASE, Kind.ROLLBACK_TO, Kind.SET_TRANSACTION,
    Kind.IMPORT_SNAPSHOT, Kind.SET_CONSTRAINTS, Kind.SET, Kind.RESET, Kind.SHOW, Kind.LOCK, Kind.DECLARE, Kind.FETCH,
    Kind.CLOSE, Kind.DEALLOCATE, Kind.DISCARD,
}  # fmt: skip


def _writes(trip: RoundTrip) -> bool:
    """Whether it may change what others see. A query may by the functions that it calls."""
    found = classify(trip.whole or trip.sql)
    return any(one.kind not in _NOT_A_WRITE and not (one.kind is Kind.QUERY and "(" not in trip.sql) for one in found)


def possible(trip: RoundTrip, *, in_transaction: bool) -> set[Fault]:
    """The faults that can befall a session whose next round trip this is.

    A crash once the server has acted is one only where that lasts: inside a transaction it is a crash before the next
    round trip, which comes.
    """
    if trip.redis:
        lasts = {Fault.CRASH_AFTER} if trip.redis is RedisAccess.WRITES else set()
        return {Fault.CRASH, Fault.REDIS_TIMEOUT, *lasts}
    if not _writes(trip):
        return {Fault.CRASH}
    ends = any(one.kind in (Kind.COMMIT, Kind.COMMIT_PREPARED) for one in classify(trip.whole or trip.sql))
    return {Fault.CRASH, Fault.LOST_COMMIT, *({Fault.CRASH_AFTER} if ends or not in_transaction else ())}


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def limit_of(backend: pq.abc.PGconn) -> float:
    """The shorter of lock_timeout and statement_timeout in seconds, as `Scheduled.time_limit` gives it.

    By SHOW, which takes no snapshot; 0 where nothing can be asked.
    """
    at_rest = backend.transaction_status in (pq.TransactionStatus.IDLE, pq.TransactionStatus.INTRANS)
    if not at_rest or backend.pipeline_status != pq.PipelineStatus.OFF:
        return 0.0
    limits = []
    for name in (b"lock_timeout", b"statement_timeout"):
        shown = (backend.exec_(b"show " + name).get_value(0, 0) or b"0").decode()
        number = shown.rstrip("abcdefghijklmnopqrstuvwxyz")
        limits.append(float(number) * _UNITS.get(shown.removeprefix(number), 1e-3))
    return min((one for one in limits if 0 < one <= LONGEST_LIMIT), default=0.0)
