"""The rows that are there when an operation begins, read on the connection that it uses: nobody else may see them.

They are read in a transaction that is rolled back at once, or under a savepoint, so that neither locks nor settings
are left; nothing waits for a lock, and nothing is read at SERIALIZABLE, where that might abort others.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from psycopg import pq

from zephyr_lab.suite.definitions import Definitions

MOST_ROWS = 1_000
"""Of a table."""
READINGS = 5
"""How often rows are read for calls that begin at the same line of the same function."""

_LIMITS = "set local lock_timeout = '200ms'; set local statement_timeout = '5s'"
_TABLES = r"""
select format('%I.%I', nspname, relname), current_schema,
  (select json_agg(attname order by attnum) from pg_attribute
   where attrelid = pg_class.oid and attnum > 0 and not attisdropped and attgenerated = ''),
  (select json_agg(attname) from pg_index join pg_attribute on attrelid = indrelid and attnum = any (indkey)
   where indrelid = pg_class.oid and indisprimary)
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where relkind in ('r', 'p') and not relispartition and nspname not like 'pg\_%'
  and nspname <> 'information_schema' and nspname not like 'zephyr\_lab\_%'
  and has_table_privilege(pg_class.oid, 'select')
order by 1"""


@dataclass(frozen=True)
class Table:
    """A table's columns that can be written, and those of its primary key."""

    columns: tuple[str, ...]
    key: tuple[str, ...]


Met = Mapping[str, Sequence[str]]
"""Rows, as JSON, by table."""


@dataclass
class Rows:
    """`met` are all readings; `tables` those that were there in any, `home` the schema of unqualified names, which is
    left out everywhere else, `cut` tables of which not all rows were read."""

    definitions: Definitions = field(default_factory=Definitions)
    met: list[Met] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    home: str = ""
    cut: set[str] = field(default_factory=set)
    unread: dict[str, int] = field(default_factory=dict)
    _times: dict[Any, int] = field(default_factory=dict)

    def read(self, connection: Any, place: Any) -> int | None:
        """The number of a reading, which is its place in `met`; None if the rows cannot be read, or often were."""
        pgconn, times = connection.pgconn, self._times.get(place, 0)
        is_idle = pgconn.transaction_status == pq.TransactionStatus.IDLE
        if times >= READINGS or not (is_idle or pgconn.transaction_status == pq.TransactionStatus.INTRANS):
            return None
        if pgconn.pipeline_status != pq.PipelineStatus.OFF:
            return None
        self._times[place] = times + 1
        try:
            rows = self._rows(Asks(pgconn, connection.info.encoding), is_idle)
            if rows is not None:
                self.definitions.note(connection, self.home, self.tables)
        except Unread as error:
            self.unread[str(error)] = self.unread.get(str(error), 0) + 1
            return None
        if rows is None:
            return None
        self.met.append(rows)
        return len(self.met) - 1

    def _rows(self, asks: Asks, is_idle: bool) -> Met | None:
        if not is_idle and asks("show transaction_isolation") == [["serializable"]]:
            return None
        asks("begin read only" if is_idle else "savepoint zephyr_lab")
        try:
            asks(_LIMITS)
            for name, home, columns, key in asks(_TABLES):
                self.home = home or ""
                self.tables[at_home(name or "", self.home)] = Table(
                    tuple(json.loads(columns or "[]")), tuple(json.loads(key or "[]"))
                )
            return self._all(asks)
        finally:
            for words in ["rollback"] if is_idle else ["rollback to zephyr_lab", "release zephyr_lab"]:
                asks(words)

    def _all(self, asks: Asks) -> Met:
        """Of the tables that are there now."""
        there = [name for name, *_ in asks(_TABLES) if name]
        names = [at_home(name, self.home) for name in there]
        parts = [
            f"select {number}, to_json(t)::text from (select * from {name} limit {MOST_ROWS + 1}) t"
            for number, name in enumerate(there)
        ]
        rows: dict[str, list[str]] = {name: [] for name in names}
        for number, row in asks(" union all ".join(parts)) if parts else []:
            rows[names[int(number or 0)]].append(row or "")
        self.cut |= {name for name, some in rows.items() if len(some) > MOST_ROWS}
        return {name: tuple(some[:MOST_ROWS]) for name, some in rows.items()}

    def add(self, other: Rows) -> int:
        """Adds those of another process, on a database of the same tables; returns the number of its first reading."""
        first = len(self.met)
        self.met += other.met
        self.tables |= other.tables
        self.cut |= other.cut
        self.unread = dict(Counter(self.unread) + Counter(other.unread))
        if not self.definitions.statements:
            self.definitions = other.definitions
        return first

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for another process."""
        return {
            "definitions": asdict(self.definitions), "met": [dict(one) for one in self.met],
            "tables": {name: asdict(one) for name, one in self.tables.items()},
            "cut": sorted(self.cut), "unread": self.unread,
        }  # fmt: skip

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """From `to_dict`."""
        tables = {name: Table(tuple(one["columns"]), tuple(one["key"])) for name, one in said["tables"].items()}
        definitions = Definitions(**said["definitions"])
        return cls(definitions, said["met"], tables, "", set(said["cut"]), dict(said["unread"]))

    def setup(self, readings: Sequence[int]) -> str:
        """SQL that makes all tables, with the rows of these readings; where two differ in a row, the first has it."""
        parts = [*self.definitions.statements, "set session_replication_role = replica"]
        for name, table in self.tables.items():
            if not table.columns or not self.definitions.has(name):
                continue
            columns = ", ".join(_quoted(one) for one in table.columns)
            parts += [
                f"insert into {name} ({columns}) overriding system value select {columns} "
                f"from json_populate_record(null::{name}, {_literal(row)})"
                for row in self._joined(name, table, readings)
            ]
            parts += [_CONTINUES.format(table=_literal(name), column=_literal(one), here=name, quoted=_quoted(one))
                      for one in table.columns]  # fmt: skip
        return ";\n".join([*filter(None, parts), "set session_replication_role = origin"])

    def _joined(self, name: str, table: Table, readings: Sequence[int]) -> list[str]:
        """Of a table without a primary key, only the first reading's: nobody knows which rows are the same."""
        found: dict[Any, str] = {}
        for number in dict.fromkeys(readings):
            rows = self.met[number].get(name, ())
            for place, row in enumerate(rows):
                said = json.loads(row) if table.key else {}
                key = tuple(str(said[one]) for one in table.key) or (place,)
                found.setdefault(key, row)
            if rows and not table.key:
                break
        return list(found.values())


_CONTINUES = (
    "do $$ begin if pg_get_serial_sequence({table}, {column}) is not null then "
    "perform setval(pg_get_serial_sequence({table}, {column}), coalesce((select max({quoted}) from {here}), 0) + 1, "
    "false); end if; end $$"
)


class Unread(Exception):
    """Rows that could not be read, and why."""


@dataclass(frozen=True)
class Asks:
    """Sends a query beside psycopg, so that neither its state nor anybody's cursor changes. Raises Unread."""

    pgconn: Any
    encoding: str

    def __call__(self, sql: str) -> list[list[str | None]]:
        told = self.pgconn.exec_(sql.encode(self.encoding))
        if told.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise Unread(told.error_message.decode(self.encoding, "replace").strip().splitlines()[0])
        return [
            [None if (value := told.get_value(row, column)) is None else value.decode(self.encoding)
             for column in range(told.nfields)]
            for row in range(told.ntuples)
        ]  # fmt: skip


def at_home(name: str, home: str) -> str:
    """A qualified name as it is in the lab's schema, which stands for the schema of unqualified names."""
    return name.removeprefix(f"{home}.") if home else name


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'" if "\\" not in text else "E'" + doubled.replace("\\", "\\\\") + "'"
