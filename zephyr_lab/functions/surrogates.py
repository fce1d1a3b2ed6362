"""Columns that are left out of a comparison: what a sequence, a clock or chance fills in says nothing about order.

Two rows that were given the numbers 1 and 3, because a refused attempt had taken the 2, are as good as 1 and 2. What
refers to such a column by a foreign key is compared by the row that it refers to; so is what a function returns, if it
has seen it in such a column, and the row is none of the setup's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.transcript import Event, Result, Table, Transcript, Value

_FILLED_IN = """
select relname, attname from pg_attribute join pg_class on pg_class.oid = attrelid
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relnamespace = current_schema::regnamespace and relkind in ('r', 'p') and attnum > 0 and not attisdropped
  and (attidentity <> '' or pg_get_expr(adbin, adrelid) ~* '\\y(nextval|now|clock_timestamp|transaction_timestamp'
       '|statement_timestamp|timeofday|current_timestamp|current_date|current_time|localtimestamp|localtime|random'
       '|gen_random_uuid|uuid_generate_v\\w+|uuidv4|uuidv7|txid_current|pg_current_xact_id)\\y')
order by 1, 2"""

_REFERENCES = """
select class.relname, here.attname, referred.relname, there.attname
from pg_constraint
join pg_class as class on class.oid = conrelid join pg_class as referred on referred.oid = confrelid
join pg_attribute as here on here.attrelid = conrelid and here.attnum = conkey[1]
join pg_attribute as there on there.attrelid = confrelid and there.attnum = confkey[1]
where connamespace = current_schema::regnamespace and contype = 'f' and array_length(conkey, 1) = 1
order by 1, 2"""

_OF_SEQUENCES = frozenset({"nextval", "currval", "lastval"})

Column = tuple[str, str]  # of a table


@dataclass(frozen=True)
class Surrogates:
    """The columns that are filled in, which columns refer to which, and what the setup's rows hold in the former."""

    filled_in: frozenset[Column] = frozenset()
    references: tuple[tuple[Column, Column], ...] = ()
    in_setup: frozenset[tuple[Column, Value]] = frozenset()

    @classmethod
    def ask(cls, execute: Callable[[str], list[Result]], ignore: Iterable[str] = ()) -> Surrogates:
        """What the server says of the present schema, and columns named `table.column`. Raises BadInput."""
        filled, references = execute(f"{_FILLED_IN}; {_REFERENCES}")
        named = set()
        for one in ignore:
            table, dot, column = one.rpartition(".")
            if not dot:
                raise BadInput(f"a column to ignore is named by its table too, as in 'orders.created_at', not {one!r}")
            named.add((table, column))
        own = [(str(table), str(column)) for table, column in filled.rows]
        values = execute("; ".join(f'select "{column}" from "{table}"' for table, column in own)) if own else []
        return cls(
            frozenset(own) | named,
            tuple(((str(a), str(b)), (str(c), str(d))) for a, b, c, d in references.rows),
            frozenset((column, row[0]) for column, told in zip(own, values, strict=True) for row in told.rows),
        )

    def without(self, transcript: Transcript, *, numbers: bool = False) -> Transcript:
        """The same transcript, with tables that leave them out, and by their rows in what functions returned.

        That is so for UUIDs; with `numbers` for numbers too, which may be something else that is equal by chance.
        """
        if not self.filled_in:
            return transcript
        final = {name: self._table(name, transcript.final) for name in transcript.final}
        return replace(self._by_rows(transcript, numbers), final=final)

    def _by_rows(self, transcript: Transcript, numbers: bool) -> Transcript:
        """In what is returned, rows of the same content are told apart by the order in which they are mentioned."""
        mentioned: dict[str, list[str]] = {}

        def name(rows: Mapping[str, str], found: str) -> str:
            others = mentioned.setdefault(rows[found], [])
            if found not in others:
                others.append(found)
            return f"{rows[found]} #{others.index(found) + 1}"

        seen = {session: self._seen_by(session, transcript, numbers) for session in transcript.sessions}
        events = []
        for event in transcript.events:
            rows = seen[event.session]
            if rows and event.sql == "return":
                said = partial(_replaced, rows, partial(name, rows))
                event = replace(event, results=tuple(
                    replace(one, rows=tuple(tuple(said(str(value)) for value in row) for row in one.rows))
                    for one in event.results
                ))  # fmt: skip
            elif rows and not numbers:
                event = replace(event, sql=_replaced(rows, rows.__getitem__, event.sql))
            events.append(event)
        return replace(transcript, events=tuple(events))

    def _seen_by(self, session: str, transcript: Transcript, numbers: bool) -> dict[str, str]:
        """The new values of such columns that a session has read, as text, and the rows that they stand for."""
        seen: dict[str, str] = {}
        for event in transcript.events:
            for result in event.results if event.session == session else ():
                for place, column in enumerate(result.columns):
                    owners = self._owners(column, event.sql)
                    for value in {row[place] for row in result.rows} if owners else ():
                        is_number = isinstance(value, int) and not isinstance(value, bool)
                        if not (isinstance(value, str) or (numbers and is_number)):
                            continue
                        if not any((owner, value) in self.in_setup for owner in owners):
                            row = next(filter(None, (self._at(of, value, transcript) for of in owners)), "gone")
                            seen |= dict.fromkeys((str(value), str(value).replace("-", "")), row)
        return seen

    def _owners(self, column: str, sql: str) -> list[Column]:
        """The columns from which a result's column of that name may come."""
        owners = [of for of in sorted(self.filled_in) if column in _OF_SEQUENCES or column == of[1]]
        owners += [there for (_, here), there in self.references if here == column and there in self.filled_in]
        return [of for of in owners if re.search(rf"(?i)\b{re.escape(of[0])}\b", sql)] or owners

    def _at(self, owner: Column, value: Value, transcript: Transcript) -> str:
        table = transcript.final.get(owner[0])
        if not table or not any(value == row[table.columns.index(owner[1])] for row in table.rows):
            return ""
        return f"{owner[0]} {self._row(*owner, value, transcript.final, ())}"

    def without_values(self, event: Event) -> Event:
        """The same event, with results that leave columns of such names out."""
        names = {column for _, column in self.filled_in} | {
            column for (_, column), there in self.references if there in self.filled_in
        }
        results = tuple(
            replace(one, rows=tuple(_but(row, one.columns, names) for row in one.rows)) for one in event.results
        )
        return replace(event, results=results)

    def _table(self, name: str, tables: Mapping[str, Table], seen: tuple[str, ...] = ()) -> Table:
        table = tables[name]
        dropped = {column for owner, column in self.filled_in if owner == name}
        columns = tuple(column for column in table.columns if column not in dropped)
        rows = []
        for row in table.rows:
            values = dict(zip(table.columns, row, strict=True))
            for (owner, column), (other, key) in self.references:
                if owner == name and column in values and (other, key) in self.filled_in and other not in seen:
                    values[column] = self._row(other, key, values[column], tables, (*seen, name))
            rows.append(tuple(values[column] for column in columns))
        return Table(columns, tuple(sorted(rows, key=repr)))

    def _row(self, name: str, key: str, value: Value, tables: Mapping[str, Table], seen: tuple[str, ...]) -> Value:
        """The row that is referred to, as text."""
        if value is None or name not in tables:
            return value
        table = tables[name]
        place = table.columns.index(key)
        found = Table(table.columns, tuple(row for row in table.rows if row[place] == value))
        return f"({self._table(name, {**tables, name: found}, seen).text()})"


def _replaced(rows: Iterable[str], name: Callable[[str], str], text: str) -> str:
    words = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, rows))})(?![\w-]|\.\w)"
    return re.sub(words, lambda found: name(found[0]), text)


def _but(row: tuple[Value, ...], columns: tuple[str, ...], names: set[str]) -> tuple[Value, ...]:
    return tuple(value for column, value in zip(columns, row, strict=True) if column not in names)
