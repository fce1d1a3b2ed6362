"""Values that chance or a clock has filled in, and that later statements name: a replay must get the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from zephyr_lab.schedule.reset import may_differ
from zephyr_lab.schedule.transcript import Event, EventKind, Result, Transcript, Value

Execute = Callable[[str], list[Result]]

_DEFAULTS = """
select relname, attname, format('%I', relname), format('%I', attname), format_type(atttypid, atttypmod),
       pg_get_expr(adbin, adrelid)
from pg_attrdef join pg_class on pg_class.oid = adrelid
join pg_attribute on attrelid = adrelid and attnum = adnum
where relnamespace = current_schema::regnamespace and relkind in ('r', 'p') and attgenerated = ''
order by relname collate "C", attnum"""


@dataclass(frozen=True)
class FilledIn:
    """A column that chance or a clock fills in: names as they are and as SQL has them, and its type."""

    table: str
    name: str
    quoted_table: str
    quoted: str
    type: str

    def insert(self) -> re.Pattern[str]:
        """An INSERT into its table, and the columns that it names."""
        return re.compile(rf'(?is)\binsert\s+into\s+(?:"?\w+"?\.)?"?{re.escape(self.table)}"?(?!\w)\s*(?:\(([^)]*)\))?')


def filled_in(execute: Execute) -> list[FilledIn]:
    """Those of the schema, by their defaults."""
    return [FilledIn(*map(str, row[:5])) for row in execute(_DEFAULTS)[0].rows if may_differ((str(row[5]),))]


def same_values(columns: Iterable[FilledIn], transcript: Transcript) -> list[str]:
    """SQL for the end of a setup, by which defaults give the values of this schedule, one after another."""
    events = [event for event in transcript.events if not event.is_return]
    found = [(column, values) for column in columns if (values := _values(column, events))]
    return [sql for number, one in enumerate(found, start=1) for sql in _default(*one, f"handed_out_{number}")]


def _values(column: FilledIn, events: Sequence[Event]) -> list[str]:
    """What a column's default gave, in order; nothing if no later statement names it, or an INSERT did not tell."""
    told: list[Value] = []
    named = False
    for event in events:
        named = named or (event.kind is not EventKind.WAITS and any(_is_named(value, event.sql) for value in told))
        insert = column.insert().search(event.sql)
        if insert is None or event.kind is not EventKind.COMPLETED:
            continue
        if column.name in re.findall(r"\w+", insert[1] or ""):
            continue
        returned = [value for result in event.results for value in _column(result, column.name)]
        if not returned:
            return []
        told += returned
    return [str(value) for value in told] if named else []


def _is_named(value: Value, sql: str) -> bool:
    """Drivers write a UUID with or without its hyphens."""
    return str(value) in sql or (isinstance(value, str) and bool(value) and value.replace("-", "") in sql)


def _column(result: Result, name: str) -> Iterator[Value]:
    if name in result.columns:
        place = result.columns.index(name)
        yield from (row[place] for row in result.rows)


def _default(column: FilledIn, values: Sequence[str], sequence: str) -> list[str]:
    texts = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    table, name = column.quoted_table, column.quoted
    return [
        f"create sequence {sequence} owned by {table}.{name}",
        f"alter table {table} alter column {name} set default (array[{texts}]::{column.type}[])[nextval('{sequence}')]",
    ]
