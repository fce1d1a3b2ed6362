"""What a statement reads and writes of one row that it names by its primary key; anything else is refused.

What is told must be all that there is, so only what is on a list is understood: a SELECT, an UPDATE or a DELETE of one
table with `key = constant` for each column of its primary key, and an INSERT of values. What else the schema does with
it (foreign keys, triggers, functions) comes from `explore.statement`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.explore.schema import Schema
from zephyr_lab.explore.statement import Reader
from zephyr_lab.hunt.access import locks_alone
from zephyr_lab.schedule.transcript import SQL_WIDTH, Result
from zephyr_lab.sql.classify import Kind, Statement
from zephyr_lab.sql.tokens import folded
from zephyr_lab.views.abridged import one_line
from zephyr_lab.wire.housekeeping import asks_about

_KEYS = """
select relname, attname from pg_index join pg_class on pg_class.oid = indrelid
join pg_attribute on attrelid = indrelid and attnum = any(indkey)
where indisprimary and relnamespace = current_schema::regnamespace
order by relname collate "C", array_position(indkey::int2[], attnum)"""
_PARTS = {
    exp.Select: {"expressions", "from_", "where", "locks", "order", "limit"},
    exp.Update: {"this", "expressions", "where", "returning"},
    exp.Delete: {"this", "where", "returning"},
    exp.Insert: {"this", "expression", "returning"},
}
_OTHERWISE = (exp.AggFunc, exp.Window, exp.Subquery, exp.Join, exp.CTE, exp.SetOperation, exp.Placeholder)
_SHOWN = (exp.Column, exp.Star, exp.Literal, exp.Alias, exp.Identifier, exp.Boolean, exp.Null, exp.Paren)
_CAST_TO = {exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT, exp.DType.UUID}


class Untold(Exception):
    """Why a history would not hold all that happened."""


class Action(StrEnum):
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"
    INSERT = "insert"


@dataclass(frozen=True)
class ByKey:
    """A statement about one row. `key` has its primary key as text, in the order of the key; () for one that the server
    fills in.

    `finds` are the columns by which it finds the row, `takes` those that it reads of it then, `sets` those that it
    writes. `shows`: of each column of its result, that of the table, or '' for an expression; in those of `loosely`
    drivers write the same value in several ways. `asks` are the values, as text, that it wants columns to have;
    `is_conditional`: it asks still more of the row. Without `is_exact`, equal keys may be written in several ways.
    `others` are tables that it touches by foreign keys, and `unique` the columns of other keys that an INSERT fills.
    """

    table: str
    action: Action
    key: tuple[str, ...] = ()
    finds: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    shows: tuple[str, ...] = ()
    loosely: frozenset[str] = frozenset()
    asks: tuple[tuple[str, str], ...] = ()
    is_conditional: bool = False
    is_exact: bool = True
    others: frozenset[str] = frozenset()
    unique: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Statements:
    """Reads statements by the schema as it is: its tables' columns in their order, and their primary keys."""

    schema: Schema
    keys: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def ask(cls, execute: Callable[[str], list[Result]], columns: Mapping[str, tuple[str, ...]]) -> Statements:
        keys: dict[str, tuple[str, ...]] = {}
        for table, column in execute(_KEYS)[0].rows:
            keys[str(table)] = (*keys.get(str(table), ()), str(column))
        return cls(Schema.ask(execute), keys, columns)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.schema)

    def of(self, statement: Statement) -> ByKey | None:
        """What it does to a row; None if it touches none. Raises Untold."""
        text = statement.text
        if statement.kind not in (Kind.QUERY, Kind.CHANGE):
            raise Untold(f"not understood: {_short(text)}")
        if asks_about(text) or (locks_alone(text) and "try" not in text.lower()):
            return None
        footprint = self._reader.footprint(text)
        if not footprint.names_all:
            raise Untold(f"not understood: {_short(text)}")
        try:
            parsed = sqlglot.parse_one(text, dialect="postgres")
        except SqlglotError:
            raise Untold(f"not understood: {_short(text)}") from None
        if parsed.find(exp.Table) is None and isinstance(parsed, exp.Select):
            return None
        if (found := self._by_key(parsed)) is None:
            raise Untold(f"reads or writes by something else than a primary key: {_short(text)}")
        return replace(found, others=frozenset(self._others(found)))

    def _others(self, found: ByKey) -> set[str]:
        """Tables in which the server looks for rows, for the sake of foreign keys."""
        if found.action is Action.DELETE:
            return self.schema.hanging_on(found.table)
        parents = {parent for child, parent in self.schema.foreign_keys if child == found.table}
        return parents if found.action in (Action.INSERT, Action.UPDATE) else set()

    def _by_key(self, parsed: exp.Expr) -> ByKey | None:
        """None for what is not understood."""
        tables = {_name(one.this) for one in parsed.find_all(exp.Table)}
        table = next(iter(tables)) if len(tables) == 1 else ""
        columns = frozenset(self.columns.get(table, ()))
        if table not in self.keys or not _is_simple(parsed):
            return None
        if not all(_is_of(one, parsed.find(exp.Table), columns) for one in parsed.find_all(exp.Column)):
            return None
        match parsed:
            case exp.Insert():
                return self._insert(table, parsed)
            case exp.Update():
                return self._update(table, parsed)
            case exp.Delete():
                found = self._found(table, parsed, Action.DELETE)
                return found and replace(found, takes=self._named(table, parsed.args.get("returning")), sets=columns)
            case _:
                return self._select(table, parsed)

    def _select(self, table: str, parsed: exp.Expr) -> ByKey | None:
        limit = parsed.args.get("limit")
        number = limit.expression if limit else None
        number = number.this if isinstance(number, exp.Cast) else number
        if limit and not (isinstance(number, exp.Literal) and number.this.strip("0")):
            return None
        shown = parsed.expressions
        if any(not isinstance(node, _SHOWN) for one in shown for node in one.walk()):
            return None
        found = self._found(table, parsed, Action.READ)
        takes = self._named(table, *shown, parsed.args.get("order"))
        shows = tuple(self._shows(table, parsed))
        loosely = {one for one in shows if self.schema.columns.get((table, one)) in ("exact", "other")}
        return found and replace(found, takes=takes, shows=shows, loosely=frozenset(loosely))

    def _shows(self, table: str, parsed: exp.Expr) -> list[str]:
        told: list[str] = []
        for one in parsed.expressions:
            bare = one.this if isinstance(one, exp.Alias) else one
            if bare.is_star:
                told += self.columns[table]
            else:
                told.append(_name(bare.this) if isinstance(bare, exp.Column) else "")
        return told

    def _update(self, table: str, parsed: exp.Expr) -> ByKey | None:
        sets = parsed.expressions
        if not all(isinstance(one, exp.EQ) and isinstance(one.this, exp.Column) for one in sets):
            return None
        assigned = {_name(one.this.this) for one in sets}
        if any((table, one) in self.schema.unique for one in assigned):
            return None
        assigned |= {column for of, column in self.schema.generated if of == table}
        found = self._found(table, parsed, Action.UPDATE)
        told = self._named(table, parsed.args.get("returning")) - assigned
        takes = told | self._named(table, *(one.expression for one in sets))
        return found and replace(found, takes=takes, sets=frozenset(assigned))

    def _insert(self, table: str, parsed: exp.Expr) -> ByKey | None:
        values, into = parsed.expression, parsed.this
        if not isinstance(values, exp.Values) or len(values.expressions) != 1:
            return None
        named = [_name(one) for one in into.expressions] if isinstance(into, exp.Schema) else list(self.columns[table])
        given = dict(zip(named, values.expressions[0].expressions, strict=False))
        key = [self._constant(table, one, given.get(one)) for one in self.keys[table]]
        unique = {column for of, column in self.schema.unique if of == table} - set(self.keys[table])
        known = tuple(one for one in key if one is not None)
        return ByKey(
            table, Action.INSERT, known if len(known) == len(key) else (), frozenset(self.keys[table]),
            sets=frozenset(self.columns[table]), is_exact=self._is_exact(table), unique=frozenset(unique),
        )  # fmt: skip

    def _found(self, table: str, parsed: exp.Expr, action: Action) -> ByKey | None:
        """With the row that its WHERE names by a constant for each column of the primary key."""
        where = parsed.args.get("where")
        key: dict[str, str] = {}
        asks: list[tuple[str, str]] = []
        is_conditional = False
        for one in _conjuncts(where.this) if where else []:
            column = one.this if isinstance(one, exp.EQ) else None
            name = _name(column.this) if isinstance(column, exp.Column) else ""
            value = self._constant(table, name, one.expression) if name else None
            if value is not None and name in self.keys[table] and name not in key:
                key[name] = value
            elif value is not None and self.schema.columns[table, name] != "exact":
                asks.append((name, value))
            else:
                is_conditional = True
        if key.keys() != set(self.keys[table]):
            return None
        return ByKey(
            table, action, tuple(key[one] for one in self.keys[table]), self._named(table, where), asks=tuple(asks),
            is_conditional=is_conditional, is_exact=self._is_exact(table),
        )  # fmt: skip

    def _is_exact(self, table: str) -> bool:
        return all(self.schema.columns.get((table, one)) in ("integer", "text") for one in self.keys[table])

    def _constant(self, table: str, column: str, given: exp.Expr | None) -> str | None:
        """A constant as the column's text; None for another expression, or a value that is written in many ways."""
        kind = self.schema.columns.get((table, column))
        if isinstance(given, exp.Cast) and given.to.this in _CAST_TO and not given.to.expressions:
            given = given.this
        sign, given = ("-", given.this) if isinstance(given, exp.Neg) else ("", given)
        if not isinstance(given, exp.Literal) or kind not in ("integer", "text", "exact"):
            return None
        if kind == "integer":
            return str(int(sign + given.this)) if re.fullmatch(r"-?[0-9]+", sign + given.this) else None
        return str(given.this) if given.is_string and not sign else None

    def _named(self, table: str, *some: exp.Expr | None) -> frozenset[str]:
        """The columns that expressions name; all for a star."""
        found: set[str] = set()
        for one in some:
            if one is not None:
                found |= {_name(column.this) for column in one.find_all(exp.Column)}
                found |= set(self.columns[table]) if one.find(exp.Star) else set()
        return frozenset(found & set(self.columns[table]))


def _is_simple(parsed: exp.Expr) -> bool:
    """Whether it has only the parts that are understood, and no other statement in it."""
    parts = next((parts for kind, parts in _PARTS.items() if type(parsed) is kind), set[str]())
    selects = len(list(parsed.find_all(exp.Select)))
    return (
        not {name for name, one in parsed.args.items() if one} - parts
        and selects == isinstance(parsed, exp.Select)
        and all(map(_is_plain, parsed.find_all(exp.Table)))
        and not parsed.find(*_OTHERWISE)
        and not any(one.args.get("wait") is False for one in parsed.find_all(exp.Lock))
    )


def _conjuncts(condition: exp.Expr) -> list[exp.Expr]:
    bare = condition.unnest()
    return [part for one in bare.flatten() for part in _conjuncts(one)] if isinstance(bare, exp.And) else [bare]


def _is_of(column: exp.Column, table: exp.Table | None, columns: frozenset[str]) -> bool:
    """Whether it is a column of the table, as it was or is after the statement; not one of the system's or of OLD."""
    if table is None or (column.table and column.table.lower() != table.alias_or_name.lower()):
        return False
    return isinstance(column.this, exp.Star) or _name(column.this) in columns or column.sql().lower() == "default"


def _is_plain(table: exp.Table) -> bool:
    """Whether it is named, and perhaps called otherwise, and nothing else."""
    alias = table.args.get("alias")
    return not ({name for name, one in table.args.items() if one} - {"this", "alias"} or (alias and alias.columns))


def _name(identifier: exp.Expr) -> str:
    """An identifier as in the catalogue."""
    return identifier.name if identifier.args.get("quoted") else folded(identifier.name)


def _short(text: str) -> str:
    return one_line(text, SQL_WIDTH)
