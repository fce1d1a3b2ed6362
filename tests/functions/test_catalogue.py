"""The functions form of every case of the catalogue gives the outcomes of its SQL form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.anomalies import CATALOGUE
from zephyr_lab.schedule.channel import result_of
from zephyr_lab.schedule.model import Session, Spec
from zephyr_lab.schedule.transcript import Result, Transcript

Told = tuple[Result | tuple[str, str], ...]  # of an error its SQLSTATE and constraint
Outcome = tuple[Any, ...]


def as_function(session: Session) -> Callable[[psycopg.Connection], Told]:
    """Sends the steps one by one, whatever they are answered with, and returns what the server told."""

    def send(conn: psycopg.Connection) -> Told:
        conn.autocommit = True
        told: list[Result | tuple[str, str]] = []
        if session.setup:
            conn.execute(session.setup)
        for step in session.steps:
            try:
                cursor = conn.execute(step.sql)
            except psycopg.Error as error:
                told.append((error.sqlstate or "", error.diag.constraint_name or ""))
                continue
            while True:
                told.append(result_of(cursor.pgresult))  # type: ignore[arg-type]
                if not cursor.nextset():
                    break
        return tuple(told)

    return send


def final(transcript: Transcript) -> tuple[Any, ...]:
    return tuple(sorted((name, table.rows) for name, table in transcript.final.items()))


def of_sql(lab: Lab, spec: Spec, isolation: str) -> set[Outcome]:
    """Of all orders: what each session was told, failed statements of a message left out, and the rows left."""
    outcomes: set[Outcome] = set()

    def note(transcript: Transcript) -> bool:
        told = tuple((name, repr(_last_words(transcript, name))) for name in transcript.sessions)
        outcomes.add((told, final(transcript)))
        return True

    lab.case(spec, isolation).explore(invariant=note, shrink=False)
    return outcomes


def _last_words(transcript: Transcript, session: str) -> Told:
    """psycopg gives the error of a message, and not what its statements before that were told."""
    told: list[Result | tuple[str, str]] = []
    for event in transcript.events:
        if event.session == session:
            failed = event.failure
            told += [(failed.sqlstate, failed.constraint)] if failed else event.results
    return tuple(told)


def of_functions(lab: Lab, spec: Spec, isolation: str) -> set[Outcome]:
    outcomes: set[Outcome] = set()

    def note(transcript: Transcript) -> bool:
        returned = tuple((name, str(transcript.told(name, 1)[0].rows[0][0])) for name in transcript.sessions)  # type: ignore[union-attr]
        outcomes.add((returned, final(transcript)))
        return True

    functions = {session.name: as_function(session) for session in spec.sessions}
    lab.explore(functions, setup="; ".join(spec.setups), isolation=isolation, invariant=note, reduction=True)
    return outcomes


@pytest.mark.thorough_but(
    "mixed-levels-serializable",
    "phantom-read committed",
    "on-conflict-waits-read committed",
    "queue-for-update-read committed",
)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "isolation"),
    [
        pytest.param(one.case, isolation, marks=[pytest.mark.thorough] if place % 3 else [])
        for isolation in ("read committed", "serializable")
        for place, one in enumerate(CATALOGUE)
    ],
)
def test_both_forms_have_the_same_outcomes(lab: Lab, case: str, isolation: str) -> None:
    """What the server told each session, and the rows that are left, over all orders of both."""
    spec = lab.case(case).spec
    assert of_functions(lab, spec, isolation) == of_sql(lab, spec, isolation)
