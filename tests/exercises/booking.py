"""safe-booking and booking-without-waits: what holds, and what people try."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.errors import LockNotAvailable, SerializationFailure

Connection = psycopg.Connection[Any]

READ = "select booked, capacity from slots where slot = %s"
WRITE = "update slots set booked = %s where slot = %s"
ADD = "update slots set booked = booked + %s where slot = %s"
GUARDED = "update slots set booked = booked + %s where slot = %s and booked + %s <= capacity"


def read(conn: Connection, slot: str, lock: str = "") -> tuple[int, int]:
    row = conn.execute(f"{READ} {lock}", [slot]).fetchone()
    assert row
    return row


def guarded(conn: Connection, slot: str, price: int) -> bool:
    return conn.execute(GUARDED, [price, slot, price]).rowcount == 1


def locked(conn: Connection, slot: str, price: int) -> bool:
    booked, capacity = read(conn, slot, "for update")
    if booked + price > capacity:
        return False
    conn.execute(WRITE, [booked + price, slot])
    return True


def advisory(conn: Connection, slot: str, price: int) -> bool:
    conn.execute("select pg_advisory_xact_lock(hashtext(%s))", [slot])
    return naive(conn, slot, price)


def versioned(conn: Connection, slot: str, price: int) -> bool:
    while True:
        booked, capacity = read(conn, slot)
        if booked + price > capacity:
            return False
        update = f"{WRITE} and booked = %s"
        if conn.execute(update, [booked + price, slot, booked]).rowcount:
            return True
        conn.rollback()


def in_one_message(conn: Connection, slot: str, price: int) -> bool:
    conn.autocommit = True
    return conn.execute(GUARDED, [price, slot, price]).rowcount == 1


SAFE = [guarded, locked, advisory, versioned, in_one_message]
UNHINDERED = [in_one_message]


def naive(conn: Connection, slot: str, price: int) -> bool:
    booked, capacity = read(conn, slot)
    if booked + price > capacity:
        return False
    conn.execute(WRITE, [booked + price, slot])
    return True


def check_then_add(conn: Connection, slot: str, price: int) -> bool:
    booked, capacity = read(conn, slot)
    if booked + price > capacity:
        return False
    conn.execute(ADD, [price, slot])
    return True


def lock_after_reading(conn: Connection, slot: str, price: int) -> bool:
    booked, capacity = read(conn, slot)
    conn.execute("select from slots where slot = %s for update", [slot])
    if booked + price > capacity:
        return False
    conn.execute(WRITE, [booked + price, slot])
    return True


def lock_let_go(conn: Connection, slot: str, price: int) -> bool:
    with conn.transaction():
        booked, capacity = read(conn, slot, "for update")
    if booked + price > capacity:
        return False
    conn.execute(WRITE, [booked + price, slot])
    return True


def rows_not_counted(conn: Connection, slot: str, price: int) -> bool:
    conn.execute(GUARDED, [price, slot, price])
    return True


def check_again_and_write(conn: Connection, slot: str, price: int) -> bool:
    booked, capacity = read(conn, slot)
    if booked + price > capacity:
        return False
    update = f"{WRITE} and booked + %s <= capacity"
    return conn.execute(update, [booked + price, slot, price]).rowcount == 1


def nowait(conn: Connection, slot: str, price: int) -> bool:
    try:
        booked, capacity = read(conn, slot, "for update nowait")
    except LockNotAvailable:
        return False
    if booked + price > capacity:
        return False
    conn.execute(WRITE, [booked + price, slot])
    return True


def serializable(conn: Connection, slot: str, price: int) -> bool:
    conn.isolation_level = IsolationLevel.SERIALIZABLE
    return naive(conn, slot, price)


def error_swallowed(conn: Connection, slot: str, price: int) -> bool:
    try:
        conn.execute("set transaction isolation level repeatable read")
        return naive(conn, slot, price)
    except SerializationFailure:
        return True


def shared_lock(conn: Connection, slot: str, price: int) -> bool:
    booked, capacity = read(conn, slot, "for share")
    if booked + price > capacity:
        return False
    conn.execute(WRITE, [booked + price, slot])
    return True


def always_no(conn: Connection, slot: str, price: int) -> bool:
    return False


def no_answer(conn: Connection, slot: str, price: int) -> None:
    locked(conn, slot, price)


def misspelt(conn: Connection, slot: str, price: int) -> bool:
    return conn.execute(GUARDED, [pirce, slot, price]).rowcount == 1  # type: ignore[name-defined]  # noqa: F821


def bad_sql(conn: Connection, slot: str, price: int) -> bool:
    return conn.execute("update slot set booked = booked + %s where slot = %s", [price, slot]).rowcount == 1


def other_parameters(conn: Connection, price: int) -> bool:
    return guarded(conn, "18:00", price)


async def asynchronous(conn: Any, slot: str, price: int) -> bool:
    return True


REFUSED = {
    naive: "lock_or_look",
    check_then_add: "",
    lock_after_reading: "",
    lock_let_go: "",
    rows_not_counted: "",
    check_again_and_write: "",
    nowait: "",
    serializable: "",
    error_swallowed: "",
    shared_lock: "",
    always_no: "",
    no_answer: "",
    misspelt: "",
    bad_sql: "",
    other_parameters: "",
    asynchronous: "",
}
