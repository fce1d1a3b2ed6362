"""psycopg connections that wait for their turn before each round trip.

All round trips pass through `wait`, so cursors, `with conn.transaction()`, savepoints, COPY and pipelines need no
code of their own; in pipeline mode each command is flushed and its answer awaited at once. Several such connections,
one after another, may represent one session's backend.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from typing import Any, Self

import psycopg
from psycopg import pq
from psycopg.waiting import Wait

from zephyr_lab.errors import REFUSALS, ScheduleError, sqlstate_among
from zephyr_lab.functions.mishaps import CONNECTION_BROKE
from zephyr_lab.functions.outside import HELD_ON
from zephyr_lab.functions.trips import RoundTrip
from zephyr_lab.functions.turn import Turn, check_bounds
from zephyr_lab.schedule.channel import result_of
from zephyr_lab.schedule.transcript import Failure
from zephyr_lab.sql.classify import Kind, classify, is_local

# psycopg's generators that send nothing. Rows of a stream or of COPY follow without another request.
SILENT = (
    "_set_autocommit_gen", "_set_isolation_level_gen", "_set_read_only_gen", "_set_deferrable_gen",
    "_stream_fetchone_gen", "_read_gen", "_read_row_gen", "_end_copy_out_gen",
)  # fmt: skip
_OF_THREADS = re.compile(r"\bs\d+_x(\d+)\b")  # Django's savepoints, which are named by the thread's id
_HELD_ON = b"select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
WORDS = {"_commit_gen": "commit", "_rollback_gen": "rollback"}


def _dead() -> pq.abc.PGconn:
    connection = pq.PGconn.connect_start(b"host=/nowhere")
    connection.finish()
    return connection


class _Controlled:
    """What synchronous and asyncio connections share."""

    turn: Turn
    pgconn: pq.abc.PGconn
    autocommit: bool
    closed: bool
    _closed: bool
    _failed: bool  # whether the last round trip was made in a failed transaction
    _data: list[Any]  # of a COPY, held back

    # Otherwise, when a statement is prepared depends on how often the function ran before.
    prepare_threshold = property(lambda self: None, lambda self, value: None)

    def _begin_trip(self, gen: Any) -> RoundTrip | None:
        """Waits for the turn of what `gen` is going to send; None if it sends nothing."""
        name, known = gen.__name__, gen.gi_frame.f_locals
        idle = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        if name in SILENT or (idle and name in WORDS) or self.closed or self.turn.is_aside:
            return None
        sql = _OF_THREADS.sub(r"s_x\1", text_of(name, known, self))
        check_bounds(self.turn, sql)
        if name == "notifies" or any(one.kind is Kind.LISTEN for one in classify(sql)):
            raise self.turn.refuse(
                ScheduleError(
                    f"session {self.turn.name} listens ({sql!r}), and what it would hear comes at a time that nobody "
                    "can order: explore what is done when it has come, in a function that needs no notification"
                )
            )
        begins = idle and not self.autocommit and name not in WORDS and not is_local(sql)
        whole = f"{begin_of(self)}; {sql}" if begins else sql
        self._failed = self.pgconn.transaction_status == pq.TransactionStatus.INERROR
        return self.turn.take(RoundTrip(sql, whole, is_local(sql)))

    def _end_trip(self, trip: RoundTrip | None, cursor: Any) -> None:
        if trip is None:
            return
        result = getattr(cursor, "pgresult", None)
        if result is not None:
            trip.results.append(result_of(result))
        trip.status = self.pgconn.transaction_status
        ended = trip.status == pq.TransactionStatus.IDLE
        if ended and not self._failed and all(one.kind is not Kind.ROLLBACK for one in classify(trip.sql)):
            self.turn.refused = ""

    def _holds_back(self, gen: Any) -> bool:
        """Whether `gen` is data of a COPY: sent before its end, the server would process it in others' turns."""
        if gen.__name__ != "copy_to":
            return False
        self._data.append(gen)
        return True

    def _whole(self, gen: Any) -> Any:
        """The same generator, continued until the server has executed its request."""
        if gen.__name__ == "copy_end":
            return self._end_copy(gen)
        return _with_first_row(gen) if gen.__name__ == "_stream_send_gen" else gen

    def _end_copy(self, gen: Any) -> Generator[Any, Any, Any]:
        data, self._data = self._data, []
        for one in data if not gen.gi_frame.f_locals.get("error") else ():
            yield from one
        told = yield from gen
        return told

    def _leave(self) -> None:
        """What else the server does when a connection is closed."""
        if self.turn.locks_on and self.pgconn.status == pq.ConnStatus.OK:
            held = self.pgconn.exec_(_HELD_ON)
            if held.status == pq.ExecStatus.TUPLES_OK and held.ntuples:
                self.turn.outside.add(HELD_ON)
            self.pgconn.exec_(b"select pg_advisory_unlock_all()")

    def _suffer(self, trip: RoundTrip | None) -> None:
        """Does not come back with an answer that is lost: the connection breaks, and the server rolls back."""
        if trip is None or trip.private:
            return
        self.turn.survive()
        if trip.answer_lost:
            if self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                self.pgconn.exec_(b"rollback")
                trip.lost, trip.answer_lost = True, False  # there is nothing left to have an answer to
            self.pgconn = _dead()
            raise psycopg.OperationalError(CONNECTION_BROKE) from None

    def _fail_trip(self, trip: RoundTrip | None, error: psycopg.Error) -> None:
        if state := sqlstate_among(REFUSALS, error):
            self.turn.refused = state
        if trip is None or isinstance(error, psycopg.errors.PipelineAborted):  # may arrive after the error itself
            return
        found = error.diag
        reported_in = found.source_file or ""
        trip.failure = Failure(error.sqlstate or "08006", found.constraint_name or "", reported_in=reported_in)
        trip.lost, trip.status = self.closed, self.pgconn.transaction_status

    @classmethod
    def of(cls, backend: pq.abc.PGconn, turn: Turn) -> Self:
        """A new connection object for a connected backend."""
        connection = cls(backend)  # type: ignore[call-arg]
        connection.turn, connection._data = turn, []
        return connection

    def disown(self) -> None:
        """Closes the connection, but not the backend behind it."""
        if not self.closed:
            self._closed, self.pgconn = True, _dead()


class ControlledConnection(_Controlled, psycopg.Connection[Any]):  # pyright: ignore[reportIncompatibleVariableOverride]
    """An ordinary connection that waits for its turn before each round trip."""

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if self._holds_back(gen):
            return None
        cursor, trip = gen.gi_frame.f_locals.get("self"), self._begin_trip(gen)
        try:
            told = super().wait(self._whole(gen), *args, **kwargs)
            if self._pipeline and trip:
                super().wait(self._pipeline._fetch_gen(flush=True))
        except psycopg.Error as error:
            self._fail_trip(trip, error)
            self._suffer(trip)
            raise
        self._end_trip(trip, cursor)
        self._suffer(trip)
        return told

    def close(self) -> None:
        if not self.closed:
            if not self.turn.abandoned:
                self.wait(self._rollback_gen())
                self._leave()
            self.disown()


class AsyncControlledConnection(_Controlled, psycopg.AsyncConnection[Any]):  # pyright: ignore[reportIncompatibleVariableOverride]
    """The same for asyncio. A session's thread runs its event loop, and is paused with it until its turn."""

    async def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        if self._holds_back(gen):
            return None
        cursor, trip = gen.gi_frame.f_locals.get("self"), self._begin_trip(gen)
        try:
            told = await super().wait(self._whole(gen), *args, **kwargs)
            if self._pipeline and trip:
                await super().wait(self._pipeline._fetch_gen(flush=True))
        except psycopg.Error as error:
            self._fail_trip(trip, error)
            self._suffer(trip)
            raise
        self._end_trip(trip, cursor)
        self._suffer(trip)
        return told

    async def close(self) -> None:
        if not self.closed:
            if not self.turn.abandoned:
                await self.wait(self._rollback_gen())
                self._leave()
            self.disown()


def _with_first_row(gen: Any) -> Iterator[Any]:
    """A stream is sent without waiting for its end; the server has read the rows when the first one arrives."""
    yield from gen
    yield Wait.R


def begin_of(connection: Any) -> str:
    return str(connection._get_tx_start_command().decode().lower())


def text_of(generator: str, known: dict[str, Any], connection: Any) -> str:
    """What a psycopg generator is going to send, with its parameters filled in, as far as is known."""
    owner, query = known.get("self"), known.get("query", known.get("statement"))
    if isinstance(owner, psycopg.Transaction | psycopg.AsyncTransaction):
        name, fails = owner.savepoint_name, known.get("exc_type") is not None or owner.force_rollback
        if generator == "_enter_gen":
            idle = connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
            return begin_of(connection) if idle else f"savepoint {name or '_'}"
        if owner._outer_transaction:
            return "rollback" if fails else "commit"
        return f"rollback to {name}" if fails else f"release {name}"
    if query is None:
        return WORDS.get(generator, generator.strip("_").removesuffix("_gen").replace("_", " "))
    if known.get("params"):
        kind: Any = (
            psycopg.AsyncClientCursor if isinstance(connection, psycopg.AsyncConnection) else psycopg.ClientCursor
        )
        with contextlib.suppress(Exception):  # the function will get this error
            return str(kind(connection).mogrify(query, known["params"]))
    if isinstance(query, bytes):
        return query.decode()
    return query if isinstance(query, str) else str(query.as_string(connection))
