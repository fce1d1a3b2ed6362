"""somebody-stays: what holds, and what people try."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.errors import SerializationFailure

Connection = psycopg.Connection[Any]

OTHERS = "select name from couriers where name <> %s and on_shift"
LEAVE = "update couriers set on_shift = false where name = %s"
LOCK_ALL = "select name from couriers order by name for update"


def leave(conn: Connection, me: str) -> bool:
    conn.execute(LEAVE, [me])
    return True


def all_in_order(conn: Connection, me: str) -> bool:
    conn.execute(LOCK_ALL)
    return conn.execute(OTHERS, [me]).rowcount > 0 and leave(conn, me)


def locked_and_counted(conn: Connection, me: str) -> bool:
    there = conn.execute("select name from couriers where on_shift order by name for update").fetchall()
    return len(there) > 1 and leave(conn, me)


def advisory(conn: Connection, me: str) -> bool:
    conn.execute("select pg_advisory_xact_lock(18)")
    return conn.execute(OTHERS, [me]).rowcount > 0 and leave(conn, me)


RIGHT = [all_in_order, locked_and_counted, advisory]


def naive(conn: Connection, me: str) -> bool:
    return conn.execute(OTHERS, [me]).rowcount > 0 and leave(conn, me)


def one_statement(conn: Connection, me: str) -> bool:
    update = LEAVE + " and exists (select from couriers where name <> %s and on_shift)"
    return conn.execute(update, [me, me]).rowcount == 1


def my_row_locked(conn: Connection, me: str) -> bool:
    conn.execute("select from couriers where name = %s for update", [me])
    return conn.execute(OTHERS, [me]).rowcount > 0 and leave(conn, me)


def others_locked(conn: Connection, me: str) -> bool:
    return conn.execute(OTHERS + " for update", [me]).rowcount > 0 and leave(conn, me)


def mine_then_others(conn: Connection, me: str) -> bool:
    conn.execute("select from couriers where name = %s for update", [me])
    return conn.execute(OTHERS + " order by name for update", [me]).rowcount > 0 and leave(conn, me)


def lock_after_looking(conn: Connection, me: str) -> bool:
    others = conn.execute(OTHERS, [me]).rowcount
    conn.execute(LOCK_ALL)
    return others > 0 and leave(conn, me)


def aggregate_locked(conn: Connection, me: str) -> bool:
    row = conn.execute("select count(*) from couriers where on_shift for update").fetchone()
    return bool(row and row[0] > 1) and leave(conn, me)


def repeatable_read(conn: Connection, me: str) -> bool:
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    return naive(conn, me)


def serializable_and_retried(conn: Connection, me: str) -> bool:
    while True:
        try:
            with conn.transaction():
                conn.execute("set transaction isolation level serializable")
                return naive(conn, me)
        except SerializationFailure:
            continue


def looked_at_afterwards(conn: Connection, me: str) -> bool:
    """Goes, looks, and comes back if nobody is there; but others' going is not visible yet."""
    leave(conn, me)
    if conn.execute(OTHERS, [me]).rowcount:
        return True
    conn.rollback()
    return False


def skip_locked(conn: Connection, me: str) -> bool:
    there = conn.execute("select name from couriers where on_shift order by name for update skip locked").fetchall()
    return len(there) > 1 and leave(conn, me)


REFUSED = {
    naive: "somebody is on shift",
    one_statement: "somebody is on shift",
    my_row_locked: "somebody is on shift",
    others_locked: "aborted",
    mine_then_others: "aborted",
    lock_after_looking: "somebody is on shift",
    aggregate_locked: "comes to its end",
    repeatable_read: "isolation level",
    serializable_and_retried: "isolation level",
    looked_at_afterwards: "somebody is on shift",
    skip_locked: "whoever can go home may go",
}
