"""A counterexample as statements for windows of psql: numbered, each with the window that it goes to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zephyr_lab.errors import DEADLOCK_DETECTED
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.share.recorded import Moment, Recorded
from zephyr_lab.views.abridged import one_line

SCHEMA = "zephyr_counterexample"
WIDTH = 100


def windows(recorded: Recorded, name: str) -> str:
    """The text of an `.sql` file; `psql -f` runs its setup and stops before the steps."""
    return "\n".join([*_head(recorded, name), *_setup(recorded, name), *_steps(recorded), *_end(recorded)]) + "\n"


def _head(recorded: Recorded, name: str) -> Iterator[str]:
    count = len(recorded.spec.sessions)
    yield f"-- {recorded.title}: {recorded.claim}."
    yield f"-- Found by zephyr_lab on {recorded.server}."
    yield "--"
    yield f"-- Open {count} window{'s' * (count != 1)} of psql on a scratch database, and in one of them say \\i {name}"
    yield f"-- That makes the tables, in a schema {SCHEMA}. Then paste the numbered statements, each in its window."
    yield "-- A statement that waits gives no prompt until another window goes on: leave it, and paste the next number."
    if recorded.doubt:
        yield f"-- By these statements alone {one_line(recorded.doubt, 400)}."
    yield from (f"-- Left out: {one}." for one in recorded.left_out)
    if any(one.failure and one.failure.sqlstate == DEADLOCK_DETECTED for one in recorded.verdict.transcript.events):
        yield "-- There is a deadlock. Who is aborted depends on deadlock_timeout, which is set below; a superuser may."


def _setup(recorded: Recorded, name: str) -> Iterator[str]:
    yield from ("", f"create schema {SCHEMA};", f"set search_path = {SCHEMA};")
    yield from (_ended(block) for block in recorded.spec.setups)
    yield f"\\echo 'The tables are there: go on with the steps in {name.replace(chr(39), '')}, by hand'"
    yield "\\if false"
    yield ""
    yield "-- First, in each window:"
    yield f"set search_path = {SCHEMA};"
    if recorded.isolation is not IsolationLevel.READ_COMMITTED:
        yield f"set default_transaction_isolation = '{recorded.isolation}';"
    for session in recorded.spec.sessions:
        if session.setup:
            yield from (f"-- and in window {session.name}:", _ended(session.setup))


def _steps(recorded: Recorded) -> Iterator[str]:
    for number, moment in enumerate(recorded.moments, start=1):
        yield ""
        if moment.step:
            yield from (f"-- {number}. window {moment.session}", _ended(moment.sql))
        else:
            yield f"-- {number}. {moment.session}, which is no SQL: {one_line(moment.sql, WIDTH) or 'nothing is sent'}"
        yield f"--    {_expected(moment)}"
        yield from (f"--    {one_line(said, WIDTH)}" for said in moment.then)


def _expected(moment: Moment) -> str:
    return one_line(moment.told, WIDTH) + (": no prompt yet" if moment.told.startswith("waits for ") else "")


def _end(recorded: Recorded) -> Iterator[str]:
    yield from ("", "-- At the end, in any window:")
    for table, rows in recorded.verdict.transcript.final.items():
        if table in recorded.tables:
            quoted = table if re.fullmatch("[a-z_][a-z0-9_]*", table) else '"' + table.replace('"', '""') + '"'
            yield f"select * from {quoted};"
        yield f"--    {table}: {one_line(rows.text(), WIDTH)}"
    yield from (f"-- {one}" for one in recorded.ends)
    shown, _ = recorded.verdict.of_what_differs()
    yield "--"
    yield from (f"-- {one}" for one in [*str(shown).splitlines(), *recorded.explanation])
    yield from ("", "-- To remove it all:", f"drop schema {SCHEMA} cascade;", "\\endif")


def _ended(sql: str) -> str:
    """With a semicolon at its end, on a line of its own if it ends in a comment."""
    text = sql.strip()
    if "--" in text.rpartition("\n")[2]:
        return f"{text}\n;"
    return text if text.endswith(";") else f"{text};"
