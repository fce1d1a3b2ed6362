"""Values that say nothing about order: what a sequence, a clock or chance fills in while functions run.

They are known by where they come from. Each sequence of the lab's schema, and on a server of the lab's of all others,
goes on at a number far from all that the setup has made (`spread`), and only what it has handed out in a run is taken
for an id. A clock's value is one that its column's default gives at that time. What the setup has made is the same in
every run, and is compared as it is; so is what a function says itself.

An id is replaced by a name, wherever it is found: the row that it represents, and a number where several rows are
alike. Two outcomes are equal if ids of the one can be exchanged for ids of the other, one for one. The numbers are
given by colour refinement (Weisfeiler and Leman, 1968): rows that are mentioned in other places are other rows. Ids 1
and 3, because a refused attempt had taken the 2, are as good as 1 and 2.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.values import Leaf, Told, replaced
from zephyr_lab.schedule.transcript import Event, Result, Table, Transcript, Value

_CLOCKS = (
    "now|clock_timestamp|transaction_timestamp|statement_timestamp|timeofday|current_timestamp|current_date"
    "|current_time|localtimestamp|localtime"
)

# By the names that tables have in a transcript; how SQL says the column and the table; and the default of a clock's.
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

FIRST, APART = 7_000_000, 1_000_000  # where sequences go on, and how many numbers each has to itself
SMALL, SMALL_APART = 20_000, 1_000  # of smallint
MOST_BANDS = 3_000  # that are tried; a sequence without one goes on where it was, and its ids are compared as they are

# Those that count up.
_SEQUENCES = """
with {here}
select quote_literal(format('%I.%I', nspname, relname)), format('%I.%I', nspname, relname),
       coalesce(pg_sequence_last_value(pg_class.oid), 0), seqmax::text,
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
where relkind = 'S' and seqincrement > 0 and not seqcycle
order by own desc, nspname collate "C", relname collate "C" """

_TABLES = """
with {here}
select format('%I.%I', nspname, relname) from pg_class join here on here.oid = relnamespace
where relkind in ('r', 'm') and relispopulated"""
# In thousands, the numbers of five digits or more in a table, also in its texts.
_NUMBERS_IN = """
select distinct div(found[1]::numeric, 1000)::text
from {table} as t, lateral regexp_matches(t::text, '[0-9]{{5,18}}', 'g') as found"""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)?")
_UUID = re.compile(r"(?i)\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b")
_NUMBER = re.compile(r"(?<![\d.])\d{5,}(?!\d|\.\d)")
_SURROGATE = re.compile(f"{_UUID.pattern.replace('(?i)', '')}|{_TIME.pattern}|{_NUMBER.pattern}", re.IGNORECASE)
_CLOCK_WORD = re.compile(rf"(?i)\b({_CLOCKS})\b")
_SLACK = datetime.timedelta(seconds=2)

Column = tuple[str, str]  # of a table


@dataclass(frozen=True)
class Sequence:
    """The numbers from `first` on are the `column`'s; None where the sequence fills in none."""

    name: str
    first: int
    column: Column | None
    quoted: str = ""  # as SQL says its name


def spread(
    execute: Callable[[str], list[Result]],
    here: str,
    before: Iterable[Sequence] = (),
    other: Callable[[], Iterable[str]] = tuple,
) -> tuple[Sequence, ...]:
    """Has the sequences `here` (as `remains.here`) go on at numbers of their own, and says which those are.

    That is where they went on `before`; else far from all that is in tables and in `other` texts, which are asked for
    where they are needed.
    """
    found = execute(_SEQUENCES.format(here=here))[0].rows
    if not found:
        return ()
    known = {one.name: one.first for one in before}
    taken: set[int] | None = None
    made = []
    for literal, quoted, last, most, table, column, name in found:
        first = known.get(str(name))
        if first is None:
            taken = _numbers(execute, here, other) if taken is None else taken
            first = _band(taken, int(last or 0), int(most or 0))
        if first is not None and first >= int(last or 0):
            made.append(
                (literal, Sequence(str(name), first, (str(table), str(column)) if table else None, str(quoted)))
            )
    if made:
        execute("; ".join(f"select setval({literal}, {one.first})" for literal, one in made))
    return tuple(one for _, one in made)


def _numbers(execute: Callable[[str], list[Result]], here: str, other: Callable[[], Iterable[str]]) -> set[int]:
    """All numbers of five digits or more that there are, in thousands."""
    tables = [str(table) for (table,) in execute(_TABLES.format(here=here))[0].rows]
    results = execute("; ".join(_NUMBERS_IN.format(table=table) for table in tables)) if tables else []
    said = {int(number) // 1000 for text in other() for number in re.findall(r"\d{5,18}", text)}
    return said | {int(str(row[0])) for one in results for row in one.rows}


def _band(taken: set[int], last: int, most: int) -> int | None:
    """Where a sequence can go on; its numbers become `taken`."""
    first, apart = (FIRST, APART) if most > FIRST + APART else (SMALL, SMALL_APART)
    for _ in range(MOST_BANDS):
        band = range(first // 1000 - 1, (first + apart) // 1000 + 1)
        if first + apart > most:
            return None
        if first >= last and not any(number in taken for number in band):
            taken.update(range(first // 1000, (first + apart) // 1000))
            return first
        first += apart
    return None


@dataclass(frozen=True)
class _Id:
    """What a sequence or chance has made: `kind` names the sequence, or the column."""

    kind: str
    value: int | str
    column: Column | None


_Cell = Any  # a value, an _Id, or what text is made of: a tuple of both
_Read = dict[str, tuple[tuple[str, ...], list[tuple[_Cell, ...]]]]


@dataclass(frozen=True)
class _Clock:
    """What a column's default said at a time, as the server writes it."""

    value: str
    at: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    def could_say(self, text: str) -> bool:
        """Whether the default has said so since."""
        since, said = _time(self.value), _time(text)
        if since is None or said is None or (since.tzinfo is None) != (said.tzinfo is None):
            return False
        return since - _SLACK <= said <= since + (datetime.datetime.now(datetime.UTC) - self.at) + _SLACK


@dataclass(frozen=True)
class Surrogates:
    """The columns that a clock or chance fills in, those that are ignored, which columns refer to which, and what the
    setup's rows hold in the first, where that is the same in every run.

    `constant` is what looks like chance, and was the same in two runs.
    """

    filled_in: Mapping[Column, _Clock | None] = field(default_factory=dict)
    ignored: frozenset[Column] = frozenset()
    references: tuple[tuple[Column, Column], ...] = ()
    in_setup: frozenset[tuple[Column, Value]] = frozenset()
    sequences: tuple[Sequence, ...] = ()
    constant: frozenset[str] = frozenset()

    @classmethod
    def ask(
        cls, execute: Callable[[str], list[Result]], here: str, ignore: Iterable[str] = (),
        sequences: Iterable[Sequence] = (), *, stable: bool = True,
    ) -> Surrogates:  # fmt: skip
        """What the server says of the tables `here`, and columns named `table.column`. Raises BadInput.

        `stable`: what the setup's rows hold is the same in every run.
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
            clocks, frozenset(named),
            tuple(((str(a), str(b)), (str(c), str(d))) for a, b, c, d in references.rows),
            frozenset((column, row[0]) for column, one in zip(own, values, strict=False) for row in one.rows),
            tuple(sequences),
        )  # fmt: skip

    def learned(self, one: Transcript, two: Transcript) -> Surrogates:
        """The same, that takes nothing for chance that two runs have in common."""
        both = _Run(self, one).of_chance().keys() & _Run(self, two).of_chance().keys()
        return replace(self, constant=self.constant | both) if both else self

    def without(self, transcript: Transcript) -> Transcript:
        """The same transcript, without such values in tables and in what functions returned or raised."""
        if not (self.filled_in or self.ignored or self.sequences):
            return transcript
        named = _Run(self, transcript)
        return replace(transcript, events=tuple(map(named.event, transcript.events)), final=named.tables())

    def without_values(self, event: Event) -> Event:
        """The same event, with results that leave columns of such names out."""
        names = {column for _, column in (*self.filled_in, *self.ignored)}
        names |= {column for (_, column), there in self.references if there in self.filled_in}
        results = tuple(
            replace(one, rows=tuple(_but(row, one.columns, names) for row in one.rows)) for one in event.results
        )
        return replace(event, results=results)


class _Run:
    """The ids of one run, and their names."""

    def __init__(self, surrogates: Surrogates, transcript: Transcript) -> None:
        self._all, self._transcript = surrogates, transcript
        self._chance: dict[str, Column] = {}
        self._times: dict[str, Column] = {}
        self._statements = [
            re.split(r"(?i)\breturning\b", one.sql)[0] for one in transcript.events
            if one.sql != "return" and re.search(r"(?i)\b(update|insert|merge|copy)\b", one.sql)
        ]  # fmt: skip
        self._note_values()
        self._tables = {name: self._read(name, table) for name, table in transcript.final.items()}
        self._told = [
            (event.session, place, value)
            for event in transcript.events if event.sql == "return"
            for result in event.results for row in result.rows for place, value in enumerate(row)
        ] + [
            (event.session, 0, Leaf("message", event.failure.message, ""))
            for event in transcript.events if event.sql == "return" and event.failure
        ]  # fmt: skip
        places: dict[_Id, list[tuple[str, int]]] = {}
        for name, (columns, rows) in self._tables.items():
            for place, row in enumerate(rows):
                for column, cell in zip(columns, row, strict=True):
                    if isinstance(cell, _Id) and cell.column == (name, column):
                        places.setdefault(cell, []).append((name, place))
        self._rows = {one: where[0] for one, where in places.items() if len(where) == 1}
        self._colours = self._refined()
        self._numbers: dict[_Id, int] = {}
        self._alike: dict[tuple[str, str], list[_Id]] = {}
        self._base = {one: self._content(one, ()) for one in (*self._rows, *self._colours)}
        for one in sorted(self._colours, key=lambda one: self._colours[one]):
            others = self._alike.setdefault((_place(one), self._base[one]), [])
            others.append(one)
            self._numbers[one] = len(others)
        self._places = Counter(base for _, base in self._alike)

    # -- which values they are

    def of_chance(self) -> Mapping[str, Column]:
        return self._chance

    def _note_values(self) -> None:
        """What a clock and chance have filled in, in one way of writing it, with the column that it was filled into."""
        for column in sorted(self._all.filled_in):
            table = self._transcript.final.get(column[0])
            if table and column[1] in table.columns:
                place = table.columns.index(column[1])
                for row in table.rows:
                    self._note(column, row[place])
            for statement in self._setting(column) if self._all.filled_in[column] else ():
                for said in _TIME.findall(statement):  # by a clock of Python's; another may have set it again since
                    self._note(column, said)
        for event in self._transcript.events:
            for result in event.results if event.sql != "return" else ():
                for place, name in enumerate(result.columns):
                    for column in self._owners(name, event.sql):
                        for row in result.rows:
                            self._note(column, row[place])

    def _note(self, column: Column, value: Value) -> None:
        if not isinstance(value, str) or (column, value) in self._all.in_setup or not (way := _one_way(value)):
            return
        if _UUID.fullmatch(value):
            # What hashing a name gives is no chance: versions 3, 5 and 8.
            made = uuid.UUID(way).version in (1, 4, 6, 7) if "-" in value else not self._setting(column)
            if made and way not in self._all.constant:
                self._chance.setdefault(way, column)
        elif self._is_of_clock(column, value):
            self._times.setdefault(way, column)

    def _owners(self, column: str, sql: str) -> list[Column]:
        """The columns from which a result's column of that name may come."""
        owners = [of for of in sorted(self._all.filled_in) if column == of[1]]
        owners += [
            there for (_, here), there in self._all.references if here == column and there in self._all.filled_in
        ]
        return [of for of in owners if re.search(rf"(?i)\b{re.escape(of[0])}\b", sql)] or owners

    def _is_of_clock(self, column: Column, value: str) -> bool:
        """Whether the column's default says so, or a statement that sets it to a clock's time, and to no other."""
        clock, setting = self._all.filled_in[column], self._setting(column)
        if clock is None or (setting and self._is_reckoned(column, value)):
            return False
        if clock.could_say(value):
            return True
        said = {_one_way(found) for one in self._statements for found in _TIME.findall(one)}
        return any(map(_CLOCK_WORD.search, setting)) and _one_way(value) not in said

    def _is_reckoned(self, column: Column, value: str) -> bool:
        """Whether it is whole seconds from what the setup's rows hold: an end put off, say."""
        fraction = (_one_way(value) or "").partition(".")[2].partition("+")[0]
        there = {(_one_way(str(held)) or "").partition(".")[2].partition("+")[0]
                 for of, held in self._all.in_setup if of == column}  # fmt: skip
        return bool(fraction) and fraction in there

    def _setting(self, column: Column) -> list[str]:
        """Statements that name it where they write."""
        return [one for one in self._statements if re.search(rf"(?i)\b{re.escape(column[1])}\b", one)]

    def _id(self, value: object) -> _Id | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        for one in self._all.sequences:
            if one.first < value <= self._transcript.handed_out.get(one.name, 0):
                return _Id(one.name, value, one.column)
        return None

    def _cell(self, value: Value, own: Column | None = None) -> _Cell:
        if isinstance(value, str):
            parts = list(self._pieces(value))
            if parts == [value] and own is not None and own in self._all.filled_in and self._is_filled_in(own, value):
                return _of(own)
            return parts[0] if len(parts) == 1 else tuple(parts)
        if own is not None and own in self._all.filled_in and value is not None and self._is_filled_in(own, value):
            return _of(own)
        return self._id(value) or value

    def _is_filled_in(self, column: Column, value: Value) -> bool:
        """Whether a value that is neither a time nor a UUID is what the default has said."""
        if isinstance(value, str) and (_one_way(value) or re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
            return False
        return (column, value) not in self._all.in_setup and not self._setting(column)

    def _pieces(self, text: str) -> Iterator[str | _Id]:
        """What a text is made of."""
        last = 0
        for found in _SURROGATE.finditer(text):
            piece = self._piece(found[0])
            if piece is not None:
                if found.start() > last:
                    yield text[last : found.start()]
                yield piece
                last = found.end()
        if last < len(text) or not text:
            yield text[last:]

    def _piece(self, text: str) -> str | _Id | None:
        if text.isdigit() and (found := self._id(int(text))):
            return found
        way = _one_way(text) or ""
        if way in self._chance:
            column = self._chance[way]
            return _Id(".".join(column), way, column)
        return _of(self._times[way]) if way in self._times else None

    def _read(self, name: str, table: Table) -> tuple[tuple[str, ...], list[tuple[_Cell, ...]]]:
        kept = [place for place, column in enumerate(table.columns) if (name, column) not in self._all.ignored]
        columns = tuple(table.columns[place] for place in kept)
        rows = [tuple(self._cell(row[place], (name, table.columns[place])) for place in kept) for row in table.rows]
        return columns, rows

    # -- their names

    def _refined(self) -> dict[_Id, int]:
        """Those that are mentioned beside their own rows, each with a number of its own, as it is used."""
        things: list[tuple[Any, Any, set[_Id]]] = [
            (name, row, within)
            for name, (_, rows) in self._tables.items() for row in rows if (within := set(_ids_in(row)))
        ]  # fmt: skip
        for session, place, value in self._told:
            shape = _shape(value, self._in_leaf)
            if within := set(_ids_in(shape)):
                things.append(((session, place), shape, within))
        mentions = Counter(one for _, thing, _ in things for one in _ids_in(thing))
        ids = [one for one, times in mentions.items() if times > 1 or one not in self._rows]
        colours = _ranked({one: one.kind for one in ids})
        while True:
            colours = _stable(colours, things)
            alike = Counter(colours.values())
            several = [one for one in ids if alike[colours[one]] > 1]
            if not several:
                return colours
            # Whichever is taken, equal names mean equal outcomes.
            least = min(colours[one] for one in several)
            same = [one for one in several if colours[one] == least]
            beside = {one for _, _, within in things if not within.isdisjoint(same) for one in within & colours.keys()}
            meet = any(len(within.intersection(same)) > 1 for _, _, within in things)
            free = not meet and all(alike[colours[one]] == 1 for one in beside.difference(same))
            # Where no two of them meet, nor any others that are alike, all can be numbered at once.
            for place, one in enumerate(same if free else same[:1]):
                colours[one] = len(ids) + place

    def _in_leaf(self, leaf: Leaf) -> _Cell:
        value = leaf.value
        if isinstance(value, uuid.UUID | datetime.datetime):
            return self._cell(str(value))
        if isinstance(value, bytes):
            return self._cell(value.decode("latin-1"))
        return self._cell(value) if isinstance(value, str) or type(value) is int else value

    def _content(self, one: _Id, seen: tuple[str, ...]) -> str:
        """The row that it represents, without its own ids and times."""
        if one not in self._rows or seen.count(_place(one)) > 1:
            return f"of {'.'.join(one.column) if one.column and one in self._rows else one.kind}" if (
                one.column is None or one in self._rows
            ) else "gone"  # fmt: skip
        name, place = self._rows[one]
        columns, rows = self._tables[name]
        shown = [
            (column, self._word(cell, (*seen, name)))
            for column, cell in zip(columns, rows[place], strict=True) if not self._is_own(name, column, cell)
        ]  # fmt: skip
        return f"({Table(tuple(c for c, _ in shown), (tuple(v for _, v in shown),)).text()})"

    def _is_own(self, name: str, column: str, cell: _Cell) -> bool:
        return cell == _of((name, column)) or (
            isinstance(cell, _Id) and cell.column == (name, column) and cell in self._rows
        )

    def _word(self, cell: _Cell, seen: tuple[str, ...]) -> Value:
        if isinstance(cell, _Id):
            return self._content(cell, seen)
        if isinstance(cell, tuple):
            return "".join(str(self._word(one, seen)) for one in cell)
        value: Value = cell
        return value

    def _named(self, cell: _Cell) -> Value:
        """In a table: by the row alone where that says it."""
        if isinstance(cell, tuple):
            return "".join(str(self._named(one)) for one in cell)
        if not isinstance(cell, _Id):
            value: Value = cell
            return value
        base, place = self._base[cell], _place(cell)
        where = f"{place} " if self._places[base] > 1 or base == "gone" else ""
        number = f" #{self._numbers[cell]}" if len(self._alike[place, base]) > 1 else ""
        return f"{where}{base}{number}"

    def _full(self, one: _Id) -> str:
        """In what functions say."""
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
                _of((name, column)) if self._is_own(name, column, cell) else self._named(cell)
                for column, cell in zip(columns, row, strict=True)
            )
            if any(isinstance(cell, _Id | _Time | tuple) for cell in row) else row
            for row in rows
        ]  # fmt: skip
        linked = self._linked(name, bare)
        shown = [
            tuple(
                self._full(cell) if column in linked and isinstance(cell, _Id) and cell in self._numbers else value
                for column, cell, value in zip(columns, row, values, strict=True)
            )
            for row, values in zip(rows, bare, strict=True)
        ]
        of_no_interest = [
            rows != [] and all(row[place] == _of((name, column)) for row in shown)
            for place, column in enumerate(columns)
        ]
        kept = [place for place, dropped in enumerate(of_no_interest) if not dropped]
        final = [tuple(row[place] for place in kept) for row in shown]
        return Table(tuple(columns[place] for place in kept), tuple(sorted(final, key=repr)))

    def _linked(self, name: str, bare: list[tuple[Value, ...]]) -> set[str]:
        """The columns whose ids have to be said, as their names do not say which rows they are of."""
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
        if event.sql != "return":
            # What a function was told may be in what it asks next; UUIDs and times are others in each run.
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
        cell = self._cell(text)
        parts = cell if isinstance(cell, tuple) else (cell,)
        return "".join(self._full(one) if isinstance(one, _Id) else one for one in parts)

    def _said(self, value: Value | Told) -> Value | Told:
        return value if value is None or isinstance(value, int | str) else replaced(value, self._leaf)

    def _leaf(self, leaf: Leaf) -> Leaf:
        cell = self._in_leaf(leaf)
        parts = cell if isinstance(cell, tuple) else (cell,)
        if not any(isinstance(one, _Id | _Time) for one in parts):
            return leaf
        text = "".join(self._full(one) if isinstance(one, _Id) else one for one in parts)
        if isinstance(leaf.value, bytes):
            return Leaf(leaf.kind, text.encode(), repr(text.encode()))
        if isinstance(leaf.value, str):
            return Leaf(leaf.kind, text, repr(text))
        return Leaf("row", text, text)

    def _in_result(self, value: Value) -> Value:
        return self._in_sql(value) if isinstance(value, str) else value

    def _in_sql(self, sql: str) -> str:
        def name(found: re.Match[str]) -> str:
            piece = self._piece(found[0])
            if isinstance(piece, _Id):
                base = self._base.get(piece) or self._content(piece, ())
                return f"<{_place(piece)} {base}>" if not base.startswith("of ") else f"<{base}>"
            return piece or found[0]

        for pattern in (_UUID, _TIME):
            sql = pattern.sub(name, sql)
        return sql


class _Time(str):
    """Stands for a time, or what else says nothing but where it comes from: one reading is as good as another."""


def _of(column: Column) -> _Time:
    return _Time(f"<{'.'.join(column)}>")


def _place(one: _Id) -> str:
    return one.column[0] if one.column else one.kind


def _ids_in(thing: Any) -> Iterator[_Id]:
    if isinstance(thing, _Id):
        yield thing
    elif isinstance(thing, tuple | frozenset | list):
        for one in thing:
            yield from _ids_in(one)


def _shape(value: Any, leaf: Callable[[Leaf], _Cell]) -> Any:
    """What was said, as tuples; a list for what has no order."""
    if isinstance(value, Leaf):
        return (value.kind, leaf(value))
    if value is None or isinstance(value, int | str):
        return value
    parts = [_shape(one, leaf) for one in value.in_order()]
    return (value.kind, parts if isinstance(value.parts, frozenset) else tuple(parts))


def _seen(thing: Any, colours: Mapping[_Id, int], me: _Id) -> Any:
    """The same, as it looks from one of the ids in it."""
    if isinstance(thing, _Id):
        return "me" if thing == me else f"id {colours[thing]}" if thing in colours else f"some {thing.kind}"
    if isinstance(thing, tuple):
        return tuple(_seen(one, colours, me) for one in thing)
    if isinstance(thing, list):
        return sorted((_seen(one, colours, me) for one in thing), key=repr)
    return repr(thing)


def _ranked(seen: Mapping[_Id, Any]) -> dict[_Id, int]:
    places = {text: place for place, text in enumerate(sorted({repr(one) for one in seen.values()}))}
    return {one: places[repr(what)] for one, what in seen.items()}


def _stable(colours: dict[_Id, int], things: list[tuple[Any, Any, set[_Id]]]) -> dict[_Id, int]:
    """Colours that tell apart what is seen in other surroundings."""
    while True:
        surroundings: dict[_Id, list[str]] = {one: [] for one in colours}
        for label, thing, within in things:
            for one in within & colours.keys():
                surroundings[one].append(repr((label, _seen(thing, colours, one))))
        new = _ranked({one: (f"{colours[one]:06}", sorted(seen)) for one, seen in surroundings.items()})
        if len(set(new.values())) == len(set(colours.values())):
            return new
        colours = new


def _time(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def _one_way(text: str) -> str | None:
    """A UUID or a time in one way of writing it, in UTC; None for what is neither."""
    if _UUID.fullmatch(text):
        return text.replace("-", "").lower()
    time = _time(text)
    return None if time is None else (time.astimezone(datetime.UTC) if time.tzinfo else time).isoformat()


def _but(row: tuple[Value, ...], columns: tuple[str, ...], names: set[str]) -> tuple[Value, ...]:
    return tuple(value for column, value in zip(columns, row, strict=True) if column not in names)
