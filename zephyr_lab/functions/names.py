"""Replaces ids in an outcome by names, so that outcomes are equal if their ids can be exchanged one for one.

A name is the row that the id represents, with a number if several rows are alike (`refinement`): rows that are
mentioned in different places are different rows. Ids 1 and 3, because a refused attempt took the 2, equal 1 and 2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zephyr_lab.functions.refinement import numbered, thing
from zephyr_lab.functions.structure import Leaf, Told, replaced
from zephyr_lab.functions.surrogates import TIME, UUID, Cell, Id, Origins, Surrogates, Time, of
from zephyr_lab.schedule.transcript import Event, Table, Transcript, Value


def without_surrogates(transcript: Transcript, surrogates: Surrogates) -> Transcript:
    """The same transcript, without surrogates in tables and in what functions returned or raised."""
    if not (surrogates.filled_in or surrogates.ignored or surrogates.sequences or surrogates.made_up):
        return transcript
    named = _Names(surrogates, transcript)
    return replace(transcript, events=tuple(map(named.event, transcript.events)), final=named.tables())


class _Names:
    """The names of one run's ids."""

    def __init__(self, surrogates: Surrogates, transcript: Transcript) -> None:
        self._origins = origins = Origins(surrogates, transcript)
        self._tables = {name: origins.read(name, table) for name, table in transcript.final.items()}
        self._told = [
            (event.session, place, value)
            for event in transcript.events if event.is_return
            for result in event.results for row in result.rows for place, value in enumerate(row)
        ] + [
            (event.session, 0, Leaf("message", event.failure.message, ""))
            for event in transcript.events if event.is_return and event.failure
        ]  # fmt: skip
        places: dict[Id, list[tuple[str, int]]] = {}
        for name, (columns, rows) in self._tables.items():
            for place, row in enumerate(rows):
                for column, cell in zip(columns, row, strict=True):
                    if isinstance(cell, Id) and cell.column == (name, column):
                        places.setdefault(cell, []).append((name, place))
        self._rows = {one: where[0] for one, where in places.items() if len(where) == 1}
        self._colours = self._refined()
        self._numbers: dict[Id, int] = {}
        self._alike: dict[tuple[str, str], list[Id]] = {}
        self._base = {one: self._content(one, ()) for one in (*self._rows, *self._colours)}
        for one in sorted(self._colours, key=lambda one: self._colours[one]):
            others = self._alike.setdefault((_place(one), self._base[one]), [])
            others.append(one)
            self._numbers[one] = len(others)
        self._places = Counter(base for _, base in self._alike)

    def _refined(self) -> dict[Id, int]:
        things = [thing(name, row) for name, (_, rows) in self._tables.items() for row in rows]
        things += [thing((session, place), _shape(value, self._origins.leaf)) for session, place, value in self._told]
        return numbered([one for one in things if one[2]], self._rows)

    def _content(self, one: Id, seen: tuple[str, ...]) -> str:
        """The row that it represents, without its own ids and times."""
        if one not in self._rows or seen.count(_place(one)) > 1:
            return (
                f"of {'.'.join(one.column) if one.column and one in self._rows else one.kind}"
                if (one.column is None or one in self._rows)
                else "gone"
            )
        name, place = self._rows[one]
        columns, rows = self._tables[name]
        shown = [
            (column, self._word(cell, (*seen, name)))
            for column, cell in zip(columns, rows[place], strict=True)
            if not self._is_own(name, column, cell)
        ]
        return f"({Table(tuple(c for c, _ in shown), (tuple(v for _, v in shown),)).text()})"

    def _is_own(self, name: str, column: str, cell: Cell) -> bool:
        return cell == of((name, column)) or (
            isinstance(cell, Id) and cell.column == (name, column) and cell in self._rows
        )

    def _word(self, cell: Cell, seen: tuple[str, ...]) -> Value:
        if isinstance(cell, Id):
            return self._content(cell, seen)
        if isinstance(cell, tuple):
            return "".join(str(self._word(one, seen)) for one in cell)
        value: Value = cell
        return value

    def _named(self, cell: Cell) -> Value:
        """The name in a table: by the row alone if that identifies it."""
        if isinstance(cell, tuple):
            return "".join(str(self._named(one)) for one in cell)
        if not isinstance(cell, Id):
            value: Value = cell
            return value
        base, place = self._base[cell], _place(cell)
        where = f"{place} " if self._places[base] > 1 or base == "gone" else ""
        number = f" #{self._numbers[cell]}" if len(self._alike[place, base]) > 1 else ""
        return f"{where}{base}{number}"

    def _full(self, one: Id) -> str:
        """The name in what functions return or raise."""
        base = self._base[one]
        where = "" if base.startswith("of ") else f"{_place(one)} "
        return f"<{where}{base} #{self._numbers[one]}>"

    # -- the outcome

    def tables(self) -> dict[str, Table]:
        return {name: self._table(name) for name in self._tables}

    def _table(self, name: str) -> Table:
        columns, rows = self._tables[name]
        bare = [
            tuple(
                of((name, column)) if self._is_own(name, column, cell) else self._named(cell)
                for column, cell in zip(columns, row, strict=True)
            )
            if any(isinstance(cell, Id | Time | tuple) for cell in row)
            else row
            for row in rows
        ]
        linked = self._linked(name, bare)
        shown = [
            tuple(
                self._full(cell) if column in linked and isinstance(cell, Id) and cell in self._numbers else value
                for column, cell, value in zip(columns, row, values, strict=True)
            )
            for row, values in zip(rows, bare, strict=True)
        ]
        of_no_interest = [
            rows != [] and all(row[place] == of((name, column)) for row in shown)
            for place, column in enumerate(columns)
        ]
        kept = [place for place, dropped in enumerate(of_no_interest) if not dropped]
        final = [tuple(row[place] for place in kept) for row in shown]
        return Table(tuple(columns[place] for place in kept), tuple(sorted(final, key=repr)))

    def _linked(self, name: str, bare: list[tuple[Value, ...]]) -> set[str]:
        """The columns whose ids must be shown, since their names do not identify the rows."""
        by_base: dict[tuple[str, str], set[tuple[Value, ...]]] = {}
        mentioned: set[tuple[str, str]] = set()
        linked = set()
        for one, (table, place) in self._rows.items():
            if table == name and one.column:
                by_base.setdefault((one.column[1], self._base[one]), set()).add(bare[place])
                if one in self._numbers:
                    mentioned.add((one.column[1], self._base[one]))
        linked = {column for column, base in mentioned if len(by_base[column, base]) > 1}
        of_rows = Counter(place for one, (table, place) in self._rows.items() if table == name and one in self._numbers)
        if any(times > 1 for times in of_rows.values()):
            linked |= {column for column, _ in mentioned}
        return linked

    def event(self, event: Event) -> Event:
        if not event.is_return:
            # Results may recur in a function's next statements; UUIDs and times differ from run to run.
            results = tuple(
                replace(one, rows=tuple(tuple(map(self._in_result, row)) for row in one.rows)) for one in event.results
            )
            return replace(event, sql=self._in_sql(event.sql), results=results)
        results = tuple(
            replace(one, rows=tuple(tuple(map(self._said, row)) for row in one.rows))  # type: ignore[arg-type]  # as told
            for one in event.results
        )
        failure = event.failure and replace(event.failure, message=self._in_words(event.failure.message))
        return replace(event, results=results, failure=failure)

    def _in_words(self, text: str) -> str:
        cell = self._origins.cell(text)
        parts = cell if isinstance(cell, tuple) else (cell,)
        return "".join(self._full(one) if isinstance(one, Id) else one for one in parts)

    def _said(self, value: Value | Told) -> Value | Told:
        return value if value is None or isinstance(value, int | str) else replaced(value, self._leaf)

    def _leaf(self, leaf: Leaf) -> Leaf:
        cell = self._origins.leaf(leaf)
        parts = cell if isinstance(cell, tuple) else (cell,)
        if not any(isinstance(one, Id | Time) for one in parts):
            return leaf
        text = "".join(self._full(one) if isinstance(one, Id) else one for one in parts)
        if isinstance(leaf.value, bytes):
            return Leaf(leaf.kind, text.encode(), repr(text.encode()))
        if isinstance(leaf.value, str):
            return Leaf(leaf.kind, text, repr(text))
        return Leaf("row", text, text)

    def _in_result(self, value: Value) -> Value:
        return self._in_sql(value) if isinstance(value, str) else value

    def _in_sql(self, sql: str) -> str:
        def name(found: re.Match[str]) -> str:
            piece = self._origins.piece(found[0])
            if isinstance(piece, Id):
                base = self._base.get(piece) or self._content(piece, ())
                return f"<{_place(piece)} {base}>" if not base.startswith("of ") else f"<{base}>"
            return piece or found[0]

        for pattern in (UUID, TIME):
            sql = pattern.sub(name, sql)
        return sql


def _place(one: Id) -> str:
    return one.column[0] if one.column else one.kind


def _shape(value: Any, leaf: Callable[[Leaf], Cell]) -> Any:
    """A returned value as tuples; unordered parts as a list."""
    if isinstance(value, Leaf):
        return (value.kind, leaf(value))
    if value is None or isinstance(value, int | str):
        return value
    parts = [_shape(one, leaf) for one in value.in_order()]
    return (value.kind, parts if isinstance(value.parts, frozenset) else tuple(parts))
