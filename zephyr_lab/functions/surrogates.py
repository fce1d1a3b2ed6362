"""Values that say nothing about order: what a sequence, a clock or chance fills in.

They are known by where they come from. Each sequence of the lab's schema, and on a server of the lab's of all others,
is made to go on at a number of its own, which nothing else has (`spread`); clocks' and chance's values have so many
digits that nothing else has them. So columns of such values are left out of the tables, and wherever else such a value
is found, in a table or in what a function returned, the row that it represents takes its place. Two rows that were
given the numbers 1 and 3, because a refused attempt had taken the 2, are as good as 1 and 2; a count that happens to
equal an id is a count.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.values import Leaf, Told, replaced
from zephyr_lab.schedule.transcript import Event, Result, Table, Transcript, Value

# By the names that tables have in a transcript; and how SQL says the column and the table.
_FILLED_IN = """
with {here}
select case when own then '' else nspname || '.' end || relname, attname,
       format('select %I from %I.%I', attname, nspname, relname)
from pg_attribute join pg_class on pg_class.oid = attrelid join here on here.oid = relnamespace
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relkind in ('r', 'p') and attnum > 0 and not attisdropped
  and (attidentity <> '' or pg_get_expr(adbin, adrelid) ~* '\\y(nextval|now|clock_timestamp|transaction_timestamp'
       '|statement_timestamp|timeofday|current_timestamp|current_date|current_time|localtimestamp|localtime|random'
       '|gen_random_uuid|uuid_generate_v\\w+|uuidv4|uuidv7|txid_current|pg_current_xact_id)\\y')
order by 1, 2"""

_REFERENCES = """
with {here},
classes as (select pg_class.oid, case when own then '' else nspname || '.' end || relname as name
            from pg_class join here on here.oid = relnamespace)
select class.name, referring.attname, referred.name, there.attname
from pg_constraint
join classes as class on class.oid = conrelid join classes as referred on referred.oid = confrelid
join pg_attribute as referring on referring.attrelid = conrelid and referring.attnum = conkey[1]
join pg_attribute as there on there.attrelid = confrelid and there.attnum = confkey[1]
where contype = 'f' and array_length(conkey, 1) = 1
order by 1, 2"""

FIRST, APART = 7_000_000, 1_000_000  # where sequences go on, and how many numbers each has to itself

# Those that count up, have not come so far, and have the room; the first of them goes on at 7,000,001.
_SPREAD = f"""
with {{here}}
select quote_literal(format('%I.%I', nspname, relname)),
       {FIRST} + {APART} * (row_number() over (order by own desc, nspname collate "C", relname collate "C") - 1),
       owner, col, case when own then '' else nspname || '.' end || relname
from pg_class join pg_sequence on seqrelid = pg_class.oid join here on here.oid = relnamespace
left join lateral (
  select refobjid, refobjsubid from pg_depend
  where objid = pg_class.oid and classid = 'pg_class'::regclass and refclassid = 'pg_class'::regclass
    and deptype in ('a', 'i') and refobjsubid > 0
  union select adrelid, adnum from pg_depend join pg_attrdef on pg_attrdef.oid = objid
  where refobjid = pg_class.oid and classid = 'pg_attrdef'::regclass
  order by 1, 2 limit 1
) as owned on true
left join lateral (
  select case when whose.own then '' else whose.nspname || '.' end || class.relname as owner, attname as col
  from pg_class as class join pg_attribute on attrelid = class.oid join here as whose on whose.oid = class.relnamespace
  where class.oid = refobjid and attnum = refobjsubid
) as named on true
where relkind = 'S' and seqincrement = 1 and not seqcycle
  and seqmax > {FIRST} + {APART} * (select count(*) + 1 from pg_class join here on here.oid = relnamespace
                                    where relkind = 'S')
  and coalesce(pg_sequence_last_value(pg_class.oid), 0) <= {FIRST}
order by 2"""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
_UUID = re.compile(r"(?i)\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")
_NUMBER = re.compile(r"(?<![\d.])\d{7,}(?!\d|\.\d)")

Column = tuple[str, str]  # of a table


@dataclass(frozen=True)
class Sequence:
    """The numbers from `first` on are the `column`'s; None where the sequence fills in none."""

    name: str
    first: int
    column: Column | None


def spread(execute: Callable[[str], list[Result]], here: str) -> tuple[Sequence, ...]:
    """Has the sequences `here` (as `remains.here`) go on at numbers of their own, and says which those are."""
    found = execute(_SPREAD.format(here=here))[0].rows
    if found:
        execute("; ".join(f"select setval({quoted}, {first})" for quoted, first, *_ in found))
    return tuple(
        Sequence(str(name), int(first or 0), (str(table), str(column)) if table else None)
        for _, first, table, column, name in found
    )


@dataclass(frozen=True)
class Surrogates:
    """The columns that are filled in, which columns refer to which, and what the setup's rows hold in the former."""

    filled_in: frozenset[Column] = frozenset()
    references: tuple[tuple[Column, Column], ...] = ()
    in_setup: frozenset[tuple[Column, Value]] = frozenset()
    sequences: tuple[Sequence, ...] = ()

    @classmethod
    def ask(
        cls, execute: Callable[[str], list[Result]], here: str, ignore: Iterable[str] = (),
        sequences: Iterable[Sequence] = (),
    ) -> Surrogates:  # fmt: skip
        """What the server says of the tables `here`, and columns named `table.column`. Raises BadInput."""
        filled, references = execute(f"{_FILLED_IN.format(here=here)}; {_REFERENCES.format(here=here)}")
        named = set()
        for one in ignore:
            table, dot, column = one.rpartition(".")
            if not dot:
                raise BadInput(f"a column to ignore is named by its table too, as in 'orders.created_at', not {one!r}")
            named.add((table, column))
        own = [(str(table), str(column)) for table, column, _ in filled.rows]
        values = execute("; ".join(str(read) for _, _, read in filled.rows)) if own else []
        return cls(
            frozenset(own) | named,
            tuple(((str(a), str(b)), (str(c), str(d))) for a, b, c, d in references.rows),
            frozenset((column, row[0]) for column, told in zip(own, values, strict=True) for row in told.rows),
            tuple(sequences),
        )

    def without(self, transcript: Transcript) -> Transcript:
        """The same transcript, without such values in tables and in what functions returned or raised."""
        if not (self.filled_in or self.sequences):
            return transcript
        known = self._known(transcript)
        named = _Named(self, known, transcript.final)
        final = {name: self._table(name, transcript.final, known) for name in transcript.final}
        return replace(transcript, events=tuple(map(named.event, transcript.events)), final=final)

    def _known(self, transcript: Transcript) -> dict[str, tuple[Column, Value]]:
        """New values of a clock or of chance, in one way of writing them, with the column that each was filled into."""
        known: dict[str, tuple[Column, Value]] = {}

        def note(column: Column, value: Value) -> None:
            if isinstance(value, str) and (column, value) not in self.in_setup and (way := _one_way(value)):
                known.setdefault(way, (column, value))

        for column in sorted(self.filled_in):
            table = transcript.final.get(column[0])
            if table and column[1] in table.columns:
                place = table.columns.index(column[1])
                for row in table.rows:
                    note(column, row[place])
        for event in transcript.events:
            for result in event.results if event.sql != "return" else ():
                for place, name in enumerate(result.columns):
                    for column in self._owners(name, event.sql):
                        for row in result.rows:
                            note(column, row[place])
        return known

    def _owners(self, column: str, sql: str) -> list[Column]:
        """The columns from which a result's column of that name may come."""
        owners = [of for of in sorted(self.filled_in) if column == of[1]]
        owners += [there for (_, here), there in self.references if here == column and there in self.filled_in]
        return [of for of in owners if re.search(rf"(?i)\b{re.escape(of[0])}\b", sql)] or owners

    def sequence_of(self, value: object) -> Sequence | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return next((one for one in self.sequences if one.first < value <= one.first + APART), None)

    def without_values(self, event: Event) -> Event:
        """The same event, with results that leave columns of such names out."""
        names = {column for _, column in self.filled_in} | {
            column for (_, column), there in self.references if there in self.filled_in
        }
        results = tuple(
            replace(one, rows=tuple(_but(row, one.columns, names) for row in one.rows)) for one in event.results
        )
        return replace(event, results=results)

    def _table(
        self, name: str, tables: Mapping[str, Table], known: Mapping[str, tuple[Column, Value]],
        seen: tuple[str, ...] = (),
    ) -> Table:  # fmt: skip
        table = tables[name]
        dropped = {column for owner, column in self.filled_in if owner == name}
        columns = tuple(column for column in table.columns if column not in dropped)
        rows = []
        for row in table.rows:
            values = dict(zip(table.columns, row, strict=True))
            for (owner, column), (other, key) in self.references:
                if owner == name and column in values and (other, key) in self.filled_in and seen.count(other) < 2:
                    values[column] = self._row(other, key, values[column], tables, known, (*seen, name))
            rows.append(tuple(self._cell(values[column], tables, known, (*seen, name)) for column in columns))
        return Table(columns, tuple(sorted(rows, key=repr)))

    def _cell(
        self,
        value: Value,
        tables: Mapping[str, Table],
        known: Mapping[str, tuple[Column, Value]],
        seen: tuple[str, ...],
    ) -> Value:
        """A value that refers to a row although no foreign key says so, by that row; text with such values in it."""
        if isinstance(value, str):

            def by_row(found: re.Match[str]) -> str:
                number = int(found[0]) if found[0].isdigit() else None
                if sequence := self.sequence_of(number):
                    return str(self._referred(sequence.column, number, sequence.name, tables, known, seen))
                of = known.get(_one_way(found[0]) or "")
                return str(self._referred(*of, "", tables, known, seen)) if of else found[0]

            for pattern in (_NUMBER, _UUID, _TIME):
                value = pattern.sub(by_row, value)
            return value
        sequence = self.sequence_of(value)
        return self._referred(sequence.column, value, sequence.name, tables, known, seen) if sequence else value

    def _referred(
        self, column: Column | None, value: Value, otherwise: str, tables: Mapping[str, Table],
        known: Mapping[str, tuple[Column, Value]], seen: tuple[str, ...],
    ) -> Value:  # fmt: skip
        if column is None or seen.count(column[0]) > 1:
            return f"of {'.'.join(column) if column else otherwise}"
        if isinstance(value, str) and _TIME.fullmatch(value):
            return f"<{'.'.join(column)}>"
        return self._row(*column, value, tables, known, seen)

    def _row(
        self, name: str, key: str, value: Value, tables: Mapping[str, Table],
        known: Mapping[str, tuple[Column, Value]], seen: tuple[str, ...],
    ) -> Value:  # fmt: skip
        """The row that is referred to, as text."""
        if value is None or name not in tables:
            return value
        table = tables[name]
        place = table.columns.index(key)
        found = Table(table.columns, tuple(row for row in table.rows if row[place] == value))
        return f"({self._table(name, {**tables, name: found}, known, seen).text()})"


class _Named:
    """Gives rows names: their content, and a number where several rows have the same, as they are first mentioned."""

    def __init__(
        self, surrogates: Surrogates, known: Mapping[str, tuple[Column, Value]], final: Mapping[str, Table]
    ) -> None:
        self._surrogates, self._known, self._final = surrogates, known, final
        self._mentioned: dict[str, list[Value]] = {}

    def event(self, event: Event) -> Event:
        if event.sql != "return":
            # What a function was told may be in what it asks next; UUIDs and times are others in each run.
            results = tuple(
                replace(one, rows=tuple(tuple(map(self._in_cell, row)) for row in one.rows)) for one in event.results
            )
            return replace(event, sql=self._in_sql(event.sql), results=results)
        return replace(event, results=tuple(
            replace(one, rows=tuple(tuple(self._told(value) for value in row) for row in one.rows))
            for one in event.results
        ))  # fmt: skip

    def _told(self, value: Value | Told) -> Value | Told:
        return value if value is None or isinstance(value, int | str) else replaced(value, self._leaf)

    def _leaf(self, leaf: Leaf) -> Leaf:
        value = leaf.value
        if isinstance(value, uuid.UUID | datetime.datetime):
            name = self._in_text(str(value))
            return leaf if name == str(value) else Leaf("row", name, name)
        if isinstance(value, bytes):
            text = value.decode("latin-1")
            named = self._in_words(text)
            return leaf if named == text else Leaf(leaf.kind, named.encode(), repr(named.encode()))
        if isinstance(value, str):
            named = self._in_words(value)
            return leaf if named == value else Leaf(leaf.kind, named, repr(named))
        name = self._number(value)
        return Leaf("row", name, name) if name else leaf

    def _in_words(self, text: str) -> str:
        text = _NUMBER.sub(lambda found: self._number(int(found[0])) or found[0], text)
        for pattern in (_UUID, _TIME):
            text = pattern.sub(lambda found: self._in_text(found[0]), text)
        return text

    def _in_sql(self, sql: str) -> str:
        for pattern in (_UUID, _TIME):
            sql = pattern.sub(lambda found: self._in_text(found[0], numbered=False), sql)
        return sql

    def _in_cell(self, value: Value) -> Value:
        return self._in_text(value, numbered=False) if isinstance(value, str) else value

    def _number(self, value: object) -> str:
        sequence = self._surrogates.sequence_of(value)
        if sequence is None:
            return ""
        return self._name(sequence.column, value, sequence.name)  # type: ignore[arg-type]

    def _in_text(self, text: str, *, numbered: bool = True) -> str:
        found = self._known.get(_one_way(text) or "")
        return self._name(*found, numbered=numbered) if found else text

    def _name(self, column: Column | None, value: Value, otherwise: str = "", *, numbered: bool = True) -> str:
        if isinstance(value, str) and _TIME.fullmatch(value) and column:
            return f"<{'.'.join(column)}>"  # one reading of a clock is as good as another
        table = self._final.get(column[0]) if column else None
        row = f"of {otherwise}" if column is None else f"{column[0]} gone"
        if table and column and column[1] in table.columns:
            place = table.columns.index(column[1])
            if any(row[place] == value for row in table.rows):
                row = f"{column[0]} {self._surrogates._row(*column, value, self._final, self._known, ())}"
        if not numbered:
            return f"<{row}>"
        others = self._mentioned.setdefault(row, [])
        if value not in others:
            others.append(value)
        return f"<{row} #{others.index(value) + 1}>"


def _one_way(text: str) -> str | None:
    """A UUID or a time in one way of writing it, in UTC; None for what is neither."""
    if _UUID.fullmatch(text):
        return text.replace("-", "").lower()
    if not _TIME.fullmatch(text):
        return None
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time.astimezone(datetime.UTC) if time.tzinfo else time).isoformat()


def _but(row: tuple[Value, ...], columns: tuple[str, ...], names: set[str]) -> tuple[Value, ...]:
    return tuple(value for column, value in zip(columns, row, strict=True) if column not in names)
