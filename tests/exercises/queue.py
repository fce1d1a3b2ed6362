"""job-queue: what holds, and what people try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
Bake = Callable[[int], None]

NEXT = "select id from orders where not baked order by id limit 1"
DONE = "update orders set baked = true where id = %s"


def skipping(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(NEXT + " for update skip locked").fetchone()
    if row is None:
        return None
    bake(row[0])
    conn.execute(DONE, row)
    return int(row[0])


def in_one_statement(conn: Connection, bake: Bake) -> int | None:
    with conn.transaction():
        take = f"update orders set baked = true where id = ({NEXT} for update skip locked) returning id"
        row = conn.execute(take).fetchone()
        if row is None:
            return None
        bake(row[0])
    return int(row[0])


RIGHT = [in_one_statement, skipping]


def naive(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(NEXT).fetchone()
    if row is None:
        return None
    bake(row[0])
    conn.execute(DONE, row)
    return int(row[0])


def none_not_handled(conn: Connection, bake: Bake) -> int | None:
    (order,) = conn.execute(NEXT + " for update skip locked").fetchone()  # type: ignore[misc]
    bake(order)
    conn.execute(DONE, [order])
    return int(order)


def waiting(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(NEXT + " for update").fetchone()
    if row is None:
        return None
    bake(row[0])
    conn.execute(DONE, row)
    return int(row[0])


def committed_too_early(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(NEXT + " for update skip locked").fetchone()
    conn.commit()
    if row is None:
        return None
    bake(row[0])
    conn.execute(DONE, row)
    return int(row[0])


def marked_before(conn: Connection, bake: Bake) -> int | None:
    with conn.transaction():
        take = f"update orders set baked = true where id = ({NEXT} for update skip locked) returning id"
        row = conn.execute(take).fetchone()
    if row is None:
        return None
    bake(row[0])
    return int(row[0])


def update_without_lock(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(f"update orders set baked = true where id = ({NEXT}) returning id").fetchone()
    if row is None:
        return None
    bake(row[0])
    return int(row[0])


def update_checks_again(conn: Connection, bake: Bake) -> int | None:
    """The second one finds the order taken, and goes home though there is another one."""
    row = conn.execute(NEXT).fetchone()
    if row is None or not conn.execute(DONE + " and not baked", row).rowcount:
        return None
    bake(row[0])
    return int(row[0])


def error_swallowed(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(NEXT + " for update skip locked").fetchone()
    if row is None:
        return None
    try:
        bake(row[0])
    except Exception:
        print("the oven broke")
    conn.execute(DONE, row)
    return int(row[0])


def not_marked(conn: Connection, bake: Bake) -> int | None:
    row = conn.execute(NEXT + " for update skip locked").fetchone()
    if row is None:
        return None
    bake(row[0])
    return int(row[0])


REFUSED = {
    naive: "baked twice",
    none_not_handled: "comes to its end",
    waiting: "waits for another one",
    committed_too_early: "baked twice",
    marked_before: "only then",
    update_without_lock: "baked twice",
    update_checks_again: "stands idle",
    error_swallowed: "only then",
    not_marked: "only then",
}
