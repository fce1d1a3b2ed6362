"""Surrogates: values that a sequence, a clock or chance fills in while functions run, and that reveal no order.

They are recognised by their origin. Each sequence of the lab's schema, and on an embedded server of all others,
continues far from all numbers of the setup (`sequences`), and only numbers that it generated in a run are ids. A
clock's value is one that its column's default gives at that time. Values of the setup are the same in every run, and
are compared as they are; so are values that a function writes itself.

`names` gives each id the name by which it is compared.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.sequences import Column, Sequence
from zephyr_lab.functions.structure import Leaf
from zephyr_lab.schedule.transcript import Event, Result, Table, Transcript, Value

_CLOCKS = (
    "now|clock_timestamp|transaction_timestamp|statement_timestamp|timeofday|current_timestamp|current_date"
    "|current_time|localtimestamp|localtime"
)

# Tables as named in a transcript, their columns; a query for the column's values; and the default if it is a clock.
_FILLED_IN = f"""
with {{here}}
select case when own then '' else nspname || '.' end || relname, attname,
       format('select distinct %I from %I.%I', attname, nspname, relname),
       case when said ~* '\\y({_CLOCKS})\\y' then said end
from pg_attribute join pg_class on pg_class.oid = attrelid join here on here.oid = relnamespace
join pg_attrdef on adrelid = attrelid and adnum = attnum, pg_get_expr(adbin, adrelid) as said
where relkind in ('r', 'p') and attnum > 0 and not attisdropped and attgenerated = ''
  and said ~* '\\y({_CLOCKS}|random|gen_random_uuid|uuid_generate_v\\w+|uuidv4|uuidv7|txid_current'
              '|pg_current_xact_id)\\y'
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

TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
UUID = re.compile(r"(?i)\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")
_NUMBER = re.compile(r"(?<![\d.])\d{5,}(?!\d|\.\d)")
_SURROGATE = re.compile(f"{UUID.pattern.replace('(?i)', '')}|{TIME.pattern}|{_NUMBER.pattern}", re.IGNORECASE)
_CLOCK_WORD = re.compile(rf"(?i)\b({_CLOCKS})\b")
_VALUE = re.compile(r"'[^']*'|\d+")
_SLACK = datetime.timedelta(seconds=2)


@dataclass(frozen=True)
class Id:
    """A value from a sequence or chance: `kind` names the sequence, or the column."""

    kind: str
    value: int | str
    column: Column | None


Place = tuple[str, int]
"""A statement without its values, and which of the UUIDs in it."""

Cell = Any  # a value, an Id, or a text's pieces: a tuple of both


@dataclass(frozen=True)
class _Clock:
    """The value of a column's default at a time, as the server writes it."""

    value: str
    at: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    def could_say(self, text: str) -> bool:
        """Whether the default may have given this value since."""
        since, said = _time(self.value), _time(text)
        if since is None or said is None or (since.tzinfo is None) != (said.tzinfo is None):
            return False
        return since - _SLACK <= said <= since + (datetime.datetime.now(datetime.UTC) - self.at) + _SLACK


class Time(str):
    """Replaces a time, or another value that only its origin matters of: all its values are equivalent."""


def of(column: Column) -> Time:
    return Time(f"<{'.'.join(column)}>")


@dataclass(frozen=True)
class Surrogates:
    """The columns that a clock or chance fills in, the ignored ones, foreign keys, and the values of the first in the
    setup's rows, if these are the same in every run.

    `constant` are values that look like chance, and were the same in two runs. `made_up` are the places of statements
    where sessions send UUIDs, or tokens of 32 hexadecimal digits, that differ from run to run: owners of locks, keys.
    """

    filled_in: Mapping[Column, _Clock | None] = field(default_factory=dict)
    ignored: frozenset[Column] = frozenset()
    references: tuple[tuple[Column, Column], ...] = ()
    in_setup: frozenset[tuple[Column, Value]] = frozenset()
    sequences: tuple[Sequence, ...] = ()
    constant: frozenset[str] = frozenset()
    made_up: frozenset[Place] = frozenset()

    @classmethod
    def ask(
        cls, execute: Callable[[str], list[Result]], here: str, ignore: Iterable[str] = (),
        sequences: Iterable[Sequence] = (), *, stable: bool = True,
    ) -> Surrogates:  # fmt: skip
        """Reads the catalogue for the tables `here`; `ignore` has columns named `table.column`. Raises BadInput.

        `stable`: the setup's rows are the same in every run.
        """
        filled, references = execute(f"{_FILLED_IN.format(here=here)}; {_REFERENCES.format(here=here)}")
        named = set()
        for one in ignore:
            table, dot, column = one.rpartition(".")
            if not dot:
                raise BadInput(f"a column to ignore is named by its table too, as in 'orders.created_at', not {one!r}")
            named.add((table, column))
        own = [(str(table), str(column)) for table, column, *_ in filled.rows]
        asked = [str(read) for *_, read, _ in filled.rows] if stable else []
        asked += [f"select ({said})::text" for *_, said in filled.rows if said]
        told = execute("; ".join(asked)) if asked else []
        values, said = (told[: len(own)], told[len(own) :]) if stable else ([], told)
        defaults = iter(said)
        clocks = {
            column: _Clock(str(next(defaults).rows[0][0])) if row[3] else None
            for column, row in zip(own, filled.rows, strict=True)
        }
        return cls(
            clocks,
            frozenset(named),
            tuple(((str(a), str(b)), (str(c), str(d))) for a, b, c, d in references.rows),
            frozenset((column, row[0]) for column, one in zip(own, values, strict=False) for row in one.rows),
            tuple(sequences),
        )

    def learned(self, one: Transcript, two: Transcript) -> Surrogates:
        """The same, but values that two runs have in common are no chance, and those that sessions have made up are."""
        both = Origins(self, one).of_chance.keys() & Origins(self, two).of_chance.keys()
        first, second = _sent(one), _sent(two)
        made_up = {place for place in first.keys() & second.keys() if first[place].isdisjoint(second[place])}
        if not (both or made_up):
            return self
        return replace(self, constant=self.constant | both, made_up=self.made_up | made_up)

    def without_values(self, event: Event) -> Event:
        """The same event without columns of such names in its results."""
        names = {column for _, column in (*self.filled_in, *self.ignored)}
        names |= {column for (_, column), there in self.references if there in self.filled_in}
        results = tuple(
            replace(one, rows=tuple(_but(row, one.columns, names) for row in one.rows)) for one in event.results
        )
        return replace(event, results=results)


class Origins:
    """Where the values of one run come from."""

    def __init__(self, surrogates: Surrogates, transcript: Transcript) -> None:
        self._all, self._transcript = surrogates, transcript
        self.of_chance: dict[str, Column | None] = {}
        self._times: dict[str, Column] = {}
        self._statements = [
            re.split(r"(?i)\breturning\b", one.sql)[0]
            for one in transcript.events
            if not one.is_return and re.search(r"(?i)\b(update|insert|merge|copy)\b", one.sql)
        ]
        self._note_values()
        for place, values in _sent(transcript).items() if surrogates.made_up else ():
            if place in surrogates.made_up:
                self.of_chance.update(dict.fromkeys(sorted(values - self.of_chance.keys())))

    def _note_values(self) -> None:
        """Collects the values that a clock and chance filled in, normalised, with their columns."""
        for column in sorted(self._all.filled_in):
            table = self._transcript.final.get(column[0])
            if table and column[1] in table.columns:
                place = table.columns.index(column[1])
                for row in table.rows:
                    self._note(column, row[place])
            for statement in self._setting(column) if self._all.filled_in[column] else ():
                for said in TIME.findall(statement):  # by a clock of Python's; another may have overwritten it since
                    self._note(column, said)
        for event in self._transcript.events:
            for result in () if event.is_return else event.results:
                for place, name in enumerate(result.columns):
                    for column in self._owners(name, event.sql):
                        for row in result.rows:
                            self._note(column, row[place])

    def _note(self, column: Column, value: Value) -> None:
        if not isinstance(value, str) or (column, value) in self._all.in_setup or not (way := _one_way(value)):
            return
        if UUID.fullmatch(value):
            # Versions 3, 5 and 8 are hashes, not chance.
            made = uuid.UUID(way).version in (1, 4, 6, 7) if "-" in value else not self._setting(column)
            if made and way not in self._all.constant:
                self.of_chance.setdefault(way, column)
        elif self._is_expiry(column, value):
            self._times.setdefault(way, column)

    def _owners(self, column: str, sql: str) -> list[Column]:
        """The columns from which a result column of that name may come."""
        owners = [of for of in sorted(self._all.filled_in) if column == of[1]]
        owners += [
            there for (_, here), there in self._all.references if here == column and there in self._all.filled_in
        ]
        return [of for of in owners if re.search(rf"(?i)\b{re.escape(of[0])}\b", sql)] or owners

    def _is_expiry(self, column: Column, value: str) -> bool:
        """Whether it is from the column's default, or from a statement that sets it to a clock's time only."""
        clock, setting = self._all.filled_in[column], self._setting(column)
        if clock is None or (setting and self._is_reckoned(column, value)):
            return False
        if clock.could_say(value):
            return True
        said = {_one_way(found) for one in self._statements for found in TIME.findall(one)}
        return any(map(_CLOCK_WORD.search, setting)) and _one_way(value) not in said

    def _is_reckoned(self, column: Column, value: str) -> bool:
        """Whether it is whole seconds from a value of the setup's rows, such as a postponed end."""
        fraction = (_one_way(value) or "").partition(".")[2].partition("+")[0]
        there = {
            (_one_way(str(held)) or "").partition(".")[2].partition("+")[0]
            for of, held in self._all.in_setup
            if of == column
        }
        return bool(fraction) and fraction in there

    def _setting(self, column: Column) -> list[str]:
        """Writing statements that name the column."""
        return [one for one in self._statements if re.search(rf"(?i)\b{re.escape(column[1])}\b", one)]

    def _id(self, value: object) -> Id | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        for one in self._all.sequences:
            if one.first < value <= self._transcript.handed_out.get(one.name, 0):
                return Id(one.name, value, one.column)
        return None

    def cell(self, value: Value, own: Column | None = None) -> Cell:
        if isinstance(value, str):
            parts = list(self._pieces(value))
            if parts == [value] and own is not None and own in self._all.filled_in and self._is_filled_in(own, value):
                return of(own)
            return parts[0] if len(parts) == 1 else tuple(parts)
        if own is not None and own in self._all.filled_in and value is not None and self._is_filled_in(own, value):
            return of(own)
        return self._id(value) or value

    def _is_filled_in(self, column: Column, value: Value) -> bool:
        """Whether a value that is neither a time nor a UUID comes from the default."""
        if isinstance(value, str) and (_one_way(value) or re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
            return False
        return (column, value) not in self._all.in_setup and not self._setting(column)

    def _pieces(self, text: str) -> Iterator[str | Id]:
        """The pieces of a text."""
        last = 0
        for found in _SURROGATE.finditer(text):
            piece = self.piece(found[0])
            if piece is not None:
                if found.start() > last:
                    yield text[last : found.start()]
                yield piece
                last = found.end()
        if last < len(text) or not text:
            yield text[last:]

    def piece(self, text: str) -> str | Id | None:
        if text.isdigit() and (found := self._id(int(text))):
            return found
        way = _one_way(text) or ""
        if way in self.of_chance:
            column = self.of_chance[way]
            return Id(".".join(column) if column else "chance", way, column)
        return of(self._times[way]) if way in self._times else None

    def read(self, name: str, table: Table) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
        kept = [place for place, column in enumerate(table.columns) if (name, column) not in self._all.ignored]
        columns = tuple(table.columns[place] for place in kept)
        rows = [tuple(self.cell(row[place], (name, table.columns[place])) for place in kept) for row in table.rows]
        return columns, rows

    def leaf(self, leaf: Leaf) -> Cell:
        value = leaf.value
        if isinstance(value, uuid.UUID | datetime.datetime):
            return self.cell(str(value))
        if isinstance(value, bytes):
            return self.cell(value.decode("latin-1"))
        return self.cell(value) if isinstance(value, str) or type(value) is int else value


def _time(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if TIME.fullmatch(text) else None
    except ValueError:
        return None


def _sent(transcript: Transcript) -> dict[Place, set[str]]:
    """The UUIDs and tokens in statements and commands, normalised."""
    found: dict[Place, set[str]] = {}
    for one in transcript.events:
        said = [] if one.is_return else UUID.findall(one.sql)
        shape = _VALUE.sub("?", UUID.sub("?", one.sql)) if said else ""
        for number, text in enumerate(said):
            found.setdefault((shape, number), set()).add(text.replace("-", "").lower())
    return found


def _one_way(text: str) -> str | None:
    """A UUID or a time, normalised, in UTC; None for other texts."""
    if UUID.fullmatch(text):
        return text.replace("-", "").lower()
    time = _time(text)
    return None if time is None else (time.astimezone(datetime.UTC) if time.tzinfo else time).isoformat()


def _but(row: tuple[Value, ...], columns: tuple[str, ...], names: set[str]) -> tuple[Value, ...]:
    return tuple(value for column, value in zip(columns, row, strict=True) if column not in names)
