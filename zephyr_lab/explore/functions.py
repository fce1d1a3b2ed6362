"""Ordinary Python functions as sessions: every round trip to the server is a point where a scheduler chooses.

A function is run in a thread of its own, on a psycopg connection that waits for its turn before each round trip. All
of them pass through `psycopg.Connection.wait`, so cursors, `with conn.transaction()`, savepoints, COPY and pipelines
need no care of their own. Between two turns a function runs on until its next round trip, or to its end.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import pq

from zephyr_lab.errors import is_retryable
from zephyr_lab.schedule.channel import Channel, result_of
from zephyr_lab.schedule.transcript import Event, EventKind, Failure, Result

Function = Callable[[psycopg.Connection], Any]

_WORDS = {
    "_commit_gen": "commit",
    "_rollback_gen": "rollback",
    "_enter_gen": "begin",
    "_exit_gen": "end of transaction",
}


class Abandoned(BaseException):
    """Raised in a function's thread when its schedule is given up; no `except Exception` catches it."""


@dataclass
class RoundTrip:
    """What a function asked the server, and what it was told."""

    sql: str
    results: tuple[Result, ...] = ()
    failure: Failure | None = None


class Turn:
    """Stands between a function's thread and the scheduler: the thread parks before a round trip until it is let go."""

    def __init__(self) -> None:
        self.next: RoundTrip | None = None
        self.done: list[RoundTrip] = []
        self._go = threading.Semaphore(0)
        self._abandoned = False
        self.inside, self._outside = socket.socketpair()

    # -- the thread's side

    def take(self, sql: str) -> RoundTrip:
        """Waits until it is this session's turn. Raises Abandoned."""
        trip = self.next = RoundTrip(sql)
        self.say()
        self._go.acquire()
        if self._abandoned:
            raise Abandoned
        self.next = None
        self.done.append(trip)
        return trip

    def say(self) -> None:
        """Tells the scheduler that the thread has parked, or has ended."""
        with contextlib.suppress(OSError):
            self._outside.send(b".")

    # -- the scheduler's side

    def let_go(self) -> None:
        self._go.release()

    def heard(self) -> bool:
        """Whether the thread has parked or ended since it was let go."""
        return bool(self.inside.recv(1))

    def abandon(self) -> None:
        self._abandoned = True
        self._go.release()

    def close(self) -> None:
        self.inside.close()
        self._outside.close()


class ControlledConnection(psycopg.Connection[Any]):
    """An ordinary connection but for this: it waits for its turn before each round trip."""

    turn: Turn

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        idle = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        if idle and gen.__name__ in ("_commit_gen", "_rollback_gen"):
            return super().wait(gen, *args, **kwargs)  # nothing is sent
        known = gen.gi_frame.f_locals
        trip = self.turn.take(_text(gen.__name__, known.get("query"), self))
        cursor = known.get("self")
        try:
            told = super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            trip.failure = Failure(error.sqlstate or "08006", (error.diag.constraint_name or "") if error.diag else "")
            raise
        if isinstance(cursor, psycopg.Cursor) and cursor.pgresult is not None:
            trip.results = (result_of(cursor.pgresult),)
        return told


def _text(generator: str, query: Any, connection: psycopg.Connection[Any]) -> str:
    if query is None:
        return _WORDS.get(generator, generator.strip("_").removesuffix("_gen").replace("_", " "))
    if isinstance(query, bytes):
        return query.decode()
    return query if isinstance(query, str) else str(query.as_string(connection))


@dataclass
class FunctionChannel:
    """A session whose steps are a function's round trips; what `schedule.quiet` needs of a channel."""

    channel: Channel
    function: Function
    turn: Turn = field(default_factory=Turn)
    busy: bool = True  # until its first round trip, or its end
    ended: bool = False
    returned: Any = None
    raised: BaseException | None = None

    def __post_init__(self) -> None:
        self.name, self.pid, self.lost = self.channel.name, self.channel.pid, False
        self.connection = ControlledConnection(self.channel.connection)
        self.connection.prepare_threshold = None  # what is prepared when would depend on earlier calls
        self.connection.turn = self.turn
        self.thread = threading.Thread(target=self._run, name=f"session {self.name}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            try:
                self.returned = self.function(self.connection)
                self.connection.commit()
            except Exception as error:
                self.raised = error
                if not self.connection.closed:
                    self.connection.rollback()
        except BaseException as error:
            self.raised = self.raised or error
        finally:
            self.ended = True
            self.turn.say()

    @property
    def socket(self) -> int:
        return self.turn.inside.fileno()

    def collect(self) -> bool:
        """Whether the function has come to its next round trip, or to its end."""
        self.busy = not self.turn.heard()
        return not self.busy

    def go(self) -> None:
        self.busy = True
        self.turn.done.clear()
        self.turn.let_go()

    @property
    def aborted(self) -> bool:
        return is_retryable(self.raised)

    def told(self) -> Result | Failure:
        """What the function returned or raised, as part of the outcome."""
        if self.raised is None:
            return Result("RETURN", ("returned",), ((repr(self.returned),),))
        if isinstance(self.raised, psycopg.Error) and self.raised.sqlstate:
            return Failure(self.raised.sqlstate, self.raised.diag.constraint_name or "")
        return Result("RAISE", ("raised",), ((repr(self.raised),),))

    def abandon(self, seconds: float = 3) -> None:
        """Ends the thread, whatever it is doing; one that never comes to a round trip is left to itself."""
        self.turn.abandon()
        if not self.ended:
            with contextlib.suppress(psycopg.Error):
                self.channel.connection.get_cancel().cancel()
        self.thread.join(seconds)
        self.turn.close()


def events_of(channel: FunctionChannel, *, resumed: bool) -> list[Event]:
    """The round trips since the last turn; the first of them may have waited."""
    return [
        Event(
            channel.name, f"{channel.name}", trip.sql, EventKind.FAILED if trip.failure else EventKind.COMPLETED,
            resumed=resumed and place == 0, results=trip.results, failure=trip.failure,
        )
        for place, trip in enumerate(channel.turn.done)
    ]  # fmt: skip
