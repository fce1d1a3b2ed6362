"""Exercise: a transaction that happens exactly once, whatever the server and the network answer.

What they may answer, and what of it is real, is in `course.faults`. `time.sleep` returns at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, SupportsIndex

import psycopg
from psycopg import sql as psql

from zephyr_lab.course.answer import Answer
from zephyr_lab.course.checker import Learners, wrong_form
from zephyr_lab.course.faults import FAULTS, MOST_ATTEMPTS, ORDER, PRICE, SECONDS, SETUP, Attempts
from zephyr_lab.course.recording_connection import GivenUp
from zephyr_lab.lab import Lab
from zephyr_lab.schedule.transcript import End, Table, Transaction, Transcript

SHOWN = 24  # round trips in the timeline
TABLES = ("menu", "orders", "slots", "till")
LOST = (
    "A connection that is lost never comes back. And was the COMMIT carried out before it was lost, or not? Who could "
    "be asked, over which connection?"
)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault: what the function returned or raised, and the rows."""

    run: Attempts
    returned: Any
    raised: BaseException | None
    transcript: Transcript
    tables: dict[str, list[tuple[Any, ...]]]

    @property
    def times(self) -> dict[str, int]:
        """How often each effect took place."""
        met = self.run.worked if self.run.fault.lasting else 1
        till, slot = (added * met for added in self.run.fault.others)
        orders = [number for number, *_ in self.tables["orders"]]
        return {
            "the order": orders.count(ORDER),
            "the money in the till": (self.tables["till"][0][1] - till) // PRICE,
            "the booking of the slot": (self.tables["slots"][0][1] - 90_000 - slot) // PRICE,
        }

    def broken(self) -> tuple[str, str, str] | None:
        """What happened, the rule that it breaks, and a hint; None if no rule is broken."""
        fault, times = self.run.fault, sorted(set(self.times.values()))
        ended = f"it raised {_named(self.raised)}" if self.raised else f"it returned {self.returned!r}"
        how_often = ", ".join(f"{words} came {_times(number)}" for words, number in self.times.items())
        if len(times) == 1:
            how_often = f"{', '.join(self.times)} each came {_times(times[0])}"
        if fault.taken and self.run.worked > 1:
            said = f"it called work() {self.run.worked} times, and was told 23505 each time."
            hint = "Which errors will be another one if everything is done once more, and which will be the same?"
            return said, "what a retry cannot heal is not retried", hint
        if isinstance(self.raised, GivenUp) or self.run.worked >= MOST_ATTEMPTS:
            said = "it went on, and never called work()."
            said = said if not self.run.worked else f"it went on after {min(self.run.worked, MOST_ATTEMPTS)} attempts."
            return said, "it gives up in the end", "What ends the loop, if the server says 40001 for ever?"
        if len(times) > 1:
            return f"{ended}; {how_often}.", "all of it happens, or nothing", "Is all of it in one transaction?"
        if fault.hopeless and self.raised is None:
            return f"{ended}; {how_often}.", "who has not succeeded says so", "How does its caller learn of it?"
        if fault.hopeless:
            wanted = "23505" if fault.taken else "40001"
            if getattr(self.raised, "sqlstate", None) != wanted:
                said = f"the server said {wanted}, and {ended}."
                return said, "the error that is raised is the server's own", "Which error did it meet last?"
            return None
        if times[0] > 1:
            return f"{ended}; {how_often}.", "it happens exactly once", LOST
        if times == [0] and self.raised is None:
            hint = "By what can it know that a COMMIT was carried out?"
            return f"{ended}; {how_often}.", "what was promised has happened", hint
        if self.raised is not None:
            return f"{ended}; {how_often}.", "it happens exactly once, and is said to have happened", self._hint()
        if self.returned != ORDER:
            return (
                f"work() returned {ORDER}, and {ended}.",
                "it returns what work() returned",
                "In the last attempt, too?",
            )
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
        if state == "25P02":
            return "A transaction that has met an error takes nothing but its end. Who ends it before the next attempt?"
        if isinstance(self.raised, psycopg.Error):
            return LOST
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
    task: str = """place(connect, work, happened) runs work(conn) in a transaction, commits it, and returns what work()
returned: exactly once, whatever the server and the network answer. connect() opens a connection, at SERIALIZABLE;
happened(conn) asks whether the order is there. What no retry can heal, or does not end, is raised."""

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
                outcome = run_against(function, Attempts(lab, fault, control))
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


def run_against(function: Learners, run: Attempts) -> Outcome | None:
    """Runs the function in a thread of its own; None if it does not end."""
    control = run.control
    control.execute((_drop() + SETUP).encode())
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
        control.execute(_drop().encode())


def _drop() -> str:
    return f"drop table if exists {', '.join(TABLES)} cascade;"  # the service's own of these names have functions


def _outcome(run: Attempts, returned: Any, raised: BaseException | None) -> Outcome:
    for connection in run.connections:
        connection.close()
    tables, final = {}, {}
    for name in TABLES:
        cursor = run.control.execute(psql.SQL("select * from {} order by 1").format(psql.Identifier(name)))
        tables[name] = cursor.fetchall()
        columns = tuple(column.name for column in cursor.description or ())
        final[name] = Table(columns, tuple(tables[name]))
    events = run.record.events
    ends = [Transaction("A", 1, ("A",), End.COMMITTED if raised is None else End.ABORTED)]
    ends += [Transaction("B", 1, ("B",), End.COMMITTED)] if any(event.session == "B" for event in events) else []
    schedule = " ".join(event.session for event in events[:SHOWN]) + (" ..." if len(events) > SHOWN else "")
    transcript = Transcript(
        f"exactly-once, with {run.fault.words},",
        "serializable",
        schedule,
        tuple(one.session for one in ends),
        tuple(events[:SHOWN]),
        tuple(ends),
        final,
    )
    return Outcome(run, returned, raised, transcript, tables)


@contextlib.contextmanager
def _sleeps_skipped(thread: threading.Thread) -> Iterator[None]:
    """Makes `time.sleep` return at once in that thread."""
    real = time.sleep

    def sleep(seconds: float | SupportsIndex, /) -> None:
        if threading.current_thread() is not thread:
            real(seconds)

    time.sleep = sleep
    try:
        yield
    finally:
        time.sleep = real


EXACTLY_ONCE = Retry()
