"""Makes functions of operations: each sends what was recorded, from the lines that asked it then.

What a program would have decided by what it reads now is not known. So what it reads before it writes is what the
function returns; what it reads and then writes in one statement, that looks at the row again, is not needed for that.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import psycopg
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.sql.classify import Kind, classify
from zephyr_lab.suite.operations import Operation, Statement

_TIMES = datetime.datetime | datetime.date | datetime.time | datetime.timedelta
_PLAIN = str | int | float | bool | bytes | decimal.Decimal | None
_UUID = re.compile(r"'[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}'")


def function_of(operation: Operation) -> Callable[..., Any]:
    """A session of `lab.explore`, defined where the function that was called is, with its name.

    It returns what was read before a write, and how many rows each
    statement that changes any has changed, by line. Raises what the server says where it did not before.
    """
    begins = {one.number: one for one in operation.transactions}
    last = _last_decided_write(operation)
    made_up = _made_up(operation)

    def run(conn: psycopg.Connection[Any]) -> list[Any]:
        import uuid

        conn.autocommit = True
        fresh = {one: f"'{uuid.uuid4()}'" for one in made_up}
        told: list[Any] = []
        for number, some in groupby(enumerate(operation.statements), key=lambda pair: pair[1].transaction):
            begun = begins[number] if number is not None else None
            if begun is not None:
                conn.execute(begun.begin.encode())
            for place, one in some:
                sql = _with(one.sql, fresh)
                said = _at(one, partial(_sent, conn, sql, one))
                told += [(one.line, part) for part in _outcome(one, said, decides=place < last)]
            if begun is not None:
                conn.execute("rollback" if begun.is_rolled_back else "commit")
        return told

    return _defined(operation, run)


def _defined(operation: Operation, run: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, named and placed as the application's is, so that reports lead there."""
    name = operation.name.rpartition(".")[2]
    name = name if name.isidentifier() else "call"
    text = "\n" * max(0, operation.line - 1) + f"def {name}(conn): return run(conn)"
    scope: dict[str, Any] = {"run": run}
    exec(compile(text, operation.file, "exec"), scope)
    made: Callable[..., Any] = scope[name]
    return made


def _at(one: Statement, send: Callable[[], Any]) -> Any:
    """Calls it as from the line that asked: what a timeline shows is found on the stack."""
    return eval(compile("\n" * max(0, one.line - 1) + "send()", one.file, "eval"), {"send": send})


def _sent(conn: psycopg.Connection[Any], sql: str, one: Statement) -> Any:
    cursor = psycopg.ClientCursor(conn)
    try:
        cursor.execute(sql.encode())  # bytes: a percent sign is one
    except psycopg.Error as error:
        if one.changed is not None or error.sqlstate in ("40001", "40P01"):
            raise
        return error.sqlstate  # as then, and the program has gone on
    return cursor


def _outcome(one: Statement, said: Any, *, decides: bool) -> Iterator[Any]:
    if isinstance(said, str):
        yield said
    elif _is_change(one.sql):
        yield said.rowcount
    elif decides and said.description:
        with contextlib.suppress(psycopg.ProgrammingError):
            yield [tuple(map(_plain, row)) for row in said.fetchall()]


def _plain(value: Any) -> Any:
    """Times are not compared: in a replay they are others."""
    if isinstance(value, _TIMES):
        return type(value).__name__
    return value if isinstance(value, _PLAIN) else str(value)


@lru_cache(maxsize=2048)
def _is_change(sql: str) -> bool:
    return any(one.kind is Kind.CHANGE for one in classify(sql))


def _last_decided_write(operation: Operation) -> int:
    """The place of the last statement whose values the program has chosen; -1 if there is none."""
    places = [place for place, one in enumerate(operation.statements) if _is_decided(one.sql)]
    return max(places, default=-1)


@lru_cache(maxsize=2048)
def _is_decided(sql: str) -> bool:
    """Whether a program's decision is in a change that does not look again.

    An UPDATE does where it computes what it sets, or has a condition on it; an INSERT where it has ON CONFLICT.
    """
    if not _is_change(sql):
        return False
    try:
        parsed = sqlglot.parse_one(sql, read="postgres")
    except SqlglotError:
        return True
    if isinstance(parsed, exp.Insert):
        conflict = parsed.args.get("conflict")
        return conflict is None or any(not _looks_at_row(one) for one in conflict.expressions)
    if not isinstance(parsed, exp.Update):
        return True
    sets = [one for one in parsed.expressions if isinstance(one, exp.EQ)]
    looks_at = {one.name for one in parsed.args["where"].find_all(exp.Column)} if parsed.args.get("where") else set()
    if looks_at & {one.this.name for one in sets}:
        return False
    return len(sets) < len(parsed.expressions) or any(not _looks_at_row(one) for one in sets)


def _looks_at_row(assignment: exp.Expr) -> bool:
    """Whether a value is computed from the row that is there, and not only from the one that was to be inserted."""
    return any(one.table.lower() != "excluded" for one in assignment.expression.find_all(exp.Column))


def _made_up(operation: Operation) -> list[str]:
    """UUIDs that the program has made up: they are in an INSERT before anything else. Each run has its own."""
    met: dict[str, bool] = {}
    for one in operation.statements:
        inserts = one.sql.lstrip().lower().startswith("insert")
        for found in _UUID.findall(one.sql):
            met.setdefault(found, inserts)
    return [found for found, inserted in met.items() if inserted]


def _with(sql: str, fresh: dict[str, str]) -> str:
    for before, now in fresh.items():
        sql = sql.replace(before, now)
    return sql
