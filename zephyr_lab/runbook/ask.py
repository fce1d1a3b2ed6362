"""Queries a production server without disturbing it.

Each question has a transaction of its own, or a savepoint if one is open already: read-only, with a time limit for the
result and a shorter one for any lock, and rolled back at the end. So nothing is held from one question to the next, not
even ACCESS SHARE on a partition, which would block an ALTER TABLE and the queue behind it. Settings are SET LOCAL and
statements are not prepared, so a pooler in between is no obstacle.

The role's search_path finds the table. While a question runs, only pg_catalog is searched, so that a function or
operator with a built-in name in another schema is not called, with a superuser's rights, by mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from zephyr_lab.errors import BadInput, LabError, QuestionFailed, ServerLost, ServerUnavailable
from zephyr_lab.extras import needed_by
from zephyr_lab.runbook.questions import Question, question, questions

if TYPE_CHECKING:
    import pandas as pd

OLDEST = 14
_READ_ONLY = """
select pg_catalog.set_config(name, value, true) from (values
    ('transaction_read_only', 'on'), ('statement_timeout', %(statement)s), ('lock_timeout', %(lock)s),
    ('timezone', 'UTC'), ('datestyle', 'ISO'), ('intervalstyle', 'postgres')) as wanted (name, value)"""
# Before search_path is narrowed: qualified names, and no operators.
_WHO_ASKS = "select current_user, pg_catalog.current_schemas(true)::pg_catalog.text"
_FIND = "select pg_catalog.to_regclass(%(table)s)::pg_catalog.oid"
_NARROW = "set local search_path = pg_catalog, pg_temp"
_NAME = """
select format('%%I.%%I', n.nspname, c.relname), c.relkind
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = %(oid)s"""
_TABLE_KINDS = "rpmvf"
# A malformed table name, an unknown role, a malformed interval.
_MALFORMED = (
    errors.InvalidName,
    errors.InvalidParameterValue,
    errors.SyntaxError,
    errors.FeatureNotSupported,
    errors.UndefinedObject,
    errors.InvalidDatetimeFormat,
    errors.DatetimeFieldOverflow,
)


@dataclass(frozen=True)
class Answer:
    """The rows of a question; columns as the SQL file names them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    @needed_by("a DataFrame")
    def frame(self) -> pd.DataFrame:
        """As a table of pandas; columns that may be empty keep their type (Int64, boolean) instead of turning into
        floats."""
        import pandas as pd  # as long to import as all the rest

        return pd.DataFrame(list(self.rows), columns=list(self.columns)).convert_dtypes()


@dataclass(frozen=True)
class Runbook:
    """Questions about a table and its server, over a connection.

    `table` is written as in SQL, `"Orders"` in double quotes. `role` is the one whose rights are examined, by default
    the connection's. `months` counts the months after this one, `older_than` is an interval. Raises BadInput, and
    ServerUnavailable for a PostgreSQL older than 14.
    """

    connection: psycopg.Connection[Any]
    table: str = "orders"
    role: str | None = None
    months: int = 2
    older_than: str = "1 minute"
    statement_seconds: float = 10
    lock_seconds: float = 2

    def __post_init__(self) -> None:
        version = self.connection.info.server_version
        if version < OLDEST * 10000:
            raise ServerUnavailable(f"the runbook needs PostgreSQL {OLDEST} or newer, and this is {version // 10000}")
        if self.months < 0:
            raise BadInput(f"months are counted from this one on: 0 or more, not {self.months}")
        if not (self.statement_seconds > 0 and self.lock_seconds > 0):
            raise BadInput("the time limits are positive numbers of seconds: without them a question could hang")

    def ask(self, asked: str | Question) -> pd.DataFrame:
        """The result as a table, one row per subject of the question. Raises as `answer`, and MissingExtra."""
        return self.answer(asked).frame()

    def answer(self, asked: str | Question) -> Answer:
        """The result as it came from the server.

        Raises BadInput for an unknown question, table or role, QuestionFailed if the server refuses or is too slow,
        ServerLost.
        """
        one = question(asked) if isinstance(asked, str) else asked
        try:
            with self._read_only(one) as cursor:
                if not one.parameters:
                    return _answer(cursor.execute(one.sql.encode(), prepare=False))
                values = self._values(cursor, one)
                return _answer(cursor.execute(one.placeholders.encode(), values, prepare=False))
        except psycopg.Error as error:
            raise self._in_our_words(one, error) from error

    def answer_all(self) -> dict[str, Answer | LabError]:
        """Every question's answer by name, or its error. Raises ServerLost."""
        answers: dict[str, Answer | LabError] = {}
        for one in questions():
            try:
                answers[one.name] = self.answer(one)
            except (BadInput, QuestionFailed) as error:
                answers[one.name] = error
        return answers

    @contextmanager
    def _read_only(self, one: Question) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            raise QuestionFailed(f"{one.name}: the connection's transaction has failed; roll it back first")
        with self.connection.transaction(force_rollback=True), self.connection.cursor(row_factory=tuple_row) as cursor:
            limits = {"statement": f"{self.statement_seconds:g}s", "lock": f"{self.lock_seconds:g}s"}
            cursor.execute(_READ_ONLY, limits, prepare=False)
            yield cursor

    def _values(self, cursor: psycopg.Cursor[tuple[Any, ...]], one: Question) -> Mapping[str, str]:
        """The values of the question's parameters. From here on only pg_catalog is searched."""
        role, path = cursor.execute(_WHO_ASKS, prepare=False).fetchone() or ("", "")
        # table-exists takes a table that may not exist.
        find = "table" in one.parameters and one.name != "table-exists"
        found = cursor.execute(_FIND, {"table": self.table}, prepare=False).fetchone() if find else None
        cursor.execute(_NARROW, prepare=False)
        return {
            "role": self.role or role,
            "path": path,
            "months": str(self.months),
            "older_than": self.older_than,
            "table": self._full_name(cursor, found[0], role, path) if found else self.table,
        }

    def _full_name(self, cursor: psycopg.Cursor[tuple[Any, ...]], oid: int | None, role: str, path: str) -> str:
        named = cursor.execute(_NAME, {"oid": oid}, prepare=False).fetchone()
        if named is None:
            raise BadInput(
                f"role {role} finds no table {self.table} in the schemas {path} of database "
                f"{self.connection.info.dbname}: ask table-exists, which says why"
            )
        name, kind = named
        if kind not in _TABLE_KINDS:
            raise BadInput(f"{name} is no table: name the table itself")
        return str(name)

    def _in_our_words(self, one: Question, error: psycopg.Error) -> LabError:
        if self.connection.closed:
            return ServerLost(f"{one.name}: the server closed the connection; connect again")
        if isinstance(error, errors.QueryCanceled):
            limit = f"{self.statement_seconds:g} s"
            return QuestionFailed(f"{one.name}: no answer within {limit}; ask again with more statement_seconds")
        if isinstance(error, errors.LockNotAvailable):
            return QuestionFailed(f"{one.name}: waited {self.lock_seconds:g} s for a lock; `locks` waits for none")
        if one.parameters and isinstance(error, _MALFORMED):
            return BadInput(f"{one.name}: {_said(error)}; a table is written as in SQL: orders, public.orders")
        return QuestionFailed(f"{one.name}: {error.sqlstate} {_said(error)}")


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip()


def _answer(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Answer:
    if cursor.description is None:
        return Answer((), ())
    return Answer(tuple(column.name for column in cursor.description), tuple(cursor.fetchall()))
