"""Checks that functions depend on their schedule alone, by running one schedule twice."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from zephyr_lab.errors import BadInput
from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.functions.names import without_surrogates
from zephyr_lab.functions.surrogates import Surrogates
from zephyr_lab.schedule.transcript import Event, Table, Transcript

WHY = (
    "The functions do not depend on their schedule alone: chance, a clock, an id made up, threads of their own? Hand "
    "such values in as arguments"
)


def check_same_run(
    one: Transcript, two: Transcript, surrogates: Surrogates, ignores: bool, *, ends_alone: bool = False
) -> None:
    """Raises Nondeterminism, naming the first difference; `ignores`: columns are left out of the comparison.

    `ends_alone`: what came of it is compared, and not how.
    """
    whole, level = f"of the schedule {one.schedule!r}", one.isolation
    one, two = without_surrogates(one, surrogates), without_surrogates(two, surrogates)
    if ends_alone:
        one, two = _endings(one), _endings(two)

    def compared(event: Event | None) -> Event | None:
        """With ignored columns, times in statements may differ too."""
        seen = surrogates.without_values(event) if event else None
        return replace(seen, sql="" if ignores else _without_level(seen.sql, level)) if seen else None

    for place, (first, second) in enumerate(itertools.zip_longest(one.events, two.events), start=1):
        if compared(first) != compared(second):
            session = (first or second).session
            raise Nondeterminism(
                f"session {session}, round trip {place} {whole}: {_shown(first, session)}, and when it was run "
                f"again {_shown(second, session)}. {WHY}"
            )
    for name in {**one.final, **two.final}:
        if one.final.get(name) != two.final.get(name):
            columns = [f"{name}.{column}" for column in _differing(one.final.get(name), two.final.get(name))]
            where = f" in {', '.join(columns)}" if columns else ""
            way_on = f", or leave columns out of the comparison: ignore={columns}" if columns else ""
            raise Nondeterminism(f"{name} holds other rows{where} at the end {whole}, run twice. {WHY}{way_on}")


def _endings(transcript: Transcript) -> Transcript:
    return replace(transcript, events=tuple(event for event in transcript.events if event.is_return))


def _without_level(sql: str, level: str) -> str:
    """A message without the level that it has anyway: pools whose connections had another one before name it."""
    return re.sub(rf"(?i)^(begin|start transaction)( work| transaction)? isolation level {level}\b", r"\1\2", sql)


def _shown(event: Event | None, session: str) -> str:
    return f"{event.sql!r} {event.text()}" if event and event.session == session else "another session's"


def _differing(one: Table | None, two: Table | None) -> tuple[str, ...]:
    """The columns in which two tables with equally many rows differ."""
    if one is None or two is None or len(one.rows) != len(two.rows):
        return ()
    rows = list(zip(one.rows, two.rows, strict=True))
    return tuple(
        name for place, name in enumerate(one.columns) if any(row[place] != other[place] for row, other in rows)
    )


def check_ignored(transcript: Transcript, ignore: Sequence[str]) -> None:
    """Raises BadInput if a column to be ignored does not exist."""
    for one in ignore:
        table, _, column = one.rpartition(".")
        if table not in transcript.final:
            if table.startswith("redis"):  # it may be empty
                continue
            tables = ", ".join(transcript.final) or "none at all"
            raise BadInput(f"ignore={one!r}: there is no table {table!r} in the end; there are: {tables}")
        if column not in transcript.final[table].columns:
            columns = ", ".join(transcript.final[table].columns)
            raise BadInput(f"ignore={one!r}: the columns of {table} are {columns}")
