"""The schema that a spec has set up, from the catalogue, as far as it decides what a statement touches."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from zephyr_lab.schedule.transcript import Result

# Objects of the schema whose expressions, operators and orderings check rows, fill them in and find them.
_OURS = "current_schema::regnamespace"
_MADE_OF = f"""
(select 'pg_attrdef'::regclass as classid, pg_attrdef.oid as objid from pg_attrdef
 join pg_class on pg_class.oid = adrelid where relnamespace = {_OURS}
 union all select 'pg_constraint'::regclass, oid from pg_constraint where connamespace = {_OURS}
 union all select 'pg_class'::regclass, oid from pg_class where relnamespace = {_OURS} and relkind = 'i')"""

_FACTS = f"""
select relname, '' from pg_class where relnamespace = {_OURS} and relkind = 'r'
and not exists (select from pg_class as before where before.relname = pg_class.relname
                and before.relnamespace = 'pg_catalog'::regnamespace);

select (select count(*) from pg_class where relnamespace = {_OURS}
        and (relkind not in ('r', 'i', 'S', 'c', 'v') or relispartition or relhassubclass or relrowsecurity
             or relkind = 'r' and relam <> (select oid from pg_am where amname = 'heap')))
     + (select count(*) from pg_trigger join pg_class on pg_class.oid = tgrelid
        where relnamespace = {_OURS} and not tgisinternal and (tgdeferrable or relkind <> 'r'))
     + (select count(*) from pg_rewrite join pg_class on pg_class.oid = ev_class
        where relnamespace = {_OURS} and relkind <> 'v')
     + (select count(*) from pg_constraint where connamespace = {_OURS} and condeferrable)
     + (select count(*) from pg_constraint join pg_class as child on child.oid = conrelid
        join pg_class as parent on parent.oid = confrelid
        where contype = 'f' and child.relnamespace <> parent.relnamespace
          and {_OURS} in (child.relnamespace, parent.relnamespace))
     + (select count(*) from pg_operator where oprnamespace = {_OURS})
     + (select count(*) from pg_type where typnamespace = {_OURS}
        and (typtype not in ('b', 'c', 'e') or typtype = 'b' and typelem = 0))
     + (select count(*) from pg_attribute join pg_class on pg_class.oid = attrelid
        join pg_type on pg_type.oid = atttypid
        where relnamespace = {_OURS} and not attisdropped and typnamespace not in ('pg_catalog'::regnamespace, {_OURS}))
     + (select count(*) from pg_proc, unnest(coalesce(proallargtypes, proargtypes::oid[]) || prorettype) as used
        join pg_type on pg_type.oid = used
        where pronamespace = {_OURS} and typnamespace not in ('pg_catalog'::regnamespace, {_OURS}))
     + (select count(*) from pg_depend join {_MADE_OF} as made using (classid, objid)
        join pg_type on pg_type.oid = refobjid
        where refclassid = 'pg_type'::regclass and typnamespace not in ('pg_catalog'::regnamespace, {_OURS}))
     + (select count(*) from pg_cast join pg_proc on pg_proc.oid = castfunc
        where pronamespace <> 'pg_catalog'::regnamespace
          and not exists (select from pg_type where oid in (castsource, casttarget)
                          and typnamespace not in ('pg_catalog'::regnamespace, {_OURS})))
     + (select count(*) from pg_proc join pg_class on reltype = any(proargtypes)
        where pronamespace = {_OURS} and reltype <> 0)
     + (select count(*) from pg_depend join {_MADE_OF} as made using (classid, objid)
        where refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass,
                             'pg_opfamily'::regclass, 'pg_collation'::regclass, 'pg_am'::regclass) and deptype = 'n'
          and (refclassid <> 'pg_collation'::regclass or classid = 'pg_attrdef'::regclass))
     + (select count(*) from pg_settings where name = 'search_path' and setting is distinct from reset_val), '';

select child.relname, parent.relname from pg_constraint
join pg_class as child on child.oid = conrelid join pg_class as parent on parent.oid = confrelid
where contype = 'f' and {_OURS} in (child.relnamespace, parent.relnamespace)
union select parent.relname, child.relname from pg_constraint
join pg_class as child on child.oid = conrelid join pg_class as parent on parent.oid = confrelid
where contype = 'f' and 'd' in (confdeltype, confupdtype) and connamespace = {_OURS};

select count(*), '' from pg_constraint
where contype = 'f' and 'd' in (confdeltype, confupdtype) and connamespace = {_OURS};

select relname, attname from pg_index join pg_class on pg_class.oid = indrelid
join pg_attribute on attrelid = indrelid and attnum > 0
where relnamespace = {_OURS} and (indisunique or indisexclusion)
  and (attnum = any(indkey) or indexprs is not null or indpred is not null);

select relname, attname from pg_index join pg_class on pg_class.oid = indrelid
join pg_attribute on attrelid = indrelid and attnum > 0 and attnum = any(indkey)
where relnamespace = {_OURS} and indisunique and indnkeyatts = 1 and indkey[0] = attnum and indpred is null
  and indimmediate and indisvalid;

select relname, attname, case
  when atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then 'integer'
  when atttypid = 'numeric'::regtype then case when atttypmod > 0 then 'numeric' else 'unscaled' end
  when atttypid in ('text'::regtype, 'varchar'::regtype)
    and (select collisdeterministic from pg_collation where oid = attcollation) then 'text'
  when atttypid in ('bool'::regtype, 'date'::regtype, 'time'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype,
                    'uuid'::regtype) or typtype = 'e' then 'exact'
  else 'other' end
from pg_class join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
join pg_type on pg_type.oid = atttypid
where relnamespace = {_OURS} and relkind = 'r';

select relname, attname from pg_class join pg_attribute on attrelid = pg_class.oid and attnum > 0
where relnamespace = {_OURS} and attgenerated <> '';

select count(*), '' from pg_class where relnamespace = {_OURS} and relkind = 'S';

select relname, pg_get_expr(adbin, adrelid) from pg_attrdef join pg_class on pg_class.oid = adrelid
where relnamespace = {_OURS} and relkind = 'r';

select distinct relname, event from pg_trigger join pg_class on pg_class.oid = tgrelid
join (values (4, 'insert'), (8, 'delete'), (16, 'update')) as events(bit, event) on tgtype & bit <> 0
where relnamespace = {_OURS} and not tgisinternal;

select pg_get_expr(conbin, conrelid), '' from pg_constraint
where connamespace = {_OURS} and conbin is not null
union all select expression, '' from pg_index join pg_class on pg_class.oid = indrelid,
  lateral (values (pg_get_expr(indexprs, indrelid)), (pg_get_expr(indpred, indrelid))) as of(expression)
where relnamespace = {_OURS} and expression is not null;

select proname, case when count(*) = 1 and min(lanname) = 'sql' and min(pronargdefaults) = 0
                      and not bool_or(proconfig is not null) and min(prokind::text) = 'f'
                     then coalesce(min(prosrc), '') else '' end
from pg_proc join pg_language on pg_language.oid = prolang
where pronamespace = {_OURS} group by proname;

select proname, 'other' from pg_proc where pronamespace = 'pg_catalog'::regnamespace and oid >= 16384;

select version(), ''"""

# Three thousand rows created by initdb: the same on every server of the same version.
_BUILT_IN = """
select proname, case
  when bool_or(prokind in ('a', 'w')) then 'aggregate'
  when bool_and(provolatile = 'i' and prokind = 'f') and proname not like 'pg\\_%' then 'immutable'
  else 'other' end
from pg_proc where pronamespace = 'pg_catalog'::regnamespace and oid < 16384 group by proname;

select word, '' from pg_get_keywords() where catcode <> 'U'"""

Column = tuple[str, str]
_built_in: dict[tuple[str, ...], list[list[tuple[str, ...]]]] = {}  # results of _BUILT_IN by version


@dataclass(frozen=True)
class Schema:
    """`plain`: only ordinary tables, views, sequences and types, whose checks are built in.

    `columns` has the kind of each: "integer", "numeric" (of one scale), "unscaled" (a numeric of any), "text" and
    "exact" (equal values have equal text), or "other". `expressions` are those of checks and indexes;
    `defaults` have their table, and say what generated columns hold, too. `triggered`: tables, each with a kind of
    change that has triggers run. `own` are functions of the schema, with their bodies if these are one SQL text;
    `functions` those of PostgreSQL: "immutable", "aggregate" (or window), or "other".
    """

    tables: frozenset[str] = frozenset()
    plain: bool = True
    foreign_keys: frozenset[tuple[str, str]] = frozenset()  # child and parent
    sets_defaults: bool = False  # a foreign key may, when another table is changed
    unique: frozenset[Column] = frozenset()  # columns of unique keys
    keys: frozenset[Column] = frozenset()  # columns that are a unique key
    columns: dict[Column, str] = field(default_factory=dict)
    generated: frozenset[Column] = frozenset()
    sequences: bool = False
    expressions: tuple[str, ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    triggered: frozenset[tuple[str, str]] = frozenset()  # as (slots, update)
    own: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    keywords: frozenset[str] = frozenset()  # that cannot be a function's name

    @classmethod
    def ask(cls, execute: Callable[[str], list[Result]]) -> Schema:
        (
            tables, odd, foreign_keys, setting, unique, keys, columns, generated, sequences, defaults, triggered,
            expressions, own, added, version,
        ) = _pairs(execute(_FACTS))  # fmt: skip
        if version[0] not in _built_in:
            _built_in[version[0]] = _pairs(execute(_BUILT_IN))
        functions, words = _built_in[version[0]]
        return cls(
            tables=frozenset(name for name, _ in tables),
            plain=odd == [("0", "")],
            foreign_keys=frozenset((child, parent) for child, parent in foreign_keys),
            sets_defaults=setting != [("0", "")],
            unique=frozenset((table, column) for table, column in unique),
            keys=frozenset((table, column) for table, column in keys),
            columns={(table, column): kind for table, column, kind in columns},
            generated=frozenset((table, column) for table, column in generated),
            sequences=sequences != [("0", "")],
            expressions=tuple(text for text, _ in expressions),
            defaults=tuple((table, text) for table, text in defaults),
            triggered=frozenset((table, event) for table, event in triggered),
            own=dict(own),  # type: ignore[arg-type]
            functions=dict(functions + added),  # type: ignore[arg-type]
            keywords=frozenset(word for word, _ in words),
        )

    def hanging_on(self, table: str) -> set[str]:
        """Tables that a change of `table` may touch by foreign keys; itself only if they lead from it back to it."""
        down = {(parent, child) for child, parent in self.foreign_keys}
        back = _reached({child for parent, child in down if parent == table}, down) & {table}
        return _reached({table}, down | self.foreign_keys) - {table} | back


def _pairs(results: list[Result]) -> list[list[tuple[str, ...]]]:
    return [[tuple(map(str, row)) for row in result.rows] for result in results]


def _reached(found: set[str], steps: Set[tuple[str, str]]) -> set[str]:
    size = -1
    while len(found) > size:
        size = len(found)
        found = found | {after for before, after in steps if before in found}
    return found
