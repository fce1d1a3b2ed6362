"""What a step may touch, read from its SQL and the server's catalogue, without running it.

Only what is on a list of harmless kinds of statements, functions, settings and row orders is understood. A lock on a
table, and a lock or number that all sessions share, touch everything; unknown statements may observe anything, in any
order. Statements are parsed by sqlglot; related tables, unique columns and what functions do come from the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.explore.calls import SETTINGS, Calls, calls_of, is_called_by_a_dot
from zephyr_lab.explore.footprint import NOTHING, OPAQUE, UNKNOWN, Ending, Footprint, Rows, RowSet
from zephyr_lab.explore.row_order import depends_on_row_order
from zephyr_lab.explore.schema import Schema
from zephyr_lab.schedule.transcript import Result
from zephyr_lab.sql.classify import Kind, Statement, classify
from zephyr_lab.sql.tokens import Token, UnclearSQL, folded, tokens

_NAME = r'("[^"]+"|\w+)'
_DECLARE = re.compile(
    rf"(?is)declare\s+{_NAME}\s+((binary|insensitive|asensitive|(no\s+)?scroll)\s+)*cursor\s+(without\s+hold\s+)?for\s+(?P<query>.+)"
)
_AT_CURSOR = re.compile(rf"(?i)\s+where\s+current\s+of\s+{_NAME}$")
_COMPARED = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_READS_LESS = (exp.Limit, exp.Fetch, exp.Offset, exp.Exists, exp.TableSample, exp.With, exp.Subquery, exp.OnConflict)
_CANNOT_FAIL = (
    *_COMPARED, exp.And, exp.Or, exp.Not, exp.Is, exp.In, exp.Column, exp.Literal, exp.Identifier, exp.Paren, exp.Null,
    exp.Boolean,
)  # fmt: skip


def footprints(execute: Callable[[str], list[Result]]) -> Callable[[str], Footprint]:
    """Gives the footprints of messages, in the schema as it is now."""
    return Reader(Schema.ask(execute)).footprint


class Reader:
    """Analyses messages to a server with such a schema."""

    def __init__(self, schema: Schema, *, inside: bool = False) -> None:
        self._schema, self._inside = schema, inside
        self._numbers = schema.sequences

    def footprint(self, sql: str) -> Footprint:
        """The footprint of a message of any statements."""
        if not self._plain:
            return UNKNOWN
        whole = Footprint()
        try:
            for statement in classify(sql):
                whole = whole.then(self._statement(statement))
        except SqlglotError:
            return UNKNOWN
        return whole

    @cached_property
    def _plain(self) -> bool:
        """Whether what the schema does implicitly to any row is understood: checks, keys."""
        implied = [self._expression(text) for text in self._schema.expressions]
        self._numbers = self._numbers or any(map(_NEXT.fullmatch, (text for _, text in self._schema.defaults)))
        return self._schema.plain and not any(one.unknown or one.shared for one in implied)

    @cached_property
    def _defaults(self) -> Mapping[str, Calls]:
        """What is not understood in the defaults of tables: the time and chance alone, or anything."""
        found: dict[str, Calls] = {}
        for table, text in self._schema.defaults:
            calls = self._expression(text)
            if calls.unknown or (calls.shared and not _NEXT.fullmatch(text)):
                before = found.get(table, calls)
                found[table] = Calls(unknown=True, clock=calls.clock and before.clock and not calls.shared)
        return found

    def _expression(self, text: str) -> Calls:
        try:
            return self._calls(tokens(text))
        except UnclearSQL:
            return Calls(unknown=True)

    def _implied(self, changes: Sequence[exp.Expr]) -> Calls:
        """What is not understood in the defaults and triggers of which changes may make use."""
        found = [Calls()]
        for one in changes:
            target = _target(one)
            hanging = self._schema.hanging_on(target)
            tables = {target, *hanging}
            # An INSERT changes no other table: of its parents it locks rows.
            others = hanging if _may(one, "update") or _may(one, "delete") else set()
            triggered = self._schema.triggered
            if any(table in others or (table == target and _may(one, event)) for table, event in triggered):
                return Calls(unknown=True)
            fills = not isinstance(one, exp.Update | exp.Delete) or "default" in one.sql("postgres").lower()
            fills = fills or any(of == target for of, _ in self._schema.generated)
            filled = tables if self._schema.sets_defaults else {target} if fills else set()
            found += [calls for of, calls in self._defaults.items() if of in filled]
        odd = [one for one in found if one.unknown]
        return Calls(unknown=bool(odd), clock=bool(odd) and all(one.clock for one in odd))

    def _calls(self, statement: Sequence[Token]) -> Calls:
        return calls_of(statement, self._schema, self._body_is_harmless)

    def _statement(self, statement: Statement) -> Footprint:
        if control := _control(statement):
            return control
        tables, text = self._schema.tables, statement.text
        if statement.kind is Kind.LOCK:
            return OPAQUE if statement.tables and tables.issuperset(statement.tables) else UNKNOWN
        if statement.kind not in (Kind.QUERY, Kind.CHANGE, Kind.DECLARE):
            return UNKNOWN
        calls = self._calls(statement.tokens)
        is_at_cursor = statement.kind is Kind.DECLARE or _AT_CURSOR.search(text)
        if calls.unknown and (is_at_cursor or not calls.clock):
            return UNKNOWN
        if statement.kind is Kind.DECLARE:
            if declared := _DECLARE.fullmatch(text):
                return replace(self._parsed(declared["query"], calls), opaque=True, by_place=tables)
            return UNKNOWN
        if is_at_cursor:
            return replace(self._parsed(_AT_CURSOR.sub("", text), calls), opaque=True, clock=False)
        found = self._parsed(text, calls)
        if _READ_ONLY.search(text):  # as by set_config
            found = replace(found, scans=False)
        return _by_the_clock(found) if calls.clock else found

    def _parsed(self, text: str, calls: Calls) -> Footprint:
        parsed = sqlglot.parse_one(text, dialect="postgres")
        changes = list(parsed.find_all(exp.Insert, exp.Update, exp.Delete, exp.Merge))
        mentioned = [table for table in parsed.find_all(exp.Table) if table.name]
        ctes = {_name(one.args["alias"].this) for one in parsed.find_all(exp.CTE)}
        tables = {_name(table.this) for table in mentioned} - ctes
        if (
            tables - self._schema.tables
            or ctes & self._schema.tables
            or any(table.args.get("db") for table in mentioned)
            or not isinstance(parsed, exp.Query | exp.Insert | exp.Update | exp.Delete | exp.Merge)
            or parsed.find(exp.Into, exp.Command)
            or any(not isinstance(one.expression, exp.Func) for one in parsed.find_all(exp.Dot))
            or any("." in str(one.args.get("kind") or "") for one in parsed.find_all(exp.DataType))
            or self._calls_by_a_dot(parsed, mentioned)
            or any(column not in self._schema.columns for one in changes for column in _assigned(one))
        ):
            return UNKNOWN
        return self._understood(parsed, mentioned, frozenset(tables), changes, calls)

    def _understood(
        self,
        parsed: exp.Expr,
        mentioned: list[exp.Table],
        tables: frozenset[str],
        changes: Sequence[exp.Expr],
        calls: Calls,
    ) -> Footprint:
        """The footprint of a statement whose names and words are known."""
        implied = self._implied(changes)
        if implied.unknown and not implied.clock:
            return UNKNOWN
        if calls.shared or any(isinstance(one, exp.Merge) for one in changes):
            return replace(UNKNOWN if implied.unknown else OPAQUE, by_place=tables)
        if changes and list(changes) != [parsed]:
            plain = self._changes_in_with(parsed, tables, changes)
        else:
            plain = self._plain_statement(parsed, mentioned, tables, calls)
        return _by_the_clock(plain) if implied.clock else plain

    def _changes_in_with(self, parsed: exp.Expr, tables: frozenset[str], changes: Sequence[exp.Expr]) -> Footprint:
        """The footprint of changes in a WITH, in any order: of whole tables."""
        reads = frozenset(map(Rows, tables))
        writes = frozenset[Rows]().union(*(self._written(one, None) for one in changes))
        locks = reads | writes if parsed.find(exp.Lock) else writes
        return Footprint(reads | writes, locks, writes, idle=False, by_place=tables, scans=False)

    def _calls_by_a_dot(self, parsed: exp.Expr, mentioned: list[exp.Table]) -> bool:
        """Whether a name after a row's may be a function, as it is if the row has no such column."""
        tables: dict[str, set[str]] = {}
        for one in mentioned:
            alias = one.args.get("alias")
            row = _name(alias.this) if alias and alias.this else _name(one.this)
            # Columns renamed by a column list are not in the catalogue.
            tables.setdefault(row, set()).add("" if alias and alias.args.get("columns") else _name(one.this))
        for named in parsed.find_all(exp.TableAlias):
            if named.this and not (isinstance(named.parent, exp.Table) and named.parent.name):
                tables.setdefault(_name(named.this), set()).add("")
        for column in parsed.find_all(exp.Column):
            if column.table and is_called_by_a_dot(name := _name(column.this), self._schema):
                of = tables.get(_name(column.args["table"]), {""})
                if any((table, name) not in self._schema.columns for table in of):
                    return True
        return False

    def _plain_statement(
        self, parsed: exp.Expr, mentioned: list[exp.Table], tables: frozenset[str], calls: Calls
    ) -> Footprint:
        """The footprint of a query, or of one change of one table."""
        changes = not isinstance(parsed, exp.Query)
        simple = len(mentioned) == 1 and len(list(parsed.find_all(exp.Select))) == isinstance(parsed, exp.Select)
        sought = self._rows(mentioned[0], parsed) if simple else None
        reads = frozenset([sought] if sought else [Rows(table) for table in tables])
        locks = reads if parsed.find(exp.Lock) else NOTHING
        writes = self._written(parsed, sought) if changes else NOTHING
        one_row = sought is not None and (sought.table, sought.column) in self._schema.keys
        by_place = (
            (calls.ordered or bool(locks or (writes and not isinstance(parsed, exp.Insert))))
            or depends_on_row_order(parsed, tables, self._schema)
        ) and not one_row
        return Footprint(
            reads | writes,
            locks | writes,
            writes,
            idle=False,
            inserts=writes if isinstance(parsed, exp.Insert) else NOTHING,
            by_place=tables if by_place else frozenset(),
            scans=self._scans(parsed, mentioned),
        )

    def _scans(self, parsed: exp.Expr, mentioned: list[exp.Table]) -> bool:
        """Whether it reads no table but one, to its end, unless it uses an index; keys to other tables use theirs."""
        selects = len(list(parsed.find_all(exp.Select)))
        related = not isinstance(parsed, exp.Query) and self._schema.hanging_on(_name(mentioned[0].this))
        return (
            len(mentioned) <= 1
            and selects <= isinstance(parsed, exp.Select | exp.Insert)
            and not related
            and not parsed.find(*_READS_LESS)
            and not any(one.name.lower() == "ctid" for one in parsed.find_all(exp.Column))
        )

    def _written(self, change: exp.Expr, sought: Rows | None) -> RowSet:
        """The rows that a change may touch: those matched, unless it creates or moves rows; those related by keys."""
        target = _target(change)
        plain = _set_alone(change)
        assigned = {_name(one.this.this) for one in plain}
        if assigned:
            assigned |= {column for table, column in self._schema.generated if table == target}
        sets = change.args.get("expressions") or []
        moves = len(plain) < len(sets) or any((target, column) in self._schema.unique for column in assigned)
        stays = sought and not moves and sought.column not in assigned and not isinstance(change, exp.Insert)
        hanging = self._schema.hanging_on(target)
        written = {sought if sought and stays and target not in hanging else Rows(target)}
        if self._numbers and (isinstance(change, exp.Insert) or "default" in change.sql("postgres").lower()):
            written.add(Rows("", "sequences"))
        return frozenset(written | {Rows(other) for other in hanging - {target}})

    def _rows(self, table: exp.Table, parsed: exp.Expr) -> Rows:
        """The rows that a statement on one table matches, by a comparison with a constant that all of them satisfy."""
        name = _name(table.this)
        where = parsed.args.get("where")
        alias = table.args.get("alias")
        if alias and alias.args.get("columns"):  # aliases of columns
            return Rows(name)
        terms = (
            list(where.this.flatten()) if where and isinstance(where.this, exp.And) else [where.this] if where else []
        )
        if all(map(_asks_sought_rows_only, terms)):
            for one in terms:
                if isinstance(one, exp.EQ) and isinstance(one.this, exp.Column) and _is_of(one.this, table):
                    value = self._constant(name, _name(one.this.this), one.expression)
                    if value is not None:
                        return Rows(name, _name(one.this.this), value)
        return Rows(name)

    def _constant(self, table: str, column: str, literal: exp.Expr) -> str | int | None:
        """The literal, if equal values of the column's kind are always written the same."""
        kind = self._schema.columns.get((table, column))
        if isinstance(literal, exp.Literal):
            if not literal.is_string and kind in ("integer", "numeric", "unscaled") and literal.this.isdecimal():
                return int(literal.this)
            if literal.is_string and kind == "text":
                return str(literal.this)
        return None

    def _body_is_harmless(self, name: str) -> bool:
        """Whether a function of the schema is understood, and touches no table."""
        if self._inside or not self._schema.own[name] or _READ_ONLY.search(self._schema.own[name]):
            return False
        seen = Reader(replace(self._schema, expressions=(), defaults=()), inside=True).footprint(self._schema.own[name])
        return not (seen.opaque or seen.reads or seen.locks or seen.ends or seen.begins or seen.saves)


_READ_ONLY = re.compile(r"(?is)read.*only")
_NEXT = re.compile(r"nextval\('[^']+'::regclass\)")


def _by_the_clock(understood: Footprint) -> Footprint:
    """The footprint of a statement that would be understood, but for the time or chance in it."""
    return replace(understood, opaque=True, unknown=True, clock=understood.names_all)


# Statements that concern the session or its transaction only.
_CONTROL = {
    Kind.BEGIN: Footprint(begins=True), Kind.COMMIT: Footprint(ends=Ending.COMMIT),
    Kind.ROLLBACK: Footprint(ends=Ending.ROLLBACK), Kind.ROLLBACK_TO: Footprint(ends=Ending.TO_SAVEPOINT),
    Kind.SAVEPOINT: Footprint(saves=True), Kind.RELEASE: Footprint(), Kind.SHOW: Footprint(),
    Kind.SET_TRANSACTION: Footprint(), Kind.DEALLOCATE: Footprint(idle=False), Kind.FETCH: OPAQUE, Kind.CLOSE: OPAQUE,
}  # fmt: skip


def _control(statement: Statement) -> Footprint | None:
    """The footprint of a statement that concerns the session or its transaction only; None for any other."""
    if statement.kind in (Kind.SET, Kind.RESET):
        scans = not _READ_ONLY.search(statement.text)
        return Footprint(scans=scans) if SETTINGS.fullmatch(statement.setting) else UNKNOWN
    if statement.deferrable:
        # The next statement waits for all open transactions.
        return OPAQUE if statement.kind is Kind.BEGIN else UNKNOWN
    if statement.chains:
        return UNKNOWN
    found = _CONTROL.get(statement.kind)
    return replace(found, scans=False) if found and _READ_ONLY.search(statement.text) else found


def _asks_sought_rows_only(term: exp.Expr) -> bool:
    """Whether a term can fail only on rows that satisfy a comparison of a column with a constant in the same WHERE.

    The server evaluates cheap terms first, by cost and then as written; a comparison of an expression costs more.
    """
    return isinstance(term, _COMPARED) or all(isinstance(one, _CANNOT_FAIL) for one in term.walk())


def _target(change: exp.Expr) -> str:
    """The table that is changed."""
    named = change.this.this if isinstance(change.this, exp.Schema) else change.this
    return _name(named.this) if isinstance(named, exp.Table) else ""


def _may(change: exp.Expr, event: str) -> bool:
    """Whether a change of a table may be of such a kind."""
    match change:
        case exp.Insert():
            return event == "insert" or (event == "update" and bool(change.args.get("conflict")))
        case exp.Update() | exp.Delete():
            return event == change.key
        case _:
            return True


def _set_alone(change: exp.Expr) -> list[exp.EQ]:
    """The assignments to a whole column; others, to a field, an element or several columns, are not understood."""
    sets = change.args.get("expressions") or []
    return [
        one
        for one in sets
        if isinstance(one, exp.EQ) and isinstance(one.this, exp.Column) and not one.this.args.get("table")
    ]


def _assigned(change: exp.Expr) -> set[tuple[str, str]]:
    """The table and column of each assignment to a whole column."""
    if not isinstance(change, exp.Update) or not isinstance(change.this, exp.Table):  # as within MERGE
        return set()
    target = _name(change.this.this)
    return {(target, _name(one.this.this)) for one in _set_alone(change)}


def _is_of(column: exp.Column, table: exp.Table) -> bool:
    return not column.table or column.table.lower() == table.alias_or_name.lower()


def _name(identifier: exp.Expr) -> str:
    """An identifier as in the catalogue."""
    return identifier.name if identifier.args.get("quoted") else folded(identifier.name)
