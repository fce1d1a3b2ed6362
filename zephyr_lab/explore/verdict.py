"""Decides whether an outcome is an anomaly, by the server's serial outcomes, without an invariant.

Correct means: as if the transactions had run one after another. So the committed transactions are run on the same
server, at the same level, in every one-after-another order that keeps each session's own, and the outcome is compared
with theirs: the final rows, and all results of each transaction. Transactions that were aborted or rolled back are
ignored. The definition is serializability as in Papadimitriou (1979), including what each transaction read (view
equivalence).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations
from typing import Any

from zephyr_lab.errors import REFUSALS, RETRYABLE, ScheduleError, StepTimeout
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.schedule.transcript import End, Failure, Result, Table, Transaction, Transcript
from zephyr_lab.views.block import Line, block

MOST_ORDERS = 1_000

Run = Callable[[Schedule], Transcript]


class VerdictKind(StrEnum):
    """The verdict on one schedule. `aborts N`: no anomaly, and a session got SQLSTATE N."""

    PREVENTED = "prevented"
    OCCURS = "occurs"
    ABORTS_40001 = "aborts 40001"
    ABORTS_40P01 = "aborts 40P01"
    ABORTS = "aborts"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Outcome:
    """The observable outcome: the results of each session's committed transactions, and the final rows.

    Rows are compared as a bag: without ORDER BY their order means nothing.
    """

    told: tuple[tuple[str, tuple[Result | Failure, ...]], ...]
    final: tuple[tuple[str, Table], ...]

    @classmethod
    def of(cls, transcript: Transcript, transactions: Iterable[Transaction]) -> Outcome:
        told: dict[str, tuple[Result | Failure, ...]] = {}
        for one in transactions:
            said = tuple(_as_bag(answer) for answer in transcript.told(one.session, one.number))
            told[one.session] = told.get(one.session, ()) + said
        return cls(tuple(sorted(told.items())), tuple(transcript.final.items()))

    def renamed(self, sessions: Mapping[str, str]) -> Outcome:
        """The outcome with other names of sessions."""
        told = ((sessions.get(name, name), answers) for name, answers in self.told)
        return replace(self, told=tuple(sorted(told)))

    def text(self) -> str:
        """`A read 90000; B read 95000; slots: slot=18:00, booked=100000`."""
        said = []
        for name, answers in self.told:
            rows = [one.text().removeprefix("-> ") for one in answers if isinstance(one, Result) and one.columns]
            # What a function returned or raised, or a transaction read.
            verb = next((one.answered for one in answers if isinstance(one, Result)), None) or "read"
            said += [f"{name} {verb} {', then '.join(rows)}"] if rows else []
            said += [f"{name} was told {one.text()}" for one in answers if isinstance(one, Failure)]
        return "; ".join(said + [f"{name}: {table.text()}" for name, table in self.final])


def _as_bag(answer: Result | Failure) -> Result | Failure:
    return replace(answer, rows=tuple(sorted(answer.rows, key=repr))) if isinstance(answer, Result) else answer


@dataclass(frozen=True)
class Verdict:
    """The verdict on a transcript. `serial` maps each serial order, such as `A then B`, to its outcome."""

    kind: VerdictKind
    transcript: Transcript
    outcome: Outcome
    serial: dict[str, Outcome]
    reason: str

    @property
    def anomalous(self) -> bool:
        return self.kind is VerdictKind.OCCURS

    def of_what_differs(self) -> tuple[Verdict, int]:
        """The same without the tables that are equal in all orders, and how many those are; all if none differs."""
        outcomes = [dict(one.final) for one in (self.outcome, *self.serial.values())]
        alike = {name for name, rows in outcomes[0].items() if all(other.get(name) == rows for other in outcomes)}
        if alike == set(outcomes[0]):
            return self, 0

        def without(outcome: Outcome) -> Outcome:
            return replace(outcome, final=tuple((name, rows) for name, rows in outcome.final if name not in alike))

        final = {name: rows for name, rows in self.transcript.final.items() if name not in alike}
        return replace(
            self,
            transcript=replace(self.transcript, final=final),
            outcome=without(self.outcome),
            serial={order: without(outcome) for order, outcome in self.serial.items()},
        ), len(alike)

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON."""
        return {
            "verdict": str(self.kind),
            "reason": self.reason,
            "outcome": self.outcome.text(),
            "serial_outcomes": {order: outcome.text() for order, outcome in self.serial.items()},
            "transcript": self.transcript.to_dict(),
        }

    def __str__(self) -> str:
        width = max([len("this schedule"), *(len(order) for order in self.serial)])
        lines = [f"{'this schedule':<{width}}  {self.outcome.text()}"]
        lines += [f"{order:<{width}}  {outcome.text()}" for order, outcome in self.serial.items()]
        return "\n".join([*lines, f"verdict: {self.kind}: {self.reason}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = [Line(self.outcome.text(), label="this schedule")]
        lines += [Line(outcome.text(), label=order) for order, outcome in self.serial.items()]
        of = self.transcript
        return block(f"{of.case} at {of.isolation}, schedule {of.schedule}: {self.reason}", lines, badge=str(self.kind))


class Undecided(Exception):
    """The serial orders cannot decide; the text gives the reason."""


class NoSuchOrder(Exception):
    """A serial order that cannot be had: a session waits in it for one that comes later."""


class SerialOutcomes:
    """Serial outcomes, run once for each set of committed transactions, by `run` at the judged transcripts' level.

    `whole_sessions`: in a serial order the transactions of a session follow each other, as those of a function do.
    """

    def __init__(self, run: Run, *, whole_sessions: bool = False) -> None:
        self._run, self._whole_sessions = run, whole_sessions
        self._known: dict[tuple[tuple[str, ...], ...], dict[str, Outcome] | Undecided] = {}

    def of(self, committed: Sequence[Transaction]) -> dict[str, Outcome]:
        """Order, such as `A then B`, to outcome. Raises Undecided: too many, not deterministic, or not runnable."""
        key = tuple((one.session, *one.steps) for one in committed)
        if key not in self._known:
            try:
                self._known[key] = self._measure(committed)
            except Undecided as why:
                self._known[key] = why
        known = self._known[key]
        if isinstance(known, Undecided):
            raise known
        return known

    def _measure(self, committed: Sequence[Transaction]) -> dict[str, Outcome]:
        by_session = Counter(one.session for one in committed)
        sizes = [1] * len(by_session) if self._whole_sessions else list(by_session.values())
        number = math.factorial(sum(sizes)) // math.prod(math.factorial(size) for size in sizes)
        if number > MOST_ORDERS:
            raise Undecided(f"{number:,} serial orders are too many to run (at most {MOST_ORDERS:,})")
        serial: dict[str, Outcome] = {}
        for order in _orders(committed, self._whole_sessions):
            name = _name(order, committed, self._whole_sessions)
            try:
                serial[name] = self._outcome(order)
            except NoSuchOrder:
                continue
            if len(serial) == 1 and self._outcome(order) != serial[name]:
                raise Undecided(f"{name!r}, run twice, gives two outcomes: is there a clock in it, or chance?")
        if not serial:
            raise Undecided("there is no serial order: in each of them a session waits for one that comes after it")
        return serial

    def _outcome(self, order: Sequence[Transaction]) -> Outcome:
        try:
            transcript = self._run(Schedule(tuple(step for one in order for step in one.steps)))
        except ScheduleError as error:
            raise Undecided(f"one of the serial orders cannot be run: {error}") from None
        except StepTimeout as error:
            if not error.reason:
                raise
            raise Undecided(f"one of the serial orders, {error.schedule!r}, does not end: {error.reason}") from None
        return Outcome.of(transcript, transcript.transactions)


def judge(transcript: Transcript, serial_outcomes: SerialOutcomes) -> Verdict:
    """Compares a transcript's outcome with those of the serial orders of its committed transactions.

    A refused function whose returned value occurs in no serial order has reported the refusal: it is judged as aborted.
    Of one that a fault has befallen, and that has died, raised an error or returned what occurs in no serial order, it
    is not known whether it has happened: wholly or not at all, both are right, unless its caller has called it again
    until it answered. What it told is not compared then, nor are the locks that it has left in Redis, if they expire.
    """
    first = _judge(transcript, serial_outcomes)
    if not first.anomalous:
        return first
    usual = {said for outcome in first.serial.values() for said in outcome.told}
    unusual = {name for name, told in first.outcome.told if (name, told) not in usual}
    answered = [one for one in transcript.transactions if one.answered and one.session in unusual]
    reported = {one.session for one in answered if one.sqlstate in REFUSALS and not one.faulty}
    faulty = unusual & {one.session for one in transcript.transactions if one.faulty}
    if not (reported or faulty):
        return first
    transactions = tuple(
        replace(one, end=End.ABORTED, answered=False) if one.session in reported else one
        for one in transcript.transactions
    )
    return _judge(replace(transcript, transactions=transactions), serial_outcomes, faulty)


@dataclass(frozen=True)
class _Parts:
    """The transactions of a transcript, by what is known of them.

    `happened` and `unsure`: those whose callers know that they have happened, and those who do not know. `silent`: the
    sessions that have told nothing that could be compared. `locks`: the keys of Redis that are not compared.
    """

    happened: list[Transaction]
    unsure: list[Transaction]
    silent: frozenset[str]
    locks: frozenset[str]

    @classmethod
    def of(cls, transcript: Transcript, unusual: Set[str]) -> _Parts:
        """`unusual`: the sessions that a fault has befallen, and whose answers occur in no serial order."""
        faulty = {one.session for one in transcript.transactions if one.faulty}
        last = {one.session: one for one in transcript.transactions}  # later ones replace those of failed attempts
        final = [one for one in transcript.transactions if one.session not in faulty or one is last[one.session]]
        again = {
            one.session for one in transcript.transactions if one.session in faulty and one is not last[one.session]
        }
        unsure = [
            one
            for one in final
            if one.session in faulty
            and (one.end in (End.DIED, End.ABORTED) or one.raised or (one.session in unusual - again))
        ]
        happened = [one for one in final if one not in unsure and (one.answered or one.end is End.COMMITTED)]
        silent = frozenset({one.session for one in unsure} | (unusual & again))
        return cls(happened, unsure, silent, _locks_left(transcript, faulty))

    def comparable(self, outcome: Outcome) -> Outcome:
        if not (self.silent or self.locks):
            return outcome
        told = tuple((name, said) for name, said in outcome.told if name not in self.silent)
        return Outcome(told, tuple(_without(outcome.final, self.locks)))

    def serial(self, serial_outcomes: SerialOutcomes) -> dict[str, Outcome]:
        """The outcomes of all orders, with each of the unsure ones or without it. Raises Undecided."""
        serial: dict[str, Outcome] = {}
        for number in range(len(self.unsure), -1, -1):
            for some in combinations(self.unsure, number):
                orders = serial_outcomes.of([*self.happened, *some])
                serial.update((name, self.comparable(outcome)) for name, outcome in orders.items())
        return serial


def _locks_left(transcript: Transcript, faulty: Set[str]) -> frozenset[str]:
    """The keys that sessions which a fault has befallen have taken as locks: by SET with NX and a time to live."""
    keys = set()
    for event in transcript.events:
        if event.session in faulty and event.sql.startswith("redis: "):
            for command in event.sql.removeprefix("redis: ").split("; "):
                words = command.removeprefix("redis: ").split()
                options = {word.upper() for word in words[3:]}
                if words[:1] in (["SET"], ["set"]) and "NX" in options and options & {"EX", "PX", "EXAT", "PXAT"}:
                    keys.add(words[1])
    return frozenset(keys)


def _without(final: Iterable[tuple[str, Table]], locks: Set[str]) -> Iterator[tuple[str, Table]]:
    """Without these keys of Redis where they expire: then it is as if the lock had been given back."""
    for name, table in final:
        if not re.fullmatch(r"redis( db \d+)?", name):
            yield name, table
        elif rows := tuple(row for row in table.rows if not (row[0] in locks and str(row[1]).endswith(" (expires)"))):
            yield name, replace(table, rows=rows)


def _judge(transcript: Transcript, serial_outcomes: SerialOutcomes, unusual: Set[str] = frozenset()) -> Verdict:
    parts = _Parts.of(transcript, unusual)
    aborted = [one for one in transcript.transactions if one.end is End.ABORTED and not one.answered and not one.faulty]
    outcome = parts.comparable(Outcome.of(transcript, parts.happened))
    try:
        _check_decidable(transcript, parts.happened)
        serial = parts.serial(serial_outcomes)
    except Undecided as why:
        return Verdict(VerdictKind.UNDECIDED, transcript, outcome, {}, str(why))
    equal = [order for order, other in serial.items() if other == outcome]
    if not equal:
        reason = "no serial order gives this outcome"
        if parts.unsure:
            names = " and ".join(one.session for one in parts.unsure)
            reason += f", whether {names} happened wholly or not at all"
        return Verdict(VerdictKind.OCCURS, transcript, outcome, serial, reason)
    if aborted:
        who = " and ".join(f"{one.session} {told_off(one.sqlstate)}" for one in aborted)
        # A retryable error says more than another error beside it.
        first = min((one.sqlstate for one in aborted), key=lambda state: (state not in RETRYABLE, state))
        kind = VerdictKind(f"aborts {first}") if first in RETRYABLE else VerdictKind.ABORTS
        retried = {one.session for one in aborted} <= {one.session for one in parts.happened}
        retry = " and tried again" if retried else " and must retry" if first in RETRYABLE else ""
        return Verdict(kind, transcript, outcome, serial, f"{who}{retry}; the rest is as in {equal[0]!r}")
    return Verdict(VerdictKind.PREVENTED, transcript, outcome, serial, f"the same as {equal[0]!r}")


def told_off(refusal: str) -> str:
    """How a session was aborted: `was told 40001`, or its declared refusal; or that it died."""
    if refusal == End.DIED:
        return "died"
    return f"was told {refusal}" if re.fullmatch(r"[0-9A-Z]{5}", refusal) else f"was refused: {refusal}"


def _check_decidable(transcript: Transcript, committed: Sequence[Transaction]) -> None:
    """Raises Undecided for open transactions, and for results that no serial order can have."""
    open_ends = [
        f"{one.session} is {one.end}"
        for one in transcript.transactions
        if one.end in (End.UNFINISHED, End.WAITING, End.LOST)
    ]
    if open_ends:
        raise Undecided(f"{' and '.join(open_ends)}: let every session take all its steps")
    for one in committed:
        told = transcript.told(one.session, one.number)
        if any(isinstance(answer, Failure) and answer.sqlstate in RETRYABLE for answer in told):
            raise Undecided(f"{one.session} went on after {one.sqlstate} and committed; no serial order tells it that")


def _orders(transactions: Sequence[Transaction], whole_sessions: bool = False) -> Iterator[tuple[Transaction, ...]]:
    """Every order of the transactions that keeps each session's order; one empty order for none."""
    if not transactions:
        yield ()
    for first in transactions:
        if any(one.session == first.session and one.number < first.number for one in transactions):
            continue
        taken = [one for one in transactions if one is first or (whole_sessions and one.session == first.session)]
        rest = [one for one in transactions if one not in taken]
        for order in _orders(rest, whole_sessions):
            yield (*taken, *order)


def _name(order: Sequence[Transaction], transactions: Sequence[Transaction], whole_sessions: bool = False) -> str:
    """`A then B`; with the transaction's number behind a session that has several."""
    sessions = [one.session for one in transactions]
    if whole_sessions:
        return " then ".join(dict.fromkeys(one.session for one in order)) or "nobody"
    words = [one.session + (str(one.number) if sessions.count(one.session) > 1 else "") for one in order]
    return " then ".join(words) or "nobody"
