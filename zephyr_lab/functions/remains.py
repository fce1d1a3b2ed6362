"""What setups and functions create beside the schema's rows: compared, and removed before the next schedule.

On embedded servers these are the tables of all other schemas, such as `public`; on any server materialized views,
definitions (defaults, indexes, functions, privileges), and the positions of sequences if functions read them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from zephyr_lab.schedule.reset import may_change_more_than_rows
from zephyr_lab.schedule.transcript import Result, Table

Execute = Callable[[str], list[Result]]

POSITIONS, DEFINITIONS = "positions of sequences", "definitions"
_READS_POSITIONS = re.compile(r"(?i)\b(last_value|is_called|setval|pg_sequences|pg_sequence_last_value)\b")

# The schemas that count: the lab's, and on an embedded server all but the system's and those of other labs.
_HERE = """
here as materialized (
  select oid, nspname, nspacl, nspname = current_schema as own from pg_namespace
  where nspname = current_schema or ({ours} and nspname not like 'pg\\_%' and nspname <> 'information_schema'
    and nspname not like 'zephyr\\_lab\\_%'))"""

_OTHERS = """
with others as (
  select oid, nspname from pg_namespace where nspname not like 'pg\\_%' and nspname <> 'information_schema'
    and nspname not like 'zephyr\\_lab\\_%'),
of_extensions as (select objid from pg_depend where deptype = 'e')
select format('drop extension if exists %I cascade', extname) from pg_extension where extname <> 'plpgsql'
union all select format('drop %s if exists %I.%I cascade', case relkind when 'v' then 'view'
  when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table' else 'table' end,
  nspname, relname) from pg_class join others on others.oid = relnamespace
  where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and pg_class.oid not in (table of_extensions)
union all select format('drop routine if exists %s cascade', pg_proc.oid::regprocedure)
  from pg_proc join others on others.oid = pronamespace where pg_proc.oid not in (table of_extensions)
union all select format('drop type if exists %I.%I cascade', nspname, typname)
  from pg_type join others on others.oid = typnamespace
  where (typtype in ('e', 'd') or typtype = 'c' and typrelid in (select oid from pg_class where relkind = 'c'))
    and pg_type.oid not in (table of_extensions)
union all select format('drop schema if exists %I cascade', nspname) from others"""

_TABLES = """
with {here}
select case when own then relname else nspname || '.' || relname end, format('%I.%I', nspname, relname)
from pg_class join here on here.oid = relnamespace
where (relkind = 'm' or not own and relkind in ('r', 'p')) and relispopulated and not relispartition
order by nspname collate "C", relname collate "C" """

# Code that is not in the statements, such as a trigger, may do anything.
_HIDDEN = """
with {here} select exists (select from pg_proc join here on here.oid = pronamespace)
  or exists (select from pg_rewrite join pg_class on pg_class.oid = ev_class join here on here.oid = relnamespace
             where relkind in ('r', 'p'))"""

_SEQUENCES = """
with {here}
select case when own then relname else nspname || '.' || relname end, format('%I.%I', nspname, relname)
from pg_class join here on here.oid = relnamespace where relkind = 'S' order by nspname collate "C", relname collate "C"
"""

_DEFINITIONS = """
with {here},
classes as (select pg_class.*, pg_class.oid as id, case when own then '' else nspname || '.' end || relname as name
            from pg_class join here on here.oid = relnamespace where relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')),
routines as (select pg_proc.*, pg_proc.oid as id from pg_proc join here on here.oid = pronamespace),
lines (line) as (
  select concat_ws(' ', 'schema', case when own then 'of the lab' else nspname end, nspacl::text) from here
  union all select concat_ws(' ', case relkind when 'v' then 'view' when 'm' then 'materialized view'
      when 'S' then 'sequence' when 'c' then 'type' else 'table' end, name, array_to_string(reloptions, ', '),
      case when relpersistence <> 'p' then 'unlogged' end, case when relrowsecurity then 'row security' end,
      case when relforcerowsecurity then 'forced' end, relacl::text, pg_get_expr(relpartbound, id),
      case when relkind in ('v', 'm') then pg_get_viewdef(id) end, 'replica ' || nullif(relreplident::text, 'd'))
    from classes
  union all select concat_ws(' ', 'column', name || '.' || attname, format_type(atttypid, atttypmod),
      case when attnotnull then 'not null' end, 'default ' || pg_get_expr(adbin, adrelid),
      'identity ' || nullif(attidentity::text, ''), 'generated ' || nullif(attgenerated::text, ''), attacl::text,
      (select 'collate ' || collname from pg_collation where pg_collation.oid = attcollation and collname <> 'default'))
    from pg_attribute join classes on id = attrelid left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attnum > 0 and not attisdropped and relkind <> 'S'
  union all select concat_ws(' ', 'constraint', name, conname, pg_get_constraintdef(pg_constraint.oid))
    from pg_constraint join classes on id = conrelid
  union all select pg_get_indexdef(indexrelid) || case when indisvalid then '' else ' invalid' end
    from pg_index join classes on id = indrelid
  union all select pg_get_triggerdef(pg_trigger.oid) || ' ' || tgenabled::text
    from pg_trigger join classes on id = tgrelid where not tgisinternal
  union all select pg_get_ruledef(pg_rewrite.oid) || ' ' || ev_enabled::text
    from pg_rewrite join classes on id = ev_class where relkind in ('r', 'p')
  union all select concat_ws(' ', 'policy', name, polname, polcmd::text, polpermissive, polroles::regrole[]::text,
      pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
    from pg_policy join classes on id = polrelid
  union all select 'inherits ' || name || ' ' || inhparent::regclass from pg_inherits join classes on id = inhrelid
  union all select concat_ws(' ', case when prokind in ('f', 'p') then pg_get_functiondef(id)
      else 'aggregate ' || id::regprocedure end, proacl::text) from routines
  union all select concat_ws(' ', 'sequence', name, seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache,
      seqcycle) from pg_sequence join classes on id = seqrelid
  union all select concat_ws(' ', 'type', typname, (select string_agg(enumlabel, ', ' order by enumsortorder)
      from pg_enum where enumtypid = pg_type.oid), case when typtype = 'd' then format_type(typbasetype, typtypmod) end,
      typdefault, case when typnotnull then 'not null' end)
    from pg_type join here on here.oid = typnamespace where typtype in ('e', 'd')
  union all select concat_ws(' ', 'domain', contypid::regtype, conname, pg_get_constraintdef(pg_constraint.oid))
    from pg_constraint join here on here.oid = connamespace where contypid <> 0
  union all select 'comment on ' || name || coalesce('.' || attname, '') || ': ' || description
    from pg_description join classes on id = objoid and classoid = 'pg_class'::regclass
    left join pg_attribute on attrelid = id and attnum = objsubid and objsubid > 0)
select replace(line, current_schema || '.', '') from lines order by 1"""


def here(ours: bool) -> str:
    """The schemas that count, as `here (oid, nspname, nspacl, own)` of a WITH; `ours`: the server is embedded."""
    return _HERE.format(ours=ours)


class Remains:
    """Keeps what existed at the first `drop`; later ones drop what is new. `ours`: the server is embedded."""

    def __init__(self, execute: Execute, *, ours: bool) -> None:
        self._execute, self._ours = execute, ours
        self._here = here(ours)
        self._stay: frozenset[str] | None = None
        self._made: frozenset[str] | None = None  # definitions after the setup
        self.others = False  # whether the setup created tables elsewhere
        self._hidden = False  # whether there are triggers or the like
        self._positions = False

    def _ask(self, sql: str) -> list[Result]:
        return self._execute(sql.replace("{here}", self._here))

    def _others(self) -> list[str]:
        return [str(statement) for (statement,) in self._execute(_OTHERS)[0].rows]

    def drop(self) -> None:
        """Drops what has been created since. Raises SetupFailed."""
        if self._ours:
            others = self._others()
            self._stay = frozenset(others) if self._stay is None else self._stay
            if came := [one for one in others if one not in self._stay]:
                self._execute("; ".join(came))

    def note(self) -> None:
        """Looks for tables and hidden code beside the schema's tables."""
        others, hidden = self._ask(f"{_TABLES}; {_HIDDEN}")
        self.others, self._hidden = bool(others.rows), hidden.rows[0][0] is True

    def keep_definitions(self) -> None:
        """Remembers the definitions after the setup."""
        if self._made is None:
            self._made = self._definitions()

    def _definitions(self) -> frozenset[str]:
        return frozenset(str(line) for (line,) in self._ask(_DEFINITIONS)[0].rows)

    def tables(self, statements: Iterable[str]) -> dict[str, Table]:
        """What exists now, by name; `statements` are all that functions sent."""
        said = [one for one in statements if not one.startswith("redis: ")]
        self._positions = self._positions or any(map(_READS_POSITIONS.search, said))
        found: dict[str, Table] = {}
        if self.others or self._hidden or any(map(may_change_more_than_rows, said)):
            others = self._ask(_TABLES)[0].rows
            reads = [f'select * from {quoted} as t order by t::text collate "C"' for _, quoted in others]
            results = self._execute("; ".join(reads)) if reads else []
            found = {str(name): Table(one.columns, one.rows) for (name, _), one in zip(others, results, strict=True)}
            now, made = self._definitions(), self._made or frozenset()
            changes = [(f"+ {line}",) for line in now - made] + [(f"- {line}",) for line in made - now]
            if changes:
                found[DEFINITIONS] = Table(("change",), tuple(sorted(changes)))
        if self._positions and (sequences := self._ask(_SEQUENCES)[0].rows):
            asked = [f"select $name${name}$name$ as sequence, last_value, is_called from {q}" for name, q in sequences]
            (told,) = self._execute(" union all ".join(asked))
            found[POSITIONS] = Table(told.columns, tuple(sorted(told.rows, key=repr)))
        return found
