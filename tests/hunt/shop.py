"""Six operations of a small shop: one races with itself, one with its own kind, one pair waits for each other."""

from __future__ import annotations

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

SETUP = """
create table slots (id int primary key, booked int not null);
insert into slots values (1, 0), (2, 0);
create table orders (id int primary key, slot int not null);
create table visits (page text primary key, hits int not null);
insert into visits values ('home', 0);
"""


def book(conn: Connection) -> int:
    """Loses an update."""
    (booked,) = conn.execute("select booked from slots where id = 1").fetchone() or (0,)
    conn.execute("update slots set booked = %s where id = 1", [booked + 1])
    return int(booked)


def add(conn: Connection) -> None:
    """In one statement."""
    conn.execute("update slots set booked = booked + 1 where id = 1")


def order(conn: Connection) -> int:
    """At most one for a slot, as it believes."""
    (count,) = conn.execute("select count(*) from orders where slot = 1").fetchone() or (0,)
    if not count:
        conn.execute("insert into orders select coalesce(max(id), 0) + 1, 1 from orders")
    return int(count)


def move(conn: Connection) -> None:
    """Takes both locks, the first one first."""
    conn.execute("select from slots where id = 1 for update")
    conn.execute("select from slots where id = 2 for update")


def move_back(conn: Connection) -> None:
    """Takes them in the other order."""
    conn.execute("select from slots where id = 2 for update")
    conn.execute("select from slots where id = 1 for update")


def look(conn: Connection) -> int:
    (booked,) = conn.execute("select booked from slots where id = 2").fetchone() or (0,)
    return int(booked)


def visit(conn: Connection) -> None:
    """In a table of its own."""
    conn.execute("update visits set hits = hits + 1 where page = 'home'")


OPERATIONS = {"book": book, "add": add, "order": order, "move": move, "move_back": move_back, "look": look}
ALL = {**OPERATIONS, "visit": visit}
