"""Interactive sessions, as in two psql windows, recorded as any schedule is.

Each statement is a message of its own, as psql sends it; a step of a spec may hold several.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from zephyr_lab.errors import BadInput, ScheduleError, ServerLost, ServerUnavailable, StepTimeout
from zephyr_lab.schedule.execution import Execution
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.schedule.transcript import SQL_WIDTH, Event, EventKind, Transcript
from zephyr_lab.sql.tokens import UnclearSQL, split
from zephyr_lab.views.abridged import one_line

T = TypeVar("T")
NAME = "by hand"
GONE = "the server is gone, and with it all sessions and tables: %reset_sessions starts a new one"
_SESSION = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,15}")


@dataclass(frozen=True)
class Answer:
    """The events of statements in order, and the statements that were not sent because the session waits."""

    events: tuple[Event, ...]
    unsent: tuple[str, ...] = ()

    def lines(self) -> list[tuple[str, str, str]]:
        """Session, SQL and result; a single statement's SQL is left out, as it was just written."""
        alone = len(self.events) == 1
        return [(one.session, "" if alone else one_line(one.sql, SQL_WIDTH), one.text()) for one in self.events]

    def to_dict(self) -> dict[str, Any]:
        """The data for views."""
        events = [
            {
                "session": event.session, "sql": sql, "event": str(event.kind), "text": text,
                "results": [
                    {"columns": list(one.columns), "rows": [list(row) for row in one.rows]}
                    for one in event.results if one.columns
                ],
            }
            for event, (_, sql, text) in zip(self.events, self.lines(), strict=True)
        ]  # fmt: skip
        return {"events": events, "unsent": self._unsent(), "text": str(self)}

    def _unsent(self) -> str:
        if not self.unsent:
            return ""
        waits = self.events[-1].session
        return f"not sent, for {waits} waits: " + "; ".join(one_line(one, SQL_WIDTH) for one in self.unsent)

    def __str__(self) -> str:
        lines = self.lines()
        sessions, width = (max(len(line[i]) for line in lines) for i in (0, 1))
        said = [f"{name:<{sessions}}  {sql:<{width}}{'  ' if width else ''}{text}" for name, sql, text in lines]
        return "\n".join([*said, *filter(None, [self._unsent()])])

    __repr__ = __str__

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from zephyr_lab.views.answer import answer

        return answer(self.to_dict())


class Terminals:
    """Sessions by name, in a schema created by `setup`. Another schedule on the same runner ends them."""

    def __init__(self, runner: Runner, setup: str = "", isolation: Any = IsolationLevel.READ_COMMITTED) -> None:
        """Raises BadInput for an unknown level, SetupFailed, ServerLost."""
        self._runner = runner
        self.setup = setup
        self.isolation = IsolationLevel.of(isolation)
        spec = Spec(NAME, (), setups=(setup,) if setup.strip() else ())
        self._execution: Execution = _talk(lambda: runner.begin(spec, self.isolation, recreate=True))
        self._begun = runner.begun
        _talk(self._execution.observe)

    def send(self, session: str, sql: str) -> Answer:
        """Sends SQL as a session, statement by statement, until it waits.

        Raises BadInput if there is nothing to send, ScheduleError for a session that waits (nothing was sent then),
        StepTimeout for a statement that ran too long and was cancelled, ServerLost.
        """
        todo = _statements(sql)
        if not _SESSION.fullmatch(session):
            raise BadInput(f"{session!r} is no name of a session: take a letter, such as A")
        if not todo:
            raise BadInput(f"nothing to send as {session}: write a statement below %%session {session}")
        self._check_current()
        if session in self._execution.spec.session_names and (wait := self._execution.waiting(session)):
            whom = " or ".join(wait.sessions) or "the other session"
            raise ScheduleError(
                f"session {session} {wait.text()}, and takes no other statement meanwhile; nothing was sent. "
                f"Let {whom} commit or roll back first; %reset_sessions starts anew"
            )
        events: list[Event] = []
        while todo:
            said = _talk(lambda: self._take(session, todo.pop(0)))
            events += said
            if any(one.session == session and one.kind is EventKind.WAITS for one in said):
                break
        return Answer(tuple(events), tuple(todo))

    def _take(self, session: str, sql: str) -> list[Event]:
        if bounds := self._runner.database.bounds:
            bounds.check(sql, f"session {session}")
        step = self._execution.add(session, sql)
        try:
            return self._execution.take(step)
        except StepTimeout:
            self._execution.cancel(session)
            seconds = f"{self._runner.step_seconds:g} s"
            raise StepTimeout(
                f"session {session}: no answer within {seconds}, and it waits for no other session; cancelled (57014): "
                f"{one_line(sql, 40)}"
            ) from None
        except KeyboardInterrupt:
            self._execution.cancel(session)
            raise

    def transcript(self) -> Transcript:
        """The transcript so far, with the rows committed so far. Raises BadInput before the first step."""
        self._check_current()
        if not self._execution.taken:
            raise BadInput("no session has been sent anything yet: begin a cell with %%session A")
        return _talk(self._execution.so_far)

    def tables(self) -> str:
        """The committed rows of the tables, one line per table."""
        self._check_current()
        final = _talk(self._execution.so_far).final
        return "\n".join(f"{name}: {table.text()}" for name, table in final.items())

    def _check_current(self) -> None:
        if self._runner.begun != self._begun:
            raise ScheduleError("another schedule has run on this lab since, and has ended these sessions: begin anew")

    def close(self) -> None:
        """Ends the sessions; what they have not committed is rolled back."""
        self._runner.abandon()


def _talk(talk: Callable[[], T]) -> T:
    """The result of `talk`. Raises ServerLost if the server is gone, and all sessions with it."""
    try:
        return talk()
    except (psycopg.Error, TimeoutError, ServerLost, ServerUnavailable):
        raise ServerLost(GONE) from None


def _statements(sql: str) -> list[str]:
    """SQL split at semicolons as psql does. Raises BadInput for what no server can read: an open quote, `\\d`."""
    if sql.lstrip().startswith("\\"):
        raise BadInput(f"{sql.split()[0]} is a command of psql's; a session takes SQL")
    try:
        return split(sql)
    except UnclearSQL as error:
        raise BadInput(f"a quote or a comment is not closed: {one_line(str(error), 60)}") from None
