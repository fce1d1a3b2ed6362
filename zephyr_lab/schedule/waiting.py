"""Asks the server which sessions wait, for whom, and on what: the only place that does so for schedules.

`pg_isolation_test_session_is_blocked` is what PostgreSQL's own isolationtester uses: it sees lock waits *and* the
wait of a READ ONLY DEFERRABLE transaction for a safe snapshot. Like pg_blocking_pids and pg_locks it looks at the
lock manager itself; `pg_stat_activity.wait_event` may still show a wait that is over.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Mapping

from psycopg import pq

from zephyr_lab.errors import ServerLost
from zephyr_lab.schedule.transcript import Wait

ANSWER_SECONDS = 10

_WHO_WAITS = b"""
select pid, pg_blocking_pids(pid) || pg_safe_snapshot_blocking_pids(pid)
from unnest($1::int[]) as pid
where pg_catalog.pg_isolation_test_session_is_blocked(pid, $2::int[])"""

_ON_WHAT = b"""
select wanted.locktype,
       coalesce((select relname from pg_class where oid = coalesce(wanted.relation, (
           -- Whoever waits for a row's last writer holds the row's tuple lock meanwhile; it tells the table.
           select held.relation from pg_locks held
           where held.pid = $1 and held.locktype = 'tuple' and held.granted order by 1 limit 1))), '')
from pg_locks wanted where wanted.pid = $1 and not wanted.granted"""

SAFE_SNAPSHOT = "safe snapshot"
"""What a wait without an entry in pg_locks is taken for."""


class Observer:
    """The lab's own connection that watches the sessions; `pids` maps a backend's pid to its session's name."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection
        for name, sql in ((b"who_waits", _WHO_WAITS), (b"on_what", _ON_WHAT)):
            self._check(connection.prepare(name, sql))

    def who_waits(self, asked: Iterable[int], pids: Mapping[int, str]) -> dict[int, frozenset[int]]:
        """Those backends in `asked` that wait for one of `pids`, with all pids that block each."""
        result = self._ask(b"who_waits", _array(asked), _array(pids))
        return {int(row[0]): frozenset(_numbers(row[1])) for row in result}

    def describe(self, pid: int, held_up_by: Iterable[int], pids: Mapping[int, str], order: Iterable[str]) -> Wait:
        """The wait of `pid` in words: sessions in `order`, without foreign backends."""
        names = {pids[other] for other in held_up_by if other in pids}
        rows = self._ask(b"on_what", str(pid).encode())
        # A wait without an entry in pg_locks is the wait for a safe snapshot.
        lock, relation = (rows[0][0].decode(), rows[0][1].decode()) if rows else (SAFE_SNAPSHOT, "")
        return Wait(tuple(name for name in order if name in names), lock, relation)

    def _ask(self, statement: bytes, *values: bytes) -> list[list[bytes]]:
        while self._answer() is not None:  # of a query that was interrupted
            pass
        self._connection.send_query_prepared(statement, list(values))
        result = self._check(self._answer())
        while self._answer() is not None:
            pass
        return [[result.get_value(row, i) or b"" for i in range(result.nfields)] for row in range(result.ntuples)]

    def _answer(self) -> pq.abc.PGresult | None:
        """The next result of the query; None if there is no more. Raises ServerLost after a bounded time."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._connection.is_busy():
            if not select.select([self._connection.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ServerLost(
                    f"the server did not say within {ANSWER_SECONDS} s which sessions wait; start a new Lab"
                )
            self._connection.consume_input()
        return self._connection.get_result()

    def _check(self, result: pq.abc.PGresult | None) -> pq.abc.PGresult:
        if result is None or result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise ServerLost(
                "the server answered the lab's own question about waiting sessions with: "
                + self._connection.get_error_message()
            )
        return result


def in_a_cycle(pid: int, graph: Mapping[int, frozenset[int]]) -> bool:
    """Whether `pid` waits, directly or through others, for itself: a deadlock that the server has yet to detect."""
    seen: set[int] = set()
    todo = list(graph.get(pid, ()))
    while todo:
        other = todo.pop()
        if other == pid:
            return True
        if other not in seen:
            seen.add(other)
            todo += graph.get(other, ())
    return False


def _array(numbers: Iterable[int]) -> bytes:
    return b"{" + ",".join(str(number) for number in numbers).encode() + b"}"


def _numbers(array: bytes) -> list[int]:
    return [int(number) for number in array.strip(b"{}").split(b",") if number]
