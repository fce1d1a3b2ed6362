"""transfer-without-deadlock: what holds, and what people try."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

Connection = psycopg.Connection[Any]

LOCK = "select booked, capacity from slots where slot = %s for update"
LOCK_BOTH = "select slot from slots where slot = any(%s) order by slot for update"
LOOK = "select booked, capacity from slots where slot = %s"
ADD = "update slots set booked = booked + %s where slot = %s"
ADD_IF = "update slots set booked = booked + %s where slot = %s and booked + %s <= capacity"


def fits(conn: Connection, query: str, slot: str, price: int) -> bool:
    row = conn.execute(query, [slot]).fetchone()
    assert row
    return bool(row[0] + price <= row[1])


def move(conn: Connection, source: str, target: str, price: int) -> bool:
    conn.execute(ADD, [-price, source])
    conn.execute(ADD, [price, target])
    return True


def both_in_order(conn: Connection, source: str, target: str, price: int) -> bool:
    conn.execute(LOCK_BOTH, [[source, target]])
    return fits(conn, LOOK, target, price) and move(conn, source, target, price)


def one_by_one_in_order(conn: Connection, source: str, target: str, price: int) -> bool:
    room = {slot: fits(conn, LOCK, slot, price) for slot in sorted([source, target])}
    return room[target] and move(conn, source, target, price)


RIGHT = [both_in_order, one_by_one_in_order]


def naive(conn: Connection, source: str, target: str, price: int) -> bool:
    """The target is locked first, whichever it is."""
    return fits(conn, LOCK, target, price) and move(conn, source, target, price)


def in_order_of_arguments(conn: Connection, source: str, target: str, price: int) -> bool:
    fits(conn, LOCK, source, price)
    return fits(conn, LOCK, target, price) and move(conn, source, target, price)


def updates_in_order(conn: Connection, source: str, target: str, price: int) -> bool:
    """The locks are in order, and the look is before them."""
    if not fits(conn, LOOK, target, price):
        return False
    for slot in sorted([source, target]):
        conn.execute(ADD, [price if slot == target else -price, slot])
    return True


def retried(conn: Connection, source: str, target: str, price: int) -> bool:
    while True:
        try:
            return naive(conn, source, target, price)
        except DeadlockDetected:
            conn.rollback()
            time.sleep(1)


def nowait(conn: Connection, source: str, target: str, price: int) -> bool:
    try:
        room = fits(conn, LOCK + " nowait", target, price)
        fits(conn, LOCK + " nowait", source, price)
    except LockNotAvailable:
        return False
    return room and move(conn, source, target, price)


def commits_between(conn: Connection, source: str, target: str, price: int) -> bool:
    """No deadlock, since no two locks are held at once; nor a transfer."""
    conn.execute(ADD, [-price, source])
    conn.commit()
    return conn.execute(ADD_IF, [price, target, price]).rowcount == 1


def shared_first(conn: Connection, source: str, target: str, price: int) -> bool:
    conn.execute(LOCK_BOTH.replace("for update", "for share"), [[source, target]])
    return fits(conn, LOOK, target, price) and move(conn, source, target, price)


REFUSED = {
    naive: "wait for each other",
    in_order_of_arguments: "wait for each other",
    updates_in_order: "holds more than its capacity",
    retried: "wait for each other",
    nowait: "a move that fits is made",
    commits_between: "what leaves one slot",
    shared_first: "wait for each other",
}
