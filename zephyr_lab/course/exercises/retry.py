"""Exercise: a transaction that happens exactly once, whatever the server and the network answer.

What is real: each 40001, the 40P01 and the 23505 are PostgreSQL's own answers to real transactions that another
connection runs at that moment; the backend that ends is ended by pg_terminate_backend; a connection that is lost at
COMMIT is lost in the client's socket, before the COMMIT has left it, or after the server has carried it out and
answered, and libpq raises what it raises then. What is arranged is the moment. `time.sleep` returns at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql as psql

from zephyr_lab.course.answer import Answer
from zephyr_lab.course.exercise import Learners, wrong_form
from zephyr_lab.course.wire import GivenUp, Record, WatchedConnection, lost_on_the_way, lost_on_the_way_back
from zephyr_lab.lab import Lab
from zephyr_lab.schedule.transcript import End, Table, Transaction, Transcript

SECONDS = 10.0  # for one fault
MOST_ATTEMPTS = 60
ORDER, TAKEN, PRICE = 19, 18, 5_000
TABLES = ("menu", "orders", "slots", "till")
SETUP = """
create table menu (pizza text primary key, price int not null);
create table slots (slot text primary key, booked int not null);
create table till (id int primary key, roubles int not null);
create table orders (id int primary key, price int not null);
insert into menu values ('Margherita', 5000);
insert into slots values ('18:00', 90000);
insert into till values (1, 0);
insert into orders values (18, 5000);
"""
PRICE_OF = "select price from menu where pizza = 'Margherita'"
LOCK_SLOT = "select booked from slots where slot = '18:00' for update"
TAKE_MONEY = "update till set roubles = roubles + 5000"
BOOK = "update slots set booked = booked + 5000 where slot = '18:00'"
INSERT = "insert into orders values (%s, 5000)"


@dataclass
class Attempts:
    """One run of the learner's function against one fault: the work that is given to it, and what is done to it."""

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
        conn.execute(INSERT, [TAKEN if self.fault.taken else ORDER])
        if due and self.fault.at_commit:
            self.record.at_commit = lambda committing: self.fault.at_commit and self.fault.at_commit(self, committing)
        return ORDER

    def happened(self, conn: psycopg.Connection[Any]) -> bool:
        """Whether order 19 is there."""
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
                other.execute(statement)

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
                other.rollback()
            try:
                yield
            finally:
                other.pgconn.get_cancel().cancel()
                while other.pgconn.get_result() is not None:
                    pass
                other.rollback()

    def end_backend(self, pid: int) -> None:
        """Ends a backend, and returns when it has ended."""
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


def _busy(connection: psycopg.Connection[Any]) -> bool:
    connection.pgconn.consume_input()
    return bool(connection.pgconn.is_busy())


AtCommit = Callable[[Attempts, WatchedConnection], Callable[[Any], Any] | None]


@dataclass(frozen=True)
class Fault:
    """What is done to the first attempt, or, where it is `lasting`, to each, and what should have come of it.

    `where` is the statement of the work in whose way it comes: `select` or `update`. `statements` are what B commits
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
    Fault("23505, because the order's number is taken", taken=True),
    Fault("the session ended by an administrator at the UPDATE", "update", terminate=True),
    Fault("the connection lost at COMMIT, before the server had it", at_commit=_before),
    Fault("the connection lost at COMMIT, after the server had carried it out", at_commit=_after),
    Fault("40001 at the UPDATE, again and again", "update", (PAID_BY_OTHERS,), (1, 0), lasting=True),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one fault: what the function returned or raised, and the rows."""

    run: Attempts
    returned: Any
    raised: BaseException | None
    transcript: Transcript
    tables: dict[str, list[tuple[Any, ...]]]

    @property
    def times(self) -> dict[str, int]:
        """How often each effect has happened."""
        met = self.run.worked if self.run.fault.lasting else 1
        till, slot = (added * met for added in self.run.fault.others)
        orders = [number for number, _ in self.tables["orders"]]
        return {
            "the order": orders.count(ORDER),
            "the money in the till": (self.tables["till"][0][1] - till) // PRICE,
            "the booking of the slot": (self.tables["slots"][0][1] - 90_000 - slot) // PRICE,
        }

    def broken(self) -> tuple[str, str, str] | None:
        """What happened, the rule that it breaks and a hint; None where all is well."""
        fault, times = self.run.fault, sorted(set(self.times.values()))
        ended = f"it raised {_named(self.raised)}" if self.raised else f"it returned {self.returned!r}"
        how_often = ", ".join(f"{words} came {_times(number)}" for words, number in self.times.items())
        if len(times) == 1:
            how_often = f"{', '.join(self.times)}: each came {_times(times[0])}"
        if isinstance(self.raised, GivenUp) or self.run.worked >= MOST_ATTEMPTS:
            said = f"it went on after {min(self.run.worked, MOST_ATTEMPTS)} attempts."
            return said, "it gives up in the end", "What ends the loop, if the server says 40001 for ever?"
        if fault.taken and self.run.worked > 1:
            said = f"it called work() {self.run.worked} times, and was told 23505 each time."
            hint = "Which errors will be another one if everything is done once more, and which will be the same?"
            return said, "what a retry cannot heal is not retried", hint
        if fault.hopeless and self.raised is None:
            return f"{ended}, and nothing had happened.", "who has not succeeded says so", "How does its caller learn of it?"
        if fault.hopeless:
            wanted = "23505" if fault.taken else "40001"
            if getattr(self.raised, "sqlstate", None) != wanted:
                said = f"the server said {wanted}, and {ended}."
                return said, "the error that is raised is the server's own", "Which error did it meet last?"
            return None
        if times not in ([1], [0]):
            return f"{ended}; {how_often}.", "all of it happens, or nothing", "Is all of it in one transaction?"
        if times == [0] and self.raised is None:
            hint = "By what can it know that a COMMIT was carried out?"
            return f"{ended}; {how_often}.", "what was promised has happened", hint
        if self.raised is not None:
            return f"{ended}; {how_often}.", "it happens exactly once, and is said to have happened", self._hint()
        if self.returned != ORDER:
            return f"work() returned {ORDER}, and {ended}.", "it returns what work() returned", "In the last attempt, too?"
        return None

    def _hint(self) -> str:
        state = getattr(self.raised, "sqlstate", None)
        if state in ("40001", "40P01"):
            failed = [event for event in self.transcript.events if event.session == "A" and event.failure]
            if self.run.worked > 1:
                return "What does a second attempt in the same transaction see, and what would a new one see?"
            if failed[-1].sql == "commit":
                return "A COMMIT can be refused as well as a statement. Is it inside of what is tried again?"
            return "The server asks that everything be done once more. Who does that, and for which SQLSTATEs?"
        if state == "23505":
            return "The order is there already. Who might have put it there, and how could the function have known?"
        if state == "25P02":
            return "A transaction that has met an error takes nothing but its end. Who ends it before the next attempt?"
        if isinstance(self.raised, psycopg.Error):
            return (
                "A connection that is lost never comes back. And was the COMMIT carried out before it was lost, or "
                "not? Who could be asked, over which connection?"
            )
        return "Which way through the function leads there?"


def _times(number: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _named(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    if state:
        return f"{state} {type(error).__name__}"
    return type(error).__name__ if isinstance(error, psycopg.Error) else repr(error)


@dataclass(frozen=True)
class Retry:
    """The exercise: see `exercise.Checker`."""

    name: str = "exactly-once"
    title: str = "a transaction that happens exactly once"
    task: str = """place(connect, work, happened) runs work(conn) in a transaction, commits it, and returns what work returned:
exactly once, whatever the server and the network answer. connect() opens a connection (at SERIALIZABLE);
happened(conn) asks whether the order is there. What no retry can heal is raised, and so is what does not end."""

    def details(self) -> str:
        """The faults, and the tables."""
        return "\n".join(["Checked with:", *(f"  - {one.words}" for one in FAULTS), "", SETUP.strip()])

    def check(self, lab: Lab, function: Learners) -> Answer:
        """Runs the function once for each fault."""
        if said := wrong_form(function, ("connect", "work", "happened")):
            return Answer(self.name, False, said)
        attempts, left_out = 0, ""
        for fault in FAULTS:
            with lab.connect() as control:
                if fault.deadlock and not _may_set_deadlock_timeout(control):
                    left_out = " 40P01 was left out: this role may not set deadlock_timeout."
                    continue
                outcome = _run(function, Attempts(lab, fault, control))
            if outcome is None:
                return Answer(self.name, False, f"with {fault.words} it did not come to an end in {SECONDS:g} s.")
            if broken := outcome.broken():
                return Answer(self.name, False, f"not yet, with {fault.words}.", *broken, outcome.transcript)
            attempts += outcome.run.worked
        number = len(FAULTS) - bool(left_out)
        head = f"it holds in all {number} cases, with {attempts} attempts in all: each order came exactly once."
        return Answer(self.name, True, head + left_out)


def _may_set_deadlock_timeout(control: psycopg.Connection[Any]) -> bool:
    try:
        control.execute("set deadlock_timeout = '1s'")
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _run(function: Learners, run: Attempts) -> Outcome | None:
    """The function in a thread of its own; None where it does not come to an end."""
    control = run.control
    control.execute(_drop() + SETUP)
    told: list[Any] = [None, None]

    def go() -> None:
        try:
            told[0] = function(run.connect, run.work, run.happened)
        except BaseException as error:
            told[1] = error

    thread = threading.Thread(target=go, name="place", daemon=True)
    with _sleeps_skipped(thread):
        thread.start()
        thread.join(SECONDS)
    try:
        if thread.is_alive():
            return None
        return _outcome(run, *told)
    finally:
        for connection in run.connections:
            connection.close()
        control.execute(_drop())


def _drop() -> str:
    return f"drop table if exists {', '.join(TABLES)};"


def _outcome(run: Attempts, returned: Any, raised: BaseException | None) -> Outcome:
    for connection in run.connections:
        connection.close()
    tables, final = {}, {}
    for name in TABLES:
        cursor = run.control.execute(psql.SQL("select * from {} order by 1").format(psql.Identifier(name)))
        tables[name] = cursor.fetchall()
        columns = tuple(column.name for column in cursor.description or ())
        final[name] = Table(columns, tuple(tables[name]))
    end = End.COMMITTED if raised is None else End.ABORTED
    sessions = tuple(dict.fromkeys(["A", *(event.session for event in run.record.events)]))
    transcript = Transcript(
        f"exactly-once, with {run.fault.words}", "serializable", " ".join(event.session for event in run.record.events),
        sessions, tuple(run.record.events), (Transaction("A", 1, ("A",), end),), final,
    )  # fmt: skip
    return Outcome(run, returned, raised, transcript, tables)


@contextlib.contextmanager
def _sleeps_skipped(thread: threading.Thread) -> Iterator[None]:
    """A pause before the next attempt takes no time here."""
    real = time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is not thread:
            real(seconds)

    time.sleep = sleep
    try:
        yield
    finally:
        time.sleep = real


EXACTLY_ONCE = Retry()
