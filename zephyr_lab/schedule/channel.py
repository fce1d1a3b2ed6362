"""One session's connection: sends a step without waiting for it, and collects the results when they arrive.

Uses libpq's asynchronous calls through `psycopg.pq`, and its simple protocol, so that a step may hold several
statements, as in isolationtester.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import pq

from zephyr_lab.errors import SetupFailed
from zephyr_lab.schedule.model import Step
from zephyr_lab.schedule.transcript import Failure, Result, Value
from zephyr_lab.servers.database import decoded

CANCEL_SECONDS = 5
OWN_SECONDS = 30
_INTEGERS = frozenset({20, 21, 23, 26})  # int8, int2, int4, oid
_BOOLEAN = 16
_WITH_ROWS = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.SINGLE_TUPLE)


class Channel:
    """A session's connection. `step` is the last step sent; `busy` until it is completed."""

    def __init__(self, name: str, connection: pq.abc.PGconn) -> None:
        self.name = name
        self.step: Step | None = None
        self.busy = False
        self.lost = False
        self._connection = connection
        self._connection.notice_handler = self._on_notice
        self.pid = self._connection.backend_pid
        self._clear()

    def _clear(self) -> None:
        self.results: list[Result] = []
        self.failure: Failure | None = None
        self.notices: list[str] = []
        self.error_text = ""

    def _on_notice(self, result: pq.abc.PGresult) -> None:
        severity = _field(result, pq.DiagnosticField.SEVERITY_NONLOCALIZED)
        self.notices.append(f"{severity}: {_field(result, pq.DiagnosticField.MESSAGE_PRIMARY)}")

    @property
    def backends(self) -> tuple[int, ...]:
        return (self.pid,)

    def hold_answers(self) -> bool:
        return False

    def hand_over(self) -> None:
        """Nothing is held back."""

    @property
    def connection(self) -> pq.abc.PGconn:
        return self._connection

    @property
    def server_is_busy(self) -> bool:
        return self.busy

    can_move = False

    def wait_elsewhere(self) -> None:
        """It is at the server, or at rest."""

    @property
    def socket(self) -> int:
        return self._connection.socket

    @property
    def status(self) -> int:
        """A pq.TransactionStatus, as a number."""
        return self._connection.transaction_status

    def send(self, step: Step) -> None:
        """Sends a step and returns at once; `collect` reads the results."""
        self._clear()
        self.step, self.busy = step, True
        try:
            self._connection.send_query(step.sql.encode())
        except psycopg.Error:
            self._lose()

    def receive(self) -> None:
        """Its socket is its own: `collect` reads what has arrived."""

    def collect(self) -> bool:
        """Reads what has arrived; True when the step is over, which is when the server is ready for the next one.

        An error message arrives before the failed transaction's locks are gone; ReadyForQuery arrives after.
        """
        try:
            self._connection.consume_input()
            while not self._connection.is_busy():
                result = self._connection.get_result()
                if result is not None:
                    self._take(result)
                    continue
                self.busy = False
                if self._connection.status != pq.ConnStatus.OK:
                    self._lose()
                return True
        except psycopg.Error:  # the socket is gone
            self._lose()
            return True
        return False

    def _lose(self) -> None:
        self.lost, self.busy = True, False
        self._connection.finish()

    def _take(self, result: pq.abc.PGresult) -> None:
        match result.status:
            case pq.ExecStatus.COMMAND_OK | pq.ExecStatus.TUPLES_OK | pq.ExecStatus.SINGLE_TUPLE:
                self.results.append(result_of(result))
            case pq.ExecStatus.COPY_IN:
                self._connection.put_copy_end(b"a step has no data to copy in")
            case pq.ExecStatus.COPY_OUT:
                rows: list[tuple[Value, ...]] = []
                while (line := self._connection.get_copy_data(0))[0] > 0:
                    rows.append((decoded(line[1]).rstrip("\n"),))
                self.results.append(Result(f"COPY {len(rows)}", ("copy",), tuple(rows)))
            case pq.ExecStatus.FATAL_ERROR | pq.ExecStatus.BAD_RESPONSE:
                sqlstate = _field(result, pq.DiagnosticField.SQLSTATE)
                if sqlstate:
                    constraint = _field(result, pq.DiagnosticField.CONSTRAINT_NAME)
                    reported_in = _field(result, pq.DiagnosticField.SOURCE_FILE)
                    self.failure = Failure(sqlstate, constraint, reported_in=reported_in)
                    self.error_text = _field(result, pq.DiagnosticField.MESSAGE_PRIMARY)

    def execute(self, sql: str, what: str, seconds: float = OWN_SECONDS) -> list[Result]:
        """Runs SQL that is no step to its end. Raises SetupFailed, beginning with `what`, also after `seconds`."""
        self.start(sql, what)
        return self.finish(seconds)

    def start(self, sql: str, what: str) -> None:
        """Sends SQL that is no step; `finish` waits for its end."""
        if self.busy:  # an earlier query and its cancellation were both interrupted
            self.cancel()
        self.send(Step(what, self.name, sql))

    def finish(self, seconds: float = OWN_SECONDS) -> list[Result]:
        """Waits for the results of `start`. Raises SetupFailed, also after `seconds`."""
        assert self.step is not None
        what, deadline = self.step.name, time.monotonic() + seconds
        while not self.lost and not self.collect():
            if time.monotonic() > deadline:
                self.cancel()
                raise SetupFailed(f"{what}: no answer within {seconds:g} s; cancelled")
            select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))
        if self.lost or self.failure:
            raise SetupFailed(
                f"{what}: {self.failure.text() if self.failure else 'connection lost'}: {self.error_text}"
            )
        return self.results

    def cancel(self) -> bool:
        """Cancels what is running and waits a bounded time for its end; True if the connection is usable then."""
        if self.lost:
            return False
        deadline = time.monotonic() + CANCEL_SECONDS
        while self.busy:
            if time.monotonic() > deadline:
                return False
            # Again in every round: a request that arrives between two statements has no effect.
            self.request_cancel()
            select.select([self.socket], [], [], 0.1)
            self.collect()  # even with nothing to read: an interrupt may have come before a read result was recorded
        return not self.lost

    def request_cancel(self) -> None:
        """Asks the server to cancel what is running; the error arrives as any other, with SQLSTATE 57014."""
        with contextlib.suppress(psycopg.Error):
            self._connection.get_cancel().cancel()

    def close(self) -> None:
        self._connection.finish()


def result_of(result: pq.abc.PGresult) -> Result:
    tag = decoded(result.command_status)
    if result.status not in _WITH_ROWS:
        return Result(tag)
    columns = tuple(decoded(result.fname(i)) for i in range(result.nfields))
    loaders = [_loader(result.ftype(i)) for i in range(result.nfields)]
    rows = tuple(
        tuple(None if (raw := result.get_value(row, i)) is None else load(raw) for i, load in enumerate(loaders))
        for row in range(result.ntuples)
    )
    return Result(tag, columns, rows)


def _loader(oid: int) -> Callable[[bytes], Any]:
    if oid in _INTEGERS:
        return int
    if oid == _BOOLEAN:
        return lambda raw: raw == b"t"
    return decoded


def _field(result: pq.abc.PGresult, code: pq.DiagnosticField) -> str:
    return decoded(result.error_field(code))
