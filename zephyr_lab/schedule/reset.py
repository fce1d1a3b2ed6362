"""Restores the rows after a spec's setup, faster than recreating the schema.

Recreating a schema costs milliseconds, and the steps of a schedule hardly more than one. If steps can have changed
rows only, the rows are restored instead: the same rows in the same order, in tables and indexes of the same size, with
unchanged statistics. If anything else has changed, the schema is recreated.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from zephyr_lab.errors import SetupFailed
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.transcript import Result, Value
from zephyr_lab.sql.classify import Kind, classify
from zephyr_lab.sql.tokens import Token, UnclearSQL, called, names, tokens

Execute = Callable[[str], list[Result]]

# Restored rows and their later versions lie behind the dead ones of earlier runs, in order, until the server prunes
# the page, which it does when nine tenths are full, and then fills the gaps.
ONE_PAGE, BEFORE_PRUNING, LINE_POINTER = 8192, 5800, 8  # bytes; the rest is for a run's own versions

# Other statements could change more than rows.
_ROW_STATEMENTS = set(Kind) - {
    Kind.UNKNOWN, Kind.PREPARE_TRANSACTION, Kind.COMMIT_PREPARED, Kind.ROLLBACK_PREPARED, Kind.LISTEN, Kind.NOTIFY,
}  # fmt: skip
# Names before a parenthesis: keywords, and functions that change rows at most. Any other counts as changing more.
_HARMLESS = names(
    # grammar
    "values in exists any all some as and or not on where select from when then case else using row having union",
    "intersect except distinct lateral array returning with recursive between like ilike over filter within group by",
    "partition order conflict set join limit offset materialized cast coalesce nullif greatest least",
    # aggregates and windows
    "count sum avg min max bool_and bool_or every bit_and bit_or string_agg array_agg json_agg jsonb_agg",
    "json_object_agg jsonb_object_agg any_value row_number",
    "rank dense_rank lag lead ntile first_value last_value nth_value",
    # of numbers, text, time, ranges, arrays, documents
    "abs ceil ceiling floor round trunc mod power sqrt sign int2 int4 int8 float4 float8 numeric decimal varchar char",
    "upper lower length char_length trim btrim ltrim rtrim substr substring position overlay replace concat concat_ws",
    "format left right lpad rpad repeat reverse split_part strpos starts_with ascii chr md5 hashtext to_char to_number",
    "date time timestamp timestamptz interval date_trunc date_part extract age make_date make_time make_timestamp",
    "make_interval to_date to_timestamp now clock_timestamp statement_timestamp transaction_timestamp",
    "int4range int8range numrange tsrange tstzrange daterange isempty lower_inc upper_inc",
    "generate_series unnest cardinality array_length array_append array_prepend array_cat array_remove array_position",
    "array_to_string string_to_array to_json to_jsonb row_to_json json_build_object jsonb_build_object",
    "json_build_array jsonb_build_array jsonb_set random gen_random_uuid uuidv4 uuidv7",
    # effects that a session's end or the reset reverts
    "nextval currval lastval set_config current_setting pg_sleep pg_backend_pid",
    "pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_shared pg_advisory_unlock_all",
    "pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared",
)
# Visible or changeable, but not restored with the rows: ctid, transaction ids, catalogues, statistics, large objects.
_BEYOND_ROWS = re.compile(r"ctid|xmin|xmax|cmin|cmax|tableoid|setval|(pg|lo|txid)_.*|lo(read|write)")
_ELSEWHERE = re.compile(r"(?i)\bpublic\s*\.|\bcreate\s+schema\b|\bsearch_path\b")
_CHANCE = re.compile(r"(?i)now|_timestamp|current_|local_?time|timeofday|random|uuid")
_ONLY_DROPS = re.compile(r"(?i)\s*(drop\s+(table|function|view|sequence|type|domain)\b[^;.]*;?\s*)*")
# A function's plan may come from an earlier run; that of one without tables does not matter.
_TOUCHES_TABLES = (
    r"\m(from|into|update|delete|insert|merge|execute|create|alter|drop|truncate|table|lock|perform|call|copy|do|setval"
    r"|notify|listen|analyze|vacuum|comment|grant|revoke|refresh|reindex|cluster|security|import|(pg|lo|txid)_\w+)\M"
)

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
       string_agg(format('quote_nullable(%I::text) || %L', attname, '::' || format_type(atttypid, atttypmod)), ', '
                  order by attnum)
from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''"""

# A digest of rows in physical order. If it is unchanged they are not restored, which would use up space.
_SAME = "select coalesce(md5(string_agg(t::text, e'\\n' order by ctid)), '') from {table} as t"

_SEQUENCES = """
select format('%I', relname) from pg_class where relnamespace = current_schema::regnamespace and relkind = 'S'"""


@lru_cache(maxsize=1_024)
def may_change_more_than_rows(sql: str, own: frozenset[str] = frozenset()) -> bool:
    """Whether a message could change or see more than rows; what is not understood could.

    `own` names functions that the setups create; the survey asks the server what they do.
    """
    return any(one.kind not in _ROW_STATEMENTS or _more_than_rows(one.tokens, own) for one in classify(sql))


def _more_than_rows(statement: Sequence[Token], own: frozenset[str]) -> bool:
    words = [token.name for token in statement]
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        into = word == "into" and before not in ("insert", "merge")
        public = word == "public" and statement[place + 1 : place + 2] and statement[place + 1].text == "."
        seen = word not in _HARMLESS and word != "pg_catalog" and _BEYOND_ROWS.fullmatch(word)
        if into or public or seen:
            return True
    # A name after `into` or `as` is a table with its columns, one after a colon a type.
    return any(
        name not in _HARMLESS and name not in own and before.lower() not in ("into", "as", "with", ":")
        for name, before in called(statement)
    )


@lru_cache
def functions_of(setups: tuple[str, ...]) -> frozenset[str]:
    """Names of the functions that setups create."""
    try:
        words = [token.name for sql in setups for token in tokens(sql)]
    except UnclearSQL:
        return frozenset()
    return frozenset(name for before, name in itertools.pairwise(words) if before in ("function", "procedure"))


@lru_cache
def changes_rows_only(spec: Spec) -> bool:
    """Whether no step of `spec` can change more than rows, and its teardown drops everything."""
    messages = [step.sql for step in spec.steps.values()]
    messages += [session.setup for session in spec.sessions if session.setup]
    return (
        not any(may_change_more_than_rows(sql, functions_of(spec.setups)) for sql in messages)
        and not any(map(_ELSEWHERE.search, spec.setups))
        and not any(session.teardown for session in spec.sessions)
        and bool(_ONLY_DROPS.fullmatch(spec.teardown or ""))
    )


@dataclass(frozen=True)
class RowReset:
    """The tables of a schema (name and quoted name), and SQL that restores their rows.

    The second to last result of `undo` has, by table, the size of heap and indexes, and the line pointer of the last
    row. The sizes must be `sizes`, and the line pointers at most `room`.
    """

    tables: tuple[tuple[str, str], ...]
    undo: str
    sizes: tuple[Value, ...]
    room: tuple[int, ...]

    def is_as_new(self, results: Sequence[Result]) -> bool:
        """Whether further rows will be placed as in new tables, by the results of `undo`."""
        told = results[-2].rows[0]
        pointers = [int(pointer or 0) for pointer in told[1::2]]
        return told[::2] == self.sizes and all(map(operator.le, pointers, self.room))


def tables_of(execute: Execute) -> tuple[tuple[str, str], ...]:
    """Name and quoted name of every table of the current schema; a partitioned table is one table."""
    return tuple((str(name), str(quoted)) for name, quoted in execute(_TABLES)[0].rows)


def survey(execute: Execute) -> RowReset | None:
    """How to restore the present rows of the schema; None if it holds more than small plain tables."""
    others, found = execute(f"{_OTHER_THAN_TABLES}; {_SIZES}")
    if others.rows != ((0,),) or not found.rows or any(int(heap or 0) > ONE_PAGE for _, heap, _, _ in found.rows):
        return None
    tables = tables_of(execute)
    ask = "select " + ", ".join(f"{size}, {pointer}" for size, _, pointer, _ in found.rows)
    widths = [int(result.rows[0][0] or 0) for result in execute("; ".join(str(sql) for *_, sql in found.rows))]
    # As a replica, no trigger fires and no foreign key is checked.
    undo = ["begin", "set local session_replication_role = replica", *_undo(tables, execute), ask, "commit"]
    reset = RowReset(
        tables,
        "; ".join(undo),
        sizes=execute(ask)[0].rows[0][::2],
        room=tuple(BEFORE_PRUNING // (width + LINE_POINTER) for width in widths),
    )
    return reset if _can_be_undone(reset, execute) else None


def contents(execute: Execute) -> tuple[str, ...]:
    """SQL that restores the present rows of the schema's tables, whatever is in them; nothing if they are large."""
    if execute(_LARGE)[0].rows != ((False,),):
        return ()
    return ("set local session_replication_role = replica", *_undo(tables_of(execute), execute))


def may_differ(setups: Iterable[str]) -> bool:
    """Whether a clock or chance may fill in other values when the setups run again."""
    return any(map(_CHANCE.search, setups))


def _can_be_undone(reset: RowReset, execute: Execute) -> bool:
    """Tries it: old rows may violate a constraint, a trigger may always fire, a value may change in its text form."""
    reads = "; ".join(f"select t.*, t::text from {quoted} as t order by ctid" for _, quoted in reset.tables)
    before = execute(reads)
    try:
        results = execute(reset.undo)
    except SetupFailed:
        execute("rollback")
        return False
    return reset.is_as_new(results) and execute(reads) == before


def _undo(tables: Iterable[tuple[str, str]], execute: Execute) -> Iterator[str]:
    empty = [str(table) for (table,) in execute(_EMPTY)[0].rows]
    if empty:
        grown = " or ".join(f"pg_relation_size($name${table}$name$) > 0" for table in empty)
        yield f"do $undo$ begin if {grown} then truncate {', '.join(empty)}; end if; end $undo$"
    for table in (quoted for _, quoted in tables if quoted not in empty):
        same = _SAME.format(table=table)
        yield f"delete from {table} where ({same}) <> '{execute(same)[0].rows[0][0]}'"
        columns, quoted = execute(_COLUMNS.format(table=table.replace("'", "''")))[0].rows[0]
        rows = execute(f"select concat_ws(', ', {quoted}) from {table} order by ctid")[0].rows if columns else ()
        if rows:
            values = ", ".join(f"({row})" for (row,) in rows)
            put = f"insert into {table} ({columns}) overriding system value select * from (values {values}) as kept"
            yield f"{put} where not exists (select from {table})"
    for (sequence,) in execute(_SEQUENCES)[0].rows:
        last, called = execute(f"select last_value, is_called from {sequence}")[0].rows[0]
        yield f"select setval('{sequence}', {last}, {called})"
