"""Sets sequences far apart, so that an id identifies the sequence that generated it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zephyr_lab.schedule.transcript import Result

FIRST, APART = 7_000_000, 1_000_000  # where sequences continue, and how many numbers each has for itself
SMALL, SMALL_APART = 20_000, 1_000  # of smallint
MOST_BANDS = 3_000  # ranges to try; a sequence that finds none is left alone, and its ids are compared as they are

# Ascending sequences.
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
# The numbers of five digits or more in a table, its texts included, in thousands.
_NUMBERS_IN = """
select distinct div(found[1]::numeric, 1000)::text
from {table} as t, lateral regexp_matches(t::text, '[0-9]{{5,18}}', 'g') as found"""

Column = tuple[str, str]  # table, column


@dataclass(frozen=True)
class Sequence:
    """The numbers from `first` on are those of `column`; None if the sequence fills in no column."""

    name: str
    first: int
    column: Column | None
    quoted: str = ""  # its name in SQL


def spread(
    execute: Callable[[str], list[Result]],
    here: str,
    before: Iterable[Sequence] = (),
    other: Callable[[], Iterable[str]] = tuple,
) -> tuple[Sequence, ...]:
    """Makes each sequence `here` (as of `remains.here`) continue in a range of its own, and returns the ranges.

    A sequence of `before` keeps its range; others get one far from all numbers in tables and in `other` texts, which
    are read only if needed.
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
    """All numbers of five digits or more in tables and texts, in thousands."""
    tables = [str(table) for (table,) in execute(_TABLES.format(here=here))[0].rows]
    results = execute("; ".join(_NUMBERS_IN.format(table=table) for table in tables)) if tables else []
    said = {int(number) // 1000 for text in other() for number in re.findall(r"\d{5,18}", text)}
    return said | {int(str(row[0])) for one in results for row in one.rows}


def _band(taken: set[int], last: int, most: int) -> int | None:
    """Where a sequence can continue; adds its numbers to `taken`."""
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
