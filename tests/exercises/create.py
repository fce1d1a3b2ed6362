"""idempotent-create: what holds, and what people try."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.errors import UniqueViolation

Connection = psycopg.Connection[Any]

FIND = "select id from orders where request = %s"
INSERT = "insert into orders values (%s, %s)"
OR_NOTHING = INSERT + " on conflict (request) do nothing"


def find(conn: Connection, request: int) -> int | None:
    row = conn.execute(FIND, [request]).fetchone()
    return row and int(row[0])


def insert_then_find(conn: Connection, request: int, number: int) -> int | None:
    conn.execute(OR_NOTHING, [number, request])
    return find(conn, request)


def upsert(conn: Connection, request: int, number: int) -> int:
    update = INSERT + " on conflict (request) do update set request = excluded.request returning id"
    row = conn.execute(update, [number, request]).fetchone()
    assert row
    return int(row[0])


def savepoint(conn: Connection, request: int, number: int) -> int | None:
    try:
        with conn.transaction():
            conn.execute(INSERT, [number, request])
    except UniqueViolation:
        return find(conn, request)
    return number


RIGHT = [upsert, insert_then_find, savepoint]


def naive(conn: Connection, request: int, number: int) -> int:
    found = find(conn, request)
    if found is not None:
        return found
    conn.execute(INSERT, [number, request])
    return number


def not_exists(conn: Connection, request: int, number: int) -> int | None:
    conn.execute(
        "insert into orders select %s, %s where not exists (select from orders where request = %s)",
        [number, request, request],
    )
    return find(conn, request)


def rows_not_counted(conn: Connection, request: int, number: int) -> int:
    conn.execute(OR_NOTHING, [number, request])
    return number


def look_then_rows_not_counted(conn: Connection, request: int, number: int) -> int:
    found = find(conn, request)
    if found is not None:
        return found
    conn.execute(OR_NOTHING, [number, request])
    return number


def returning_nothing(conn: Connection, request: int, number: int) -> int | None:
    row = conn.execute(OR_NOTHING + " returning id", [number, request]).fetchone()
    return row and int(row[0])


def in_one_statement(conn: Connection, request: int, number: int) -> int | None:
    either = f"with new as ({OR_NOTHING} returning id) select id from new union all {FIND}"
    row = conn.execute(either, [number, request, request]).fetchone()
    return row and int(row[0])


def caught_without_savepoint(conn: Connection, request: int, number: int) -> int | None:
    try:
        conn.execute(INSERT, [number, request])
    except UniqueViolation:
        return find(conn, request)
    return number


def caught_and_own_number(conn: Connection, request: int, number: int) -> int:
    try:
        return naive(conn, request, number)
    except UniqueViolation:
        return number


def lock_after_looking(conn: Connection, request: int, number: int) -> int:
    found = find(conn, request)
    conn.execute("lock table orders in exclusive mode")
    if found is not None:
        return found
    conn.execute(INSERT, [number, request])
    return number


REFUSED = {
    naive: "no error for anybody",
    not_exists: "no error for anybody",
    rows_not_counted: "the number of the order that is there",
    look_then_rows_not_counted: "the number of the order that is there",
    returning_nothing: "the number of the order that is there",
    in_one_statement: "the number of the order that is there",
    caught_without_savepoint: "no error for anybody",
    caught_and_own_number: "the number of the order that is there",
    lock_after_looking: "no error for anybody",
}
