"""Records histories on the lab's PostgreSQL: random transactions of concurrent sessions, for the checker.

Lists: a key's row holds an array, an append is `elements || value` in one upsert. Registers: a key's row holds a value
and a write replaces it; PostgreSQL 18 returns the replaced value (`RETURNING old.value`), so that the order of
versions is known. Times are positions in one sequence of events that all sessions share: one number taken before BEGIN
is sent and one after COMMIT has returned, so the order of numbers is an order in time.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from zephyr_lab import check
from zephyr_lab.check.report import Report
from zephyr_lab.errors import BadInput, is_retryable
from zephyr_lab.schedule.levels import IsolationLevel

PROMISED = {
    IsolationLevel.READ_UNCOMMITTED: "read-committed",
    IsolationLevel.READ_COMMITTED: "read-committed",
    IsolationLevel.REPEATABLE_READ: "snapshot-isolation",
    IsolationLevel.SERIALIZABLE: "serializable",
}
"""What PostgreSQL promises at each of its levels (manual, 13.2), by the checker's names."""

_TABLES = {"list-append": "elements bigint[] not null", "rw-register": "value bigint not null"}
_APPEND = """insert into {table} values (%s, array[%s::bigint])
on conflict (key) do update set elements = {table}.elements || excluded.elements"""
_WRITE = """insert into {table} values (%s, %s) on conflict (key) do update set value = excluded.value"""


@dataclass(frozen=True)
class Recording:
    """A recorded history and its isolation level."""

    history: check.History
    isolation: IsolationLevel

    def check(self, level: str | None = None) -> Report:
        """Checks the history, by default at what PostgreSQL promises. Raises BadInput."""
        return check.check(self.history, level or PROMISED[self.isolation])

    def write(self, path: Path | str) -> None:
        """The history as JSON lines."""
        check.write(self.history, path)

    def __repr__(self) -> str:
        counts = {word: int((self.history.status == i).sum()) for i, word in enumerate(("ok", "fail", "info"))}
        said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        return f"{self.history.workload} at {self.isolation}: {said or 'no transactions'}"


def record(
    connect: Callable[[], psycopg.Connection],
    *,
    workload: str = "list-append",
    isolation: Any = IsolationLevel.SERIALIZABLE,
    sessions: int = 4,
    seconds: float | None = None,
    transactions: int | None = None,
    keys: int = 5,
    operations: int = 4,
    seed: int = 0,
) -> Recording:
    """Runs random transactions of 1 to `operations` operations in each session, until time or their number is up.

    `seconds` from the start, `transactions` in all; without either 200. Keys are 0 to `keys` - 1, in a table of its own
    that is dropped at the end. A transaction refused with a serialization failure or a deadlock is recorded as failed,
    and not retried; one whose connection died at COMMIT as indeterminate. Raises BadInput, and other server errors.
    """
    if workload not in _TABLES:
        raise BadInput(f"unknown workload {workload!r}; known are {', '.join(_TABLES)}")
    if min(sessions, keys, operations) < 1 or (seconds is not None and not 0 < seconds < 1e6):
        raise BadInput("sessions, keys and operations are numbers from 1, seconds a positive number")
    level = IsolationLevel.of(isolation)
    if seconds is None and transactions is None:
        transactions = 200
    with connect() as main:
        table = f"zephyr_lab_history_{random.SystemRandom().randrange(10**9)}"
        main.execute(f"create table {table} (key int primary key, {_TABLES[workload]})".encode())
        try:
            load = _Load(connect, workload, level, table, seconds, transactions, keys, operations, seed)
            rows = load.run(sessions)
        finally:
            main.execute(f"drop table {table}".encode())
    return Recording(check.from_transactions(rows, workload), level)


class _Load:
    def __init__(
        self, connect: Callable[[], psycopg.Connection], workload: str, level: IsolationLevel, table: str,
        seconds: float | None, transactions: int | None, keys: int, operations: int, seed: int,
    ) -> None:  # fmt: skip
        self.connect, self.lists, self.level, self.table = connect, workload == "list-append", level, table
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.left = itertools.repeat(0) if transactions is None else iter(range(transactions))
        self.keys, self.operations, self.seed = keys, operations, seed
        self.clock, self.values = itertools.count(), itertools.count(1)  # next() is atomic
        self.rows: list[dict[str, Any]] = []
        self.stopped = threading.Event()
        self.errors: list[BaseException] = []

    def run(self, sessions: int) -> list[dict[str, Any]]:
        threads = [threading.Thread(target=self._session, args=(number,)) for number in range(sessions)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self.stopped.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]
        return sorted(self.rows, key=lambda row: (row["t1"] is None, row["t1"] or row["t0"]))

    def _session(self, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        try:
            with self.connect() as connection:
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    connection.execute("set deadlock_timeout = '10ms'")  # random transactions deadlock often
                tells_old = connection.info.server_version >= 180000
                while not self.stopped.is_set() and next(self.left, None) is not None:
                    if self.deadline is not None and time.monotonic() >= self.deadline:
                        return
                    self._transaction(connection, number, chance, tells_old)
        except BaseException as error:  # raised by the thread that waits for this one
            self.errors.append(error)
            self.stopped.set()

    def _transaction(
        self, connection: psycopg.Connection, session: int, chance: random.Random, tells_old: bool
    ) -> None:
        plan = [(chance.randrange(self.keys), chance.random() < 0.5) for _ in range(chance.randint(1, self.operations))]
        ops: list[list[Any]] = []
        begun, type_ = next(self.clock), "fail"
        try:
            connection.execute(f"begin isolation level {self.level}".encode())
            for key, reads in plan:
                ops.append(self._read(connection, key) if reads else self._write(connection, key, tells_old))
            type_ = "info"
            connection.execute("commit")
            type_ = "ok"
        except psycopg.Error as error:
            if not connection.closed:
                connection.execute("rollback")
                if not is_retryable(error):
                    raise
                type_ = "fail"
            elif type_ != "info":
                raise
        done = None if type_ == "info" else next(self.clock)
        # Reads of an aborted transaction mean nothing; its writes must be known.
        self.rows.append({"session": session, "type": type_, "ops": ops, "t0": begun, "t1": done})
        if connection.closed:
            raise psycopg.OperationalError("the connection died at COMMIT")

    def _read(self, connection: psycopg.Connection, key: int) -> list[Any]:
        column = "elements" if self.lists else "value"
        row = connection.execute(f"select {column} from {self.table} where key = %s".encode(), [key]).fetchone()
        return ["r", key, row[0] if row else None]

    def _write(self, connection: psycopg.Connection, key: int, tells_old: bool) -> list[Any]:
        value = next(self.values)
        sql = (_APPEND if self.lists else _WRITE).format(table=self.table)
        if self.lists or not tells_old:
            connection.execute(sql.encode(), [key, value])
            return ["append" if self.lists else "w", key, value]
        row = connection.execute(f"{sql} returning old.value".encode(), [key, value]).fetchone()
        return ["w", key, value, row[0]] if row else ["w", key, value]
