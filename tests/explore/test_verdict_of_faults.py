"""Verdicts on sessions that faults have befallen, on hand-made transcripts: wholly or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from zephyr_lab.explore.verdict import SerialOutcomes, VerdictKind, judge
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.schedule.transcript import (
    RETURN,
    End,
    Event,
    EventKind,
    Result,
    Table,
    Transaction,
    Transcript,
)

OCCURS, PREVENTED = VerdictKind.OCCURS, VerdictKind.PREVENTED
DIED = "died"


def ended(session: str, said: str, number: int = 1, *, faulty: bool = False) -> tuple[Transaction, list[Event]]:
    """A function that has returned a text, has raised ("!" before it), was refused ("?"), or died."""
    if said == DIED:
        return Transaction(session, number, (session,), End.DIED, faulty=True), []
    refused, raised = said.startswith("?"), said.startswith("!")
    result = Result("RETURN", ("raised" if raised else "returned",), ((said,),))
    event = Event(session, session, RETURN, EventKind.COMPLETED, number, results=(result,))
    if refused:
        return Transaction(session, number, (session,), End.ABORTED, "40001", faulty=faulty), [event]
    one = Transaction(session, number, (session,), End.COMMITTED, answered=True, raised=raised, faulty=faulty)
    return one, [event]


def transcript(*ends: tuple[Transaction, list[Event]], total: int, redis: Sequence[tuple[str, str]] = ()) -> Transcript:
    final = {"t": Table(("total",), ((total,),))}
    if redis:
        final["redis"] = Table(("key", "value"), tuple(redis))
    sessions = tuple(dict.fromkeys(one.session for one, _ in ends))
    events = tuple(event for _, some in ends for event in some)
    return Transcript("case", "level", "", sessions, events, tuple(one for one, _ in ends), final)


def adds(schedule: Schedule) -> Transcript:
    """The serial orders of a server on which each session adds 1, and returns "ok"."""
    return transcript(*(ended(name, "ok") for name in schedule.steps), total=len(schedule.steps))


def verdict(*ends: tuple[Transaction, list[Event]], total: int, redis: Sequence[tuple[str, str]] = ()) -> VerdictKind:
    return judge(transcript(*ends, total=total, redis=redis), SerialOutcomes(adds)).kind


@pytest.mark.parametrize(("total", "kind"), [(0, OCCURS), (1, PREVENTED), (2, PREVENTED), (3, OCCURS)])
def test_who_has_died_may_have_happened_or_not(total: int, kind: VerdictKind) -> None:
    assert verdict(ended("A", DIED), ended("B", "ok"), total=total) is kind


@pytest.mark.parametrize(("total", "kind"), [(-1, OCCURS), (0, PREVENTED), (1, PREVENTED), (2, PREVENTED), (3, OCCURS)])
def test_each_of_two_may_have_happened_or_not(total: int, kind: VerdictKind) -> None:
    assert verdict(ended("A", DIED), ended("B", "!broken", faulty=True), total=total) is kind


@pytest.mark.parametrize("said", ["!broken", "?refused", "an error page"])
@pytest.mark.parametrize(("total", "kind"), [(0, PREVENTED), (1, PREVENTED), (2, OCCURS)])
def test_what_no_serial_order_tells_is_a_report_of_the_fault(said: str, total: int, kind: VerdictKind) -> None:
    assert verdict(ended("A", said, faulty=True), total=total) is kind


@pytest.mark.parametrize(("total", "kind"), [(0, OCCURS), (1, PREVENTED)])
def test_who_has_answered_as_ever_has_happened(total: int, kind: VerdictKind) -> None:
    assert verdict(ended("A", "ok", faulty=True), total=total) is kind


def test_without_a_fault_an_error_is_part_of_the_outcome() -> None:
    assert verdict(ended("A", "!broken"), total=0) is OCCURS
    assert verdict(ended("A", "!broken", faulty=True), ended("B", "another"), total=1) is OCCURS


@pytest.mark.parametrize("said", ["ok", "it was there already"])
@pytest.mark.parametrize(("total", "kind"), [(0, OCCURS), (1, PREVENTED), (2, OCCURS)])
@pytest.mark.parametrize("first", [DIED, "!broken"])
def test_who_was_called_again_has_happened_once(first: str, said: str, total: int, kind: VerdictKind) -> None:
    assert verdict(ended("A", first, faulty=True), ended("A", said, 2), total=total) is kind


def test_a_lock_that_expires_is_not_compared_where_its_owner_has_died() -> None:
    took = Event("A", "A", "redis: SET lock A NX EX 30", EventKind.COMPLETED)
    reserved = Event("A", "A", "redis: SET slot 1 EX 30", EventKind.COMPLETED)

    def kind(end: tuple[Transaction, list[Event]], *events: Event, redis: Sequence[tuple[str, str]]) -> VerdictKind:
        transaction, own = end
        return verdict((transaction, [*events, *own]), total=1, redis=redis)

    lock, slot = ("lock", "A (expires)"), ("slot", "1 (expires)")
    assert kind(ended("A", DIED), took, redis=[lock]) is PREVENTED
    assert kind(ended("A", DIED), took, redis=[("lock", "A")]) is OCCURS
    assert kind(ended("A", DIED), took, reserved, redis=[lock, slot]) is OCCURS
    assert kind(ended("A", DIED), redis=[lock]) is OCCURS
    assert kind(ended("A", "ok"), took, redis=[lock]) is OCCURS
    odd = Event("A", "A", "redis: SET note a; ; b", EventKind.COMPLETED)
    assert kind(ended("A", DIED), odd, took, redis=[lock]) is PREVENTED


def test_the_reason_says_what_was_tried() -> None:
    found = judge(transcript(ended("A", DIED), ended("B", "ok"), total=7), SerialOutcomes(adds))
    assert found.reason == "no serial order gives this outcome, whether A happened wholly or not at all"
    assert set(found.serial) == {"A then B", "B then A", "B"}
