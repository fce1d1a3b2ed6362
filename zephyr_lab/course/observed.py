"""One schedule of a learner's function, for rules and hints: what each call sent, and how it ended."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zephyr_lab.schedule.transcript import AnswerKind, End, Event, EventKind, Failure, Transcript
from zephyr_lab.sql.classify import Kind, Statement, classify


class Odd:
    """A returned value that is not plain data; it equals no value that an exercise expects."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Observed:
    """`returned` and `raised` by session; errors are in words, such as `40P01 deadlock detected`.

    `stuck` are sessions that did not end.
    """

    transcript: Transcript
    returned: dict[str, Any] = field(default_factory=dict)
    raised: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, transcript: Transcript) -> Observed:
        returned, raised = {}, {}
        for name in transcript.sessions:
            if transcript.ends[name] in (End.UNFINISHED, End.WAITING):
                continue
            last = transcript.told(name)[-1]  # what the function returned or raised is told last
            if isinstance(last, Failure):
                raised[name] = last.text().removeprefix("server:")
            elif last.answered is AnswerKind.RAISED:
                raised[name] = str(last.rows[0][0])
            else:
                returned[name] = _value(str(last.rows[0][0]))
        return cls(transcript, returned, raised)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The final rows of a table, by column."""
        found = self.transcript.final[table]
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    @property
    def stuck(self) -> list[str]:
        return [name for name in self.transcript.sessions if name not in self.returned and name not in self.raised]

    @cached_property
    def steps(self) -> tuple[Event, ...]:
        """The round trips in their order, without the ends of the functions."""
        return tuple(event for event in self.transcript.events if not event.is_return)

    @property
    def waits(self) -> list[Event]:
        """The events at which a session had to wait for another one."""
        return [event for event in self.steps if event.kind is EventKind.WAITS and not event.resumed]

    def sqlstates(self, session: str | None = None) -> list[str]:
        """The SQLSTATEs of all errors that sessions received, caught or not."""
        return [one.failure.sqlstate for one in self.steps if one.failure and session in (None, one.session)]

    def length(self) -> tuple[int, int, str]:
        """The number of steps, then of switches, by which schedules are compared."""
        words = self.transcript.schedule.split()
        return len(words), sum(a != b for a, b in itertools.pairwise(words)), self.transcript.schedule

    def diagnosis(self) -> str:
        """Why it went wrong, as far as the schedule itself shows; empty if nothing is recognised."""
        if "40P01" in self.sqlstates():
            return _of_a_deadlock(self)
        for name in self.transcript.sessions:
            mine = [one for one in self.steps if one.session == name and one.kind is not EventKind.WAITS]
            said = next(_diagnoses(name, mine, self), None)
            if said:
                return said
        return ""


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return Odd(text)


def sql(event: Event) -> str:
    """An event's SQL as one line in lower case."""
    return " ".join(event.sql.lower().split())


def _of_a_deadlock(run: Observed) -> str:
    if any("for share" in sql(step) or "for key share" in sql(step) for step in run.steps):
        return (
            "A shared lock stands beside another one, and neither session can then raise its own: each waits for the "
            "other to let go. Which lock will be needed in the end?"
        )
    return (
        "Each session holds what the other one waits for. In which order does each of them take its locks, and what "
        "would have to be true of these orders?"
    )


def _diagnoses(name: str, mine: list[Event], run: Observed) -> Iterator[str]:
    gone_on = next((one.failure for one in mine if one.failure and one.failure.sqlstate in ("40001", "40P01")), None)
    claims = run.returned.get(name)
    claims = claims.get("returned") if isinstance(claims, dict) else claims
    if gone_on and claims:
        yield (
            f"{name} was told {gone_on.text()} and nevertheless returned {claims!r}. After that error "
            "nothing of its transaction is left: what, then, has it done?"
        )
    if "25P02" in run.sqlstates(name):
        yield (
            f"{name} was told an error, and after that the server takes nothing in this transaction but its end. What "
            "would have to be rolled back, and to where, so that it can go on?"
        )
    sent = [classify(one.sql) for one in mine]
    writes = [place for place, some in enumerate(sent) if any(_changes(some))]
    nothing = [place for place in writes if mine[place].text().endswith("0 rows")]
    if nothing and claims:
        verb = next(_changes(sent[nothing[0]])).tokens[0].text.upper()
        yield f"{name}'s {verb} was answered '0 rows', and {name} went on as if it had changed one. Who looks at that?"
    undone = (Kind.ROLLBACK, Kind.ROLLBACK_TO)
    if claims and writes and any(one.kind in undone for some in sent[writes[-1] :] for one in some):
        yield f"{name}'s transaction was rolled back after it had written. What of it is left?"
    locks = [place for place, some in enumerate(sent) if any(one.locks for one in some)]
    queries = [place for place, some in enumerate(sent) if any(one.kind is Kind.QUERY for one in some)]
    reads = [place for place in queries if place not in locks]
    ends = [place for place, some in enumerate(sent) if any(one.ends for one in some)]
    if not writes:
        return
    if locks and any(locks[-1] < end < writes[-1] for end in ends):
        yield (
            f"{name}'s lock is over when its transaction is, and that is before {name} writes. How long must it last?"
        )
    if locks and reads and reads[0] < locks[0] and not any(read > locks[0] for read in reads):
        yield (
            f"{name} looks first and locks then: what it decides by was read before it had the lock. "
            "What may have happened while it waited?"
        )
    looked = [place for place in reads + locks if place < writes[-1]]
    if looked and _changed_between(name, mine[looked[0]], mine[writes[-1]], run):
        yield (
            f"{name} decided by what it had read, and somebody else changed that before {name} wrote. Either nobody "
            "may come between the look and the write, or the write itself has to look again."
        )


def _changes(sent: Sequence[Statement]) -> Iterator[Statement]:
    return (one for one in sent if one.kind is Kind.CHANGE)


def _changed_between(name: str, look: Event, write: Event, run: Observed) -> bool:
    steps = list(run.steps)
    between = steps[steps.index(look) : steps.index(write)]
    return any(one.session != name and any(_changes(classify(one.sql))) for one in between)
