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


def rolled_back(conn: Connection, slot: str, price: int) -> bool:
    booked = guarded(conn, slot, price)
    conn.rollback()
    return booked


def rows_deleted(conn: Connection, slot: str, price: int) -> bool:
    return conn.execute("delete from slots where slot = %s", [slot]).rowcount == 1


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
    naive: "an order that was accepted is counted",
    check_then_add: "no slot holds more than its capacity",
    lock_after_reading: "looks first and locks then",
    lock_let_go: "lock is over when its transaction is",
    rows_not_counted: "was answered '0 rows'",
    check_again_and_write: "an order that was accepted is counted",
    nowait: "an order that fits is accepted",
    serializable: "the isolation level stays as it is given",
    error_swallowed: "the isolation level stays as it is given",
    shared_lock: "neither session can then raise its own",
    rolled_back: "was rolled back after it had written",
    rows_deleted: "'18:00' is gone",
    always_no: "none of the functions made a round trip",
    no_answer: "returns True or False",
    misspelt: "It was raised in line 2 of misspelt()",
    bad_sql: 'relation "slot" does not exist',
    other_parameters: "the checker calls other_parameters(conn, slot, price)",
    asynchronous: "this exercise takes an ordinary function",
}
HINDERED = {
    naive: "an order that was accepted is counted",
    guarded: "has to wait for another one's next message",
    locked: "has to wait for another one's next message",
    advisory: "has to wait for another one's next message",
    versioned: "has to wait for another one's next message",
    lock_let_go: "an order that was accepted is counted",
    nowait: "an order that fits is accepted",
}
