"""What a step may touch, read from its SQL and the server's catalogue, without running it.

An over-estimate: what is not understood touches everything. Statements are parsed by sqlglot; which tables hang
together, which columns are unique and what a function does is the server's word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.explore.footprint import NOTHING, OPAQUE, Footprint, Rows, RowSet
from zephyr_lab.schedule.transcript import Result

_SAVEPOINT = re.compile(r"(?is)savepoint\b.*")
_LOCAL = re.compile(
    r"(?is)(?!.*\bdeferrable\b)(release\b|show\b|reset\b|set\s+transaction\b|set\s+(local\s+|session\s+)?[\w.]+\s*(=|to\b)).*"
)
# What they give depends on the order in which rows come.
_AGGREGATES_IN_ORDER = re.compile(r"(?i)\b(\w+_agg|first_value|last_value|nth_value|row_number)\s*\(")
_BEGIN = re.compile(r"(?is)(begin|start\s+transaction)\b(?!.*\bdeferrable\b).*")
_ROLLBACK_TO = re.compile(r"(?is)rollback\s+(work\s+|transaction\s+)?to\b.*")
_PARSED = re.compile(r"(?i)\(*(select|with|values|table|insert|update|delete)\b")
_END = re.compile(r"(?is)(commit|end|rollback|abort)(\s+(work|transaction))?")
# Effects on whoever calls them only, or none.
_HARMLESS = frozenset({"set_config", "current_setting", "generate_series"})

_FACTS = """
select coalesce(string_agg(relname, ' '), '') from pg_class
where relnamespace = current_schema::regnamespace and relkind = 'r';

select (select count(*) from pg_class where relnamespace = current_schema::regnamespace
        and (relkind not in ('r', 'i', 'S', 'c', 'v') or relispartition or relhassubclass or relrowsecurity))
     + (select count(*) from pg_trigger join pg_class on pg_class.oid = tgrelid
        where relnamespace = current_schema::regnamespace and not tgisinternal)
     + (select count(*) from pg_rewrite join pg_class on pg_class.oid = ev_class
        where relnamespace = current_schema::regnamespace and relkind <> 'v')
     + (select count(*) from pg_constraint where connamespace = current_schema::regnamespace and condeferrable)
     + (select count(*) from pg_operator where oprnamespace = current_schema::regnamespace)
     + (select count(*) from pg_cast join pg_proc on pg_proc.oid = castfunc
        where pronamespace = current_schema::regnamespace)
     + (select count(*) from pg_proc join pg_class on reltype = any(proargtypes)
        where pronamespace = current_schema::regnamespace and reltype <> 0)
     + (select count(*) from pg_depend where refclassid = 'pg_proc'::regclass and deptype = 'n'
        and classid in ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_class'::regclass)
        and refobjid in (select oid from pg_proc where pronamespace = current_schema::regnamespace));

select (select relname from pg_class where oid = conrelid), (select relname from pg_class where oid = confrelid)
from pg_constraint where connamespace = current_schema::regnamespace and contype = 'f';

select relname, attname from pg_index join pg_class on pg_class.oid = indrelid
join pg_attribute on attrelid = indrelid and attnum > 0
where relnamespace = current_schema::regnamespace and (indisunique or indisexclusion)
  and (attnum = any(indkey) or indexprs is not null or indpred is not null);

select relname, attname from pg_class join pg_attribute on attrelid = pg_class.oid and attnum > 0
where relnamespace = current_schema::regnamespace and relkind = 'r'
  and atttypid in ('text'::regtype, 'varchar'::regtype)
  and (select collisdeterministic from pg_collation where oid = attcollation);

select count(*) from pg_class where relnamespace = current_schema::regnamespace and relkind = 'S';

select proname, case when count(*) = 1 and min(lanname) = 'sql' then coalesce(min(prosrc), '') else '' end
from pg_proc join pg_language on pg_language.oid = prolang
where pronamespace = current_schema::regnamespace group by proname;

select distinct proname, '' from pg_proc where pronamespace = 'pg_catalog'::regnamespace
  and provolatile <> 'v' and proname not like 'pg\\_%' and proname not like 'has\\_%'"""


@dataclass(frozen=True)
class Schema:
    """What the server says of the schema that a spec has set up, as far as it decides what a statement touches."""

    tables: frozenset[str]
    plain: bool
    foreign_keys: frozenset[tuple[str, str]]
    unique: frozenset[tuple[str, str]]
    texts: frozenset[tuple[str, str]]
    sequences: bool
    own: dict[str, str]  # functions of the schema, and their bodies where they are one SQL text
    harmless: frozenset[str] = frozenset()  # functions of PostgreSQL's that do nothing beyond their result

    @classmethod
    def ask(cls, execute: Callable[[str], list[Result]]) -> Schema:
        tables, odd, foreign_keys, unique, texts, sequences, own, harmless = (one.rows for one in execute(_FACTS))
        return cls(
            tables=frozenset(str(tables[0][0]).split()),
            plain=odd == ((0,),),
            foreign_keys=frozenset((str(child), str(parent)) for child, parent in foreign_keys),
            unique=frozenset((str(table), str(column)) for table, column in unique),
            texts=frozenset((str(table), str(column)) for table, column in texts),
            sequences=sequences != ((0,),),
            own={str(name): str(body) for name, body in own},
            harmless=frozenset(str(name) for name, _ in harmless),
        )

    def footprint(self, sql: str) -> Footprint:
        """Of a message, whatever statements it holds."""
        if not self.plain:
            return OPAQUE
        whole = Footprint()
        try:
            for text in statements(sql):
                whole = whole.then(self._statement(text))
        except SqlglotError:
            return OPAQUE
        return whole

    def _statement(self, text: str) -> Footprint:
        if _BEGIN.fullmatch(text):
            return Footprint(begins=True)
        if _ROLLBACK_TO.fullmatch(text):
            return Footprint(ends="savepoint")
        if ended := _END.fullmatch(text):
            return Footprint(ends="commit" if ended[1].lower() in ("commit", "end") else "rollback")
        if _SAVEPOINT.fullmatch(text):
            return Footprint(saves=True)
        if _LOCAL.fullmatch(text):
            return Footprint()
        if not _PARSED.match(text):
            return OPAQUE
        parsed = sqlglot.parse_one(text, dialect="postgres")
        changes = list(parsed.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge))
        mentioned = [table for table in parsed.find_all(exp.Table) if table.name]
        ctes = {_name(one.args["alias"].this) for one in parsed.find_all(exp.CTE)}
        tables = {_name(table.this) for table in mentioned} - ctes
        understood = changes == [parsed] if changes else isinstance(parsed, exp.Query)
        elsewhere = tables - self.tables or ctes & self.tables or any(table.args.get("db") for table in mentioned)
        if not understood or elsewhere or not self._is_harmless(parsed):
            return OPAQUE
        simple = len(mentioned) == 1 and len(list(parsed.find_all(exp.Select))) == isinstance(parsed, exp.Select)
        reads = frozenset(self._rows(table, parsed) if simple else Rows(table) for table in tables)
        locks = reads if parsed.find(exp.Lock) else NOTHING
        writes = self._written(parsed, next(iter(reads)) if simple else None) if changes else NOTHING
        some = parsed.find(exp.Limit, exp.Offset, exp.Fetch, exp.GroupConcat, exp.ArrayAgg, exp.JSONArrayAgg)
        return Footprint(
            reads | writes, locks | writes, writes, idle=False,
            inserts=writes if isinstance(parsed, exp.Insert) else NOTHING,
            by_place=frozenset(tables) if some or _AGGREGATES_IN_ORDER.search(text) else frozenset(),
        )  # fmt: skip

    def _written(self, change: exp.Expression, sought: Rows | None) -> RowSet:
        """The rows that a change may touch: those sought, unless it makes others or moves them; what hangs on them."""
        target = _name(change.find(exp.Table).this)  # type: ignore[union-attr]
        sets = change.args.get("expressions") or []
        plain = [one for one in sets if isinstance(one, exp.EQ) and isinstance(one.this, exp.Column)]
        assigned = {_name(one.this.this) for one in plain}
        moves = len(plain) < len(sets) or any((target, column) in self.unique for column in assigned)
        stays = sought and not moves and sought.column not in assigned and not isinstance(change, exp.Insert)
        written = {sought if sought and stays else Rows(target)}
        if self.sequences and (isinstance(change, exp.Insert) or "default" in change.sql().lower()):
            written.add(Rows("", "sequences"))
        return frozenset(written | {Rows(other) for other in self._hanging_together(target) - {target}})

    def _hanging_together(self, table: str) -> set[str]:
        found, size = {table}, 0
        while len(found) > size:
            size = len(found)
            found |= {name for pair in self.foreign_keys if found & set(pair) for name in pair}
        return found

    def _rows(self, table: str, parsed: exp.Expression) -> Rows:
        """Which rows a statement on one table looks for, by a comparison with a constant that all of them meet."""
        where = parsed.args.get("where")
        for one in where.this.flatten() if where and isinstance(where.this, exp.And) else [where.this] if where else []:
            if isinstance(one, exp.EQ) and isinstance(one.this, exp.Column) and isinstance(one.expression, exp.Literal):
                literal, column = one.expression, _name(one.this.this)
                if not literal.is_string and re.fullmatch(r"\d+", literal.this):
                    return Rows(table, column, int(literal.this))
                if literal.is_string and (table, column) in self.texts:
                    return Rows(table, column, literal.this)
        return Rows(table)

    def _is_harmless(self, parsed: exp.Expression) -> bool:
        """Whether every function that is called does nothing beyond its result."""
        for one in parsed.find_all(exp.Func):
            names = [one.name.lower()] if isinstance(one, exp.Anonymous) else [name.lower() for name in one.sql_names()]
            own = [name for name in names if name in self.own]
            if not all(map(self._body_is_harmless, own)):
                return False
            if isinstance(one, exp.Anonymous) and not own and names[0] not in self.harmless | _HARMLESS:
                return False
        return True

    def _body_is_harmless(self, name: str) -> bool:
        """Of a function of the schema: understood, and it touches no table."""
        body = self.own[name]
        seen = replace(self, own=dict.fromkeys(self.own, "") | {name: ""}).footprint(body) if body else OPAQUE
        return not (seen.opaque or seen.reads or seen.locks or seen.ends)


def statements(sql: str) -> Iterator[str]:
    """The statements of a message, without comments around them. Raises SqlglotError."""
    tokens = sqlglot.tokenize(sql, dialect="postgres")
    begin = 0
    for place, token in enumerate([*tokens, None]):
        if token is None or token.token_type is sqlglot.TokenType.SEMICOLON:
            if place > begin:
                yield sql[tokens[begin].start : tokens[place - 1].end + 1]
            begin = place + 1


def _name(identifier: exp.Expression) -> str:
    """An identifier as the catalogue has it: in lower case, unless it is quoted."""
    return identifier.name if identifier.args.get("quoted") else identifier.name.lower()
