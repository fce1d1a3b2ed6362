"""The way back to what a spec's setup has made, quicker than making it again.

A schema made anew costs milliseconds, and the steps of a schedule hardly more than one. Where steps can have changed
rows only, the rows are put back instead: the same rows in the same order, in tables and indexes of the same size, by
statistics that have not moved. Whatever is not as it was is made anew.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from zephyr_lab.errors import SetupFailed
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.transcript import Result, Value

Execute = Callable[[str], list[Result]]

# Rows that are put back lie behind the dead ones of earlier runs, in their order, as do their later versions: as long
# as the server does not prune the page, which it does when nine tenths are full, and then fills the gaps.
ONE_PAGE, BEFORE_PRUNING, LINE_POINTER = 8192, 5800, 8  # bytes; a run has the rest for versions of its own

# Words that could change more than rows, in whatever place: a false alarm costs time only.
_MORE_THAN_ROWS = re.compile(
    r"(?i)\b(create|alter|drop|truncate|grant|revoke|comment|vacuum|analyze|cluster|reindex|refresh|prepare|copy|do|call"
    r"|execute|import|security|label|reassign|lo_\w+|setval|notify|listen|pg_switch_wal|pg_stat_\w+"
    r"|ctid|xmin|xmax|txid_\w+|pg_current_\w+)\b|\bpublic\s*\.|(?<!insert )(?<!merge )\binto\b"
)
_ELSEWHERE = re.compile(r"(?i)\bpublic\s*\.|\bcreate\s+schema\b|\bsearch_path\b")
_CHANCE = re.compile(r"(?i)now|_timestamp|current_|local_?time|timeofday|random|uuid")
_ONLY_DROPS = re.compile(r"(?i)\s*(drop\s+(table|function|view|sequence|type|domain)\b[^;.]*;?\s*)*")
# A function's plan may come from an earlier run; one that touches no table has none that matters.
_TOUCHES_TABLES = r"\m(from|into|update|delete|insert|merge|execute|create|alter|drop|truncate|table|lock|perform)\M"

_TABLES = """
select relname, format('%I', relname) from pg_class
where relnamespace = current_schema::regnamespace and relkind in ('r', 'p') and not relispartition
order by relname collate "C" """

_OTHER_THAN_TABLES = rf"""
select (select count(*) from pg_class where relnamespace = current_schema::regnamespace
        and (relkind not in ('r', 'i', 'S', 'v', 'c') or relispartition or relhassubclass or relpersistence <> 'p'
             or reloptions is not null))
     + (select count(*) from pg_proc where pronamespace = current_schema::regnamespace
        and (prosqlbody is not null or prosrc ~* '{_TOUCHES_TABLES}'))"""

_SIZES = """
select format('pg_relation_size(%s) + pg_indexes_size(%s)', oid, oid), pg_relation_size(oid),
       format('(select coalesce(max((ctid::text::point)[1]::int), 0) from %I)', relname),
       format('select coalesce(max(pg_column_size(t)), 0) from %I as t', relname)
from pg_class where relnamespace = current_schema::regnamespace and relkind = 'r' order by oid"""

# Empty, and never analysed: as TRUNCATE leaves a table. Its indexes would keep their pages if rows were deleted only.
_EMPTY = """
select format('%I', relname) from pg_class where relnamespace = current_schema::regnamespace and relkind = 'r'
and pg_relation_size(oid) = 0 and (reltuples < 0 or current_setting('server_version_num')::int < 140000)
order by relname collate "C" """

_LARGE = f"""
select coalesce(sum(pg_relation_size(oid)), 0) > {64 * ONE_PAGE}
from pg_class where relnamespace = current_schema::regnamespace and relkind = 'r'"""

_COLUMNS = """
select string_agg(format('%I', attname), ', ' order by attnum),
       string_agg(format('quote_nullable(%I::text)', attname), ', ' order by attnum)
from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''"""

_SEQUENCES = """
select format('%I', relname) from pg_class where relnamespace = current_schema::regnamespace and relkind = 'S'"""


def may_change_more_than_rows(sql: str) -> bool:
    """Whether a word in `sql` could mean that."""
    return bool(_MORE_THAN_ROWS.search(sql))


@lru_cache
def changes_rows_only(spec: Spec) -> bool:
    """Whether no step of `spec` can leave anything but other rows behind, and its teardown would drop all."""
    messages = [step.sql for step in spec.steps.values()]
    messages += [session.setup for session in spec.sessions if session.setup]
    return (
        not any(map(may_change_more_than_rows, messages))
        and not any(map(_ELSEWHERE.search, spec.setups))
        and not any(session.teardown for session in spec.sessions)
        and bool(_ONLY_DROPS.fullmatch(spec.teardown or ""))
    )


@dataclass(frozen=True)
class Ground:
    """The tables of a schema (name and quoted name), and SQL that puts their rows back.

    The last result but one of `undo` tells, by table, the size of heap and indexes, and the line pointer of the last
    row. The sizes must be `sizes`, and the line pointers at most `room`.
    """

    tables: tuple[tuple[str, str], ...]
    undo: str
    sizes: tuple[Value, ...]
    room: tuple[int, ...]

    def is_as_new(self, results: Sequence[Result]) -> bool:
        """Whether rows that come next will lie as in tables made anew, by the results of `undo`."""
        told = results[-2].rows[0]
        pointers = [int(pointer or 0) for pointer in told[1::2]]
        return told[::2] == self.sizes and all(map(operator.le, pointers, self.room))


def tables_of(execute: Execute) -> tuple[tuple[str, str], ...]:
    """Name and quoted name of every table of the current schema; a partitioned table is one table."""
    return tuple((str(name), str(quoted)) for name, quoted in execute(_TABLES)[0].rows)


def survey(execute: Execute) -> Ground | None:
    """How to come back to the present rows of the schema; None where it holds more than small plain tables."""
    others, found = execute(f"{_OTHER_THAN_TABLES}; {_SIZES}")
    if others.rows != ((0,),) or not found.rows or any(int(heap or 0) > ONE_PAGE for _, heap, _, _ in found.rows):
        return None
    tables = tables_of(execute)
    ask = "select " + ", ".join(f"{size}, {pointer}" for size, _, pointer, _ in found.rows)
    widths = [int(result.rows[0][0] or 0) for result in execute("; ".join(str(sql) for *_, sql in found.rows))]
    # Replica: no trigger fires and no foreign key is checked meanwhile.
    undo = ["begin", "set local session_replication_role = replica", *_undo(tables, execute), ask, "commit"]
    ground = Ground(
        tables, "; ".join(undo), sizes=execute(ask)[0].rows[0][::2],
        room=tuple(BEFORE_PRUNING // (width + LINE_POINTER) for width in widths),
    )  # fmt: skip
    return ground if _can_be_undone(ground, execute) else None


def contents(execute: Execute) -> tuple[str, ...]:
    """SQL that puts the present rows into the schema's tables, whatever is in them; nothing where they are large."""
    if execute(_LARGE)[0].rows != ((False,),):
        return ()
    return ("set local session_replication_role = replica", *_undo(tables_of(execute), execute))


def may_differ(setups: Iterable[str]) -> bool:
    """Whether a clock or chance may fill in other values when they are run again."""
    return any(map(_CHANCE.search, setups))


def _can_be_undone(ground: Ground, execute: Execute) -> bool:
    """Tries it once: old rows may break a constraint, triggers may always fire, text may not give a value back."""
    reads = "; ".join(f"select t.*, t::text from {quoted} as t order by ctid" for _, quoted in ground.tables)
    before = execute(reads)
    try:
        results = execute(ground.undo)
    except SetupFailed:
        execute("rollback")
        return False
    return ground.is_as_new(results) and execute(reads) == before


def _undo(tables: Iterable[tuple[str, str]], execute: Execute) -> Iterator[str]:
    empty = [str(table) for (table,) in execute(_EMPTY)[0].rows]
    if empty:
        grown = " or ".join(f"pg_relation_size($name${table}$name$) > 0" for table in empty)
        yield f"do $undo$ begin if {grown} then truncate {', '.join(empty)}; end if; end $undo$"
    for table in (quoted for _, quoted in tables if quoted not in empty):
        yield f"delete from {table}"
        columns, quoted = execute(_COLUMNS.format(table=table.replace("'", "''")))[0].rows[0]
        rows = execute(f"select concat_ws(', ', {quoted}) from {table} order by ctid")[0].rows if columns else ()
        if rows:
            values = ", ".join(f"({row})" for (row,) in rows)
            yield f"insert into {table} ({columns}) overriding system value values {values}"
    for (sequence,) in execute(_SEQUENCES)[0].rows:
        last, called = execute(f"select last_value, is_called from {sequence}")[0].rows[0]
        yield f"select setval('{sequence}', {last}, {called})"
