"""Transcripts: what happened, step by step, as plain data that is equal for equal schedules on any machine.

No pids, clocks, ports or server sentences: sessions' names, SQLSTATEs and rows. A transcript has a text form (`str`),
a form for JSON (`to_dict`), and shows itself in Jupyter as a timeline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from zephyr_lab.errors import condition_name
from zephyr_lab.extras import needed_by, or_text
from zephyr_lab.sql.classify import Kind, classify
from zephyr_lab.views.abridged import one_line

if TYPE_CHECKING:
    from zephyr_lab.views.stepper import Stepper

SQL_WIDTH = 72
ROWS_SHOWN = 4

Value = int | bool | str | None  # or a `functions.structure.Told`: what a function returned or raised


def _shown(value: Value) -> str:
    return "null" if value is None else str(value)


RETURN = "return"  # in place of SQL at a function's end
CRASH = "(crash)"  # in place of SQL where a session dies


class AnswerKind(StrEnum):
    """How a function ended: the name of the result's column."""

    RETURNED = "returned"
    RAISED = "raised"


_ANSWERS = {(one,) for one in AnswerKind}


@dataclass(frozen=True)
class Result:
    """The answer to one statement: its command tag, such as `UPDATE 1`, and rows where it gives any."""

    tag: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()

    @property
    def answered(self) -> AnswerKind | None:
        """Whether a function returned or raised, if this is its result."""
        return AnswerKind(self.columns[0]) if self.columns in _ANSWERS else None

    def text(self) -> str:
        if self.columns:
            if not self.rows:
                return "-> no rows"
            if all(value == "" for row in self.rows for value in row):
                return "ok"  # the result of a void function
            shown = [" | ".join(_shown(value) for value in row) for row in self.rows[:ROWS_SHOWN]]
            more = f", ... {len(self.rows)} rows" if len(self.rows) > ROWS_SHOWN else ""
            return "-> " + ("; ".join(shown)) + more
        count = re.fullmatch(r"(?:INSERT 0|UPDATE|DELETE|MERGE|SELECT|COPY) (\d+)", self.tag)
        if count:
            return f"{count[1]} row" if count[1] == "1" else f"{count[1]} rows"
        return "ok"


@dataclass(frozen=True)
class Failure:
    """An error by its SQLSTATE and constraint. `message` is that of RAISE in a server-side function only.

    `reported_in` is the server's source file, which tells apart what its SQLSTATE does not; '' where it is not known.
    """

    sqlstate: str
    constraint: str = ""
    message: str = ""
    reported_in: str = field(default="", compare=False, repr=False)

    def text(self) -> str:
        name = condition_name(self.sqlstate).replace("_", " ")
        parts = (self.sqlstate, name, self.constraint and f"({self.constraint})", self.message and repr(self.message))
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Wait:
    """Which sessions a session waits for, and on what: pg_locks' lock type, and the relation if there is one."""

    sessions: tuple[str, ...]
    lock: str
    relation: str = ""

    def text(self) -> str:
        on = f"{self.lock}, {self.relation}" if self.relation else self.lock
        return f"waits for {', '.join(self.sessions) or 'another session'} ({on})"


class EventKind(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    WAITS = "waits"
    LOST = "connection lost"
    NOT_SENT = "not sent"
    DIED = "died"


@dataclass(frozen=True)
class Event:
    """The result of a step: at once, or (`resumed`) after a wait that another session's step ended.

    `transaction` numbers the transactions of the session, from 1; an autocommitted step is a transaction of its own.
    `where`, such as `shop.py:41`, is the line of a function that sent it, and `whole` all that was sent if that is more
    than `sql`: a driver's BEGIN. Neither is compared.
    """

    session: str
    step: str
    sql: str
    kind: EventKind
    transaction: int = 0
    resumed: bool = False
    results: tuple[Result, ...] = ()
    failure: Failure | None = None
    wait: Wait | None = None
    notices: tuple[str, ...] = ()
    where: str = field(default="", compare=False)
    whole: str = field(default="", compare=False)

    @property
    def is_return(self) -> bool:
        """Whether it is the end of a function."""
        return self.sql == RETURN

    def text(self) -> str:
        """The text after the SQL: `-> 90000`, `1 row`, `waits for A (transactionid)`, `resumes: 40001 ...`."""
        if self.kind is EventKind.WAITS and self.wait:
            return self.wait.text() if not self.resumed else f"still {self.wait.text()}"
        if self.kind is EventKind.NOT_SENT:
            return "not sent: the connection is lost"
        if self.kind is EventKind.DIED:
            return "dies: its connections close, and what they left open is rolled back"
        said = self.failure.text() if self.failure else self._answer()
        if self.kind is EventKind.LOST:
            said = "connection lost" + (f" ({said})" if self.failure else "")
        if self.notices:
            said += f" [{'; '.join(self.notices)}]"
        return f"resumes: {said}" if self.resumed else said

    def _answer(self) -> str:
        if not self.results:
            return "ok"
        if self.results[-1].tag == "ROLLBACK" and [one.kind for one in classify(self.sql)][-1:] == [Kind.COMMIT]:
            return "ROLLBACK, and no error: the transaction had failed"
        telling = [result for result in self.results if result.columns] or self.results[-1:]
        return " ".join(result.text() for result in telling)


class End(StrEnum):
    """The state of a transaction at the schedule's end. `aborted`: the server ended it with an error."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"
    UNFINISHED = "unfinished"
    WAITING = "waiting"
    LOST = "connection lost"
    DIED = "died"
    IDLE = "idle"


@dataclass(frozen=True)
class Transaction:
    """One transaction of a session: its number there, its steps, how it ended, its first SQLSTATE.

    `answered`: it is a function's, whose caller got what it returned or `raised`, whether it committed or not.
    `faulty`: a fault has befallen it, so that it may not know what came of it.
    """

    session: str
    number: int
    steps: tuple[str, ...]
    end: End
    sqlstate: str = ""
    answered: bool = False
    raised: bool = False
    faulty: bool = False

    def text(self) -> str:
        """`committed`, `rolled back`, `aborted 40001`."""
        said = f"{self.end} {self.sqlstate}" if self.end is End.ABORTED and self.sqlstate else str(self.end)
        return f"{said}, then raised" if self.raised and self.end is End.COMMITTED else said


@dataclass(frozen=True)
class Table:
    """The rows of a table, sorted, at the schedule's end."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def text(self) -> str:
        """`slot=18:00, booked=95000`, row by row; only the number of rows if there are many."""
        if len(self.rows) > ROWS_SHOWN or (self.rows and not self.columns):
            return f"{len(self.rows)} row{'s' if len(self.rows) > 1 else ''}"
        rows = [
            ", ".join(f"{name}={_shown(v)}" for name, v in zip(self.columns, row, strict=True)) for row in self.rows
        ]
        return "; ".join(rows) or "no rows"


@dataclass(frozen=True)
class Glance:
    """What was committed in each table after so many events; one that was locked against reading is absent."""

    after: int
    tables: Mapping[str, Table]


@dataclass(frozen=True)
class Transcript:
    """One execution of a schedule; `final` holds every table of the lab's schema as committed.

    `answer` holds the rows of a question asked at the end. An observed run has `glances`: one before the first step and
    one after each; then it is displayed as a stepper, at its last step. `handed_out`: the last number of each sequence
    that continues in a range of its own.
    """

    case: str
    isolation: str
    schedule: str
    sessions: tuple[str, ...]
    events: tuple[Event, ...]
    transactions: tuple[Transaction, ...]
    final: Mapping[str, Table] = field(default_factory=dict)
    answer: tuple[tuple[Value, ...], ...] = ()
    glances: tuple[Glance, ...] = ()
    handed_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def ends(self) -> dict[str, End]:
        """The state of each session: its last transaction's end, or `idle` if it took no step."""
        ends = dict.fromkeys(self.sessions, End.IDLE)
        return ends | {one.session: one.end for one in self.transactions}

    def told(self, session: str, number: int | None = None) -> tuple[Result | Failure, ...]:
        """All results and errors of a session, or of one of its transactions, in order; no waits."""
        told: list[Result | Failure] = []
        for event in self.events:
            if event.session == session and number in (None, event.transaction):
                told += event.results
                if event.failure:
                    told.append(event.failure)
        return tuple(told)

    def rows(self, step: str) -> tuple[tuple[Value, ...], ...]:
        """The rows that a step read, over all its statements; empty if it never completed."""
        return tuple(
            row for event in self.events if event.step == step for result in event.results for row in result.rows
        )

    def failures(self) -> dict[str, str]:
        """The first SQLSTATE of each failed session."""
        first: dict[str, str] = {}
        for event in self.events:
            if event.failure:
                first.setdefault(event.session, event.failure.sqlstate)
        return first

    def summary(self) -> list[str]:
        """How the sessions ended, then each table's rows, one line each."""
        last = {one.session: one.text() for one in self.transactions}
        ends = ", ".join(f"{name} {last.get(name, End.IDLE)}" for name in self.sessions)
        return [f"ends:   {ends}"] + [f"final:  {name}: {table.text()}" for name, table in self.final.items()]

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON: lists, numbers, strings and null only."""
        said: dict[str, Any] = {
            "case": self.case,
            "isolation": self.isolation,
            "schedule": self.schedule,
            "sessions": list(self.sessions),
            "events": [_event(event) for event in self.events],
            "summary": self.summary(),
            "ends": {name: str(end) for name, end in self.ends.items()},
            "transactions": [
                {
                    "session": one.session,
                    "steps": list(one.steps),
                    "end": str(one.end),
                    "sqlstate": one.sqlstate or None,
                }
                for one in self.transactions
            ],
            "final": _tables(self.final),
        }
        if self.glances:
            said["glances"] = [{"after": one.after, "tables": _tables(one.tables)} for one in self.glances]
        return said

    def stepper(self) -> Stepper:
        """A stepper through the transcript: forward, back, play; with each session's snapshot, if it was observed."""
        with needed_by("the stepper"):
            from zephyr_lab.views.stepper import stepper

        return stepper([self])

    def __str__(self) -> str:
        lines = [f"{self.case} at {self.isolation}, schedule {self.schedule}"]
        places = max((len(event.where) for event in self.events), default=0)
        shown = [one_line(event.sql, SQL_WIDTH) if not event.resumed else "" for event in self.events]
        sessions = max((len(name) for name in self.sessions), default=1)
        width = max((len(sql) for sql in shown), default=0)
        for event, sql in zip(self.events, shown, strict=True):
            where = f"{event.where if sql else '':<{places}}  " if places else ""
            lines.append(f"  {event.session:<{sessions}}  {where}{sql:<{width}}  {event.text()}".rstrip())
        return "\n".join(lines + self.summary())

    __repr__ = __str__

    @or_text
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from zephyr_lab.views.timeline import timeline

        picture = timeline(self.to_dict(), text=str(self)).mimebundle()
        if not self.glances:
            return picture
        from zephyr_lab.views.stepper import WIDGET_VIEW, stepper

        shown = stepper([self], at_end=True)._repr_mimebundle_()
        return {WIDGET_VIEW: shown[WIDGET_VIEW], **picture}


def _tables(tables: Mapping[str, Table]) -> dict[str, Any]:
    return {
        name: {"columns": list(table.columns), "rows": [list(row) for row in table.rows]}
        for name, table in tables.items()
    }


def _plain(value: Value) -> Value:
    return value if value is None or isinstance(value, int | str) else str(value)


def _event(event: Event) -> dict[str, Any]:
    """An event for JSON, without fields that do not apply."""
    said: dict[str, Any] = {
        "session": event.session, "step": event.step, "sql": event.sql, "event": str(event.kind),
        "resumed": event.resumed, "text": event.text(), "transaction": event.transaction,
    }  # fmt: skip
    if event.where:
        said["where"] = event.where
    if event.results:
        said["results"] = [
            {"tag": one.tag, "columns": list(one.columns), "rows": [list(map(_plain, row)) for row in one.rows]}
            for one in event.results
        ]
    if event.failure:
        said["sqlstate"] = event.failure.sqlstate
        if event.failure.constraint:
            said["constraint"] = event.failure.constraint
    if event.wait:
        said["waits_for"] = list(event.wait.sessions)
        said["lock"] = event.wait.lock
        if event.wait.relation:
            said["relation"] = event.wait.relation
    if event.notices:
        said["notices"] = list(event.notices)
    return said
