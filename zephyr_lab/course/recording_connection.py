"""Connections on which a COMMIT can fail as in a network failure, and a record of their round trips.

Everything here is real: the server, its errors, and the loss of a connection, at which libpq finds its socket closed.
`cut` replaces the connection's socket by a dead one; anything under way on the old one is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from zephyr_lab.schedule.channel import result_of
from zephyr_lab.schedule.transcript import Event, EventKind, Failure

MOST_TRIPS = 500


class GivenUp(BaseException):
    """Raised in a function that goes on for ever; no `except Exception` catches it."""


@dataclass
class Record:
    """The statements of watched connections, in order. `at_commit` is called once, before the next COMMIT is sent."""

    events: list[Event] = field(default_factory=list)
    at_commit: Callable[[WatchedConnection], Callable[[Any], Any] | None] | None = None
    trips: int = 0

    def note(self, session: str, sql: str, results: tuple[Any, ...] = (), error: psycopg.Error | None = None) -> None:
        failure = None if error is None else Failure(error.sqlstate or "08006", error.diag.constraint_name or "")
        kind = EventKind.COMPLETED if error is None else EventKind.FAILED
        self.events.append(Event(session, session, sql, kind, results=results, failure=failure))


class WatchedConnection(psycopg.Connection[Any]):
    """An ordinary connection whose round trips are recorded, and whose COMMIT may meet a fault."""

    session: str
    record: Record | None = None

    @classmethod
    def over(cls, opened: psycopg.Connection[Any], session: str, record: Record) -> WatchedConnection:
        """Takes over a connection that has been opened."""
        made = cls(opened.pgconn)
        made.opened, made.session, made.record = opened, session, record  # type: ignore[attr-defined]
        return made

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        sql = _text(gen)
        if self.record is None or not sql or (sql in ("commit", "rollback") and not _in_transaction(self)):
            return super().wait(gen, *args, **kwargs)
        self.record.trips += 1
        if self.record.trips > MOST_TRIPS:
            raise GivenUp
        cursor = gen.gi_frame.f_locals.get("self")
        if sql == "commit" and self.record.at_commit is not None:
            meet, self.record.at_commit = self.record.at_commit, None
            gen = (meet(self) or (lambda same: same))(gen)
        try:
            told = super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            self.record.note(self.session, sql, error=error)
            raise
        result = cursor.pgresult if isinstance(cursor, psycopg.Cursor) else None
        self.record.note(self.session, sql, (result_of(result),) if result is not None else ())
        return told


def _in_transaction(connection: psycopg.Connection[Any]) -> bool:
    return connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE


def _text(gen: Any) -> str:
    """The statement that a psycopg generator is going to send; empty if it is not one of the program."""
    known = gen.gi_frame.f_locals
    query = known.get("query")
    if query is not None:
        return query.decode() if isinstance(query, bytes) else str(query)
    if gen.__name__ in ("_enter_gen", "_exit_gen"):
        failed, inner = known.get("exc_type") is not None, known["self"].savepoint_name
        if gen.__name__ == "_enter_gen":
            return "savepoint" if _in_transaction(known["self"].connection) else "begin"
        return (
            ("rollback" if failed else "commit") if not inner else f"{'rollback to' if failed else 'release'} savepoint"
        )
    return {"_commit_gen": "commit", "_rollback_gen": "rollback"}.get(gen.__name__, "")
