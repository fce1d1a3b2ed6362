"""Columns that are left out of a comparison: what a sequence, a clock or chance fills in says nothing about order.

Two rows that were given the numbers 1 and 3, because a refused attempt had taken the 2, are as good as 1 and 2. What
refers to such a column by a foreign key is compared by the row that it refers to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

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

Column = tuple[str, str]  # of a table


@dataclass(frozen=True)
class Surrogates:
    """The columns that are filled in, and which columns refer to which."""

    filled_in: frozenset[Column] = frozenset()
    references: tuple[tuple[Column, Column], ...] = ()

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
        return cls(
            frozenset((str(table), str(column)) for table, column in filled.rows) | named,
            tuple(((str(a), str(b)), (str(c), str(d))) for a, b, c, d in references.rows),
        )

    def without(self, transcript: Transcript) -> Transcript:
        """The same transcript, with tables that leave them out."""
        if not self.filled_in:
            return transcript
        return replace(transcript, final={name: self._table(name, transcript.final) for name in transcript.final})

    def without_values(self, event: Event) -> Event:
        """The same event, with results that leave columns of such names out."""
        names = {column for _, column in self.filled_in}
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


def _but(row: tuple[Value, ...], columns: tuple[str, ...], names: set[str]) -> tuple[Value, ...]:
    return tuple(value for column, value in zip(columns, row, strict=True) if column not in names)
