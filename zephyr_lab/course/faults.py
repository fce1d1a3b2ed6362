"""A transaction, and the faults that the server and the network may cause in it.

Real are: each 40001, the 40P01 and the 23505 are PostgreSQL's own answers to real transactions that another
connection runs at that moment; the backend that ends is ended by pg_terminate_backend; a connection that is lost at
COMMIT is lost in the client's socket, before the COMMIT has left it, or after the server has carried it out and
answered, and libpq raises what it raises then. Only the moment is arranged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from zephyr_lab.course.recording_connection import GivenUp, Record, WatchedConnection
from zephyr_lab.lab import Lab
from zephyr_lab.servers.fault_injection import lost_on_the_way, lost_on_the_way_back

SECONDS = 10.0  # for one fault
MOST_ATTEMPTS = 30
ORDER, TAKEN, PRICE = 19, 18, 5_000  # the order to be sold, a ticket that is there, what the order costs
SETUP = """
create table menu (pizza text primary key, price int not null);
create table slots (slot text primary key, booked int not null);
create table till (id int primary key, roubles int not null);
create table orders (id int not null, price int not null, ticket int primary key);
insert into menu values ('Margherita', 5000);
insert into slots values ('18:00', 90000);
insert into till values (1, 0);
insert into orders values (18, 5000, 18);
"""
PRICE_OF = "select price from menu where pizza = 'Margherita'"
LOCK_SLOT = "select booked from slots where slot = '18:00' for update"
TAKE_MONEY = "update till set roubles = roubles + 5000"
BOOK = "update slots set booked = booked + 5000 where slot = '18:00'"
INSERT = "insert into orders values (19, 5000, {ticket})"


@dataclass
class Attempts:
    """One run of the learner's function against one fault: the work that it is given, and the fault."""

    lab: Lab
    fault: Fault
    control: psycopg.Connection[Any]
    record: Record = field(default_factory=Record)
    connections: list[psycopg.Connection[Any]] = field(default_factory=list)
    worked: int = 0
    asked: int = 0

    # -- what the learner's function is given

    def connect(self) -> psycopg.Connection[Any]:
        """A new connection, at SERIALIZABLE."""
        if len(self.connections) > 2 * MOST_ATTEMPTS:
            raise GivenUp
        made = WatchedConnection.over(self.lab.connect(), "A", self.record)
        self.connections.append(made)
        made.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        if self.fault.deadlock:
            made.opened.execute("set deadlock_timeout = '10ms'")  # type: ignore[attr-defined]
        if len(self.connections) > 1:
            self.record.note("A", "connect")
        return made

    def work(self, conn: psycopg.Connection[Any]) -> int:
        """Sells order 19."""
        self.worked += 1
        if self.worked > MOST_ATTEMPTS:
            raise GivenUp
        due = self.fault.lasting or self.worked == 1
        conn.execute(PRICE_OF)
        self._meet("select", due)
        conn.execute(LOCK_SLOT)
        with self._meet_within("update", due):
            conn.execute(TAKE_MONEY)
        conn.execute(BOOK)
        conn.execute(INSERT.format(ticket=TAKEN if self.fault.taken else TAKEN + self.worked).encode())
        if due and self.fault.at_commit:
            self.record.at_commit = lambda committing: self.fault.at_commit and self.fault.at_commit(self, committing)
        return ORDER

    def happened(self, conn: psycopg.Connection[Any]) -> bool:
        """Whether order 19 exists."""
        self.asked += 1
        return conn.execute("select from orders where id = %s", [ORDER]).rowcount > 0

    # -- what others do meanwhile

    def _meet(self, where: str, due: bool) -> None:
        if due and self.fault.where == where:
            self.others(*self.fault.statements)

    @contextlib.contextmanager
    def _meet_within(self, where: str, due: bool) -> Iterator[None]:
        if not (due and self.fault.where == where):
            yield
        elif self.fault.deadlock:
            with self._other_half_of_a_deadlock():
                yield
        elif self.fault.terminate:
            self.end_backend(self.connections[-1].info.backend_pid)
            yield
        else:
            self.others(*self.fault.statements)
            yield

    def others(self, *statements: str) -> None:
        """Another session's transaction, at SERIALIZABLE, from beginning to commit."""
        with WatchedConnection.over(self.lab.connect(), "B", self.record) as other:
            other.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            for statement in statements:
                other.execute(statement.encode())

    @contextlib.contextmanager
    def _other_half_of_a_deadlock(self) -> Iterator[None]:
        """B holds the till and waits for the slot, which A holds, before A asks for the till."""
        with self.lab.connect() as other:
            other.execute("set deadlock_timeout = '60s'; begin; " + TAKE_MONEY)
            self.record.note("B", TAKE_MONEY)
            other.pgconn.send_query(BOOK.encode())
            self.record.note("B", BOOK + " -- and waits for A")
            waits = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
            self._until(lambda: not _busy(other) or self.control.execute(waits, [other.info.backend_pid]).rowcount)
            if not _busy(other):  # A does not hold the slot any more: there is no deadlock to be had
                _end(other)
            try:
                yield
            finally:
                _end(other)

    def end_backend(self, pid: int) -> None:
        """Ends a backend, and waits until it has ended."""
        self.control.execute("select pg_terminate_backend(%s)", [pid])
        self.record.note("B", "select pg_terminate_backend(the process of A)")
        self.wait_until_gone(pid)

    def wait_until_gone(self, pid: int) -> None:
        self._until(lambda: not self.control.execute("select from pg_stat_activity where pid = %s", [pid]).rowcount)

    def _until(self, holds: Callable[[], Any]) -> None:
        latest = time.monotonic() + SECONDS
        while not holds():
            if time.monotonic() > latest:
                raise GivenUp


def _end(connection: psycopg.Connection[Any]) -> None:
    """Cancels the statement under way, and rolls the transaction back."""
    connection.pgconn.get_cancel().cancel()
    while connection.pgconn.get_result() is not None:
        pass
    connection.rollback()


def _busy(connection: psycopg.Connection[Any]) -> bool:
    connection.pgconn.consume_input()
    return bool(connection.pgconn.is_busy())


AtCommit = Callable[[Attempts, WatchedConnection], Callable[[Any], Any] | None]


@dataclass(frozen=True)
class Fault:
    """A fault of the first attempt, or of each if it is `lasting`, and its expected outcome.

    `where` is the statement of the work that it affects: `select` or `update`. `statements` are what B commits
    there. `others` is what B adds to the till and the slot each time.
    """

    words: str
    where: str = ""
    statements: tuple[str, ...] = ()
    others: tuple[int, int] = (0, 0)
    deadlock: bool = False
    terminate: bool = False
    taken: bool = False
    lasting: bool = False
    at_commit: AtCommit | None = None

    @property
    def hopeless(self) -> bool:
        return self.taken or self.lasting


def _write_skew(run: Attempts, committing: WatchedConnection) -> None:
    # A has read the price and written the slot; B reads the slot as it was and writes the price: rw, rw.
    run.others("select booked from slots", "update menu set price = price")


def _before(run: Attempts, committing: WatchedConnection) -> None:
    lost_on_the_way(committing, run.wait_until_gone)


def _after(run: Attempts, committing: WatchedConnection) -> Callable[[Any], Any]:
    return lambda gen: lost_on_the_way_back(committing, gen)


BOOKED_BY_OTHERS = "update slots set booked = booked + 1 where slot = '18:00'"
PAID_BY_OTHERS = "update till set roubles = roubles + 1"
FAULTS = (
    Fault("nothing in its way"),
    Fault("40001 at the SELECT", "select", (BOOKED_BY_OTHERS,), (0, 1)),
    Fault("40001 at the UPDATE", "update", (PAID_BY_OTHERS,), (1, 0)),
    Fault("40001 at the COMMIT", at_commit=_write_skew),
    Fault("40P01 at the UPDATE", "update", deadlock=True),
    Fault("23505 at the INSERT, because the ticket's number is taken", taken=True),
    Fault("the session ended by an administrator at the UPDATE", "update", terminate=True),
    Fault("the connection lost at COMMIT, before the server had it", at_commit=_before),
    Fault("the connection lost at COMMIT, after the server had carried it out", at_commit=_after),
    Fault("40001 at the UPDATE, again and again", "update", (PAID_BY_OTHERS,), (1, 0), lasting=True),
)
