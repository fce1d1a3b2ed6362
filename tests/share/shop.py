"""Functions that another module can import."""

from __future__ import annotations

import psycopg

SCHEMA = "create table slots (slot text primary key, booked int not null); insert into slots values ('18:00', 0)"

ORDERS = """
create table slots (slot text primary key); insert into slots values ('18:00');
create table orders (id serial primary key, slot text references slots, about jsonb, state text);
insert into orders (slot, about) values ('18:00', '{"by": "it''s {me}"}')
"""


def make_slots(conn: psycopg.Connection) -> None:
    """A setup that is a function; what it makes has braces, and a sequence that has handed out some ids."""
    conn.execute(SCHEMA)
    conn.execute("create type state as enum ('{new}', 'done')")
    conn.execute("create table orders (id serial primary key, slot text references slots, about jsonb, state state)")
    conn.execute("""insert into orders (slot, about) values ('18:00', '{"by": "it''s {me}"}')""")


def book(conn: psycopg.Connection, slot: str = "18:00", amount: int = 5000) -> int:
    """Reads, and writes back."""
    row = conn.execute("select booked from slots where slot = %s", [slot]).fetchone()
    assert row
    conn.execute("update slots set booked = %s where slot = %s", [row[0] + amount, slot])
    return int(row[0]) + amount


def order(conn: psycopg.Connection) -> int:
    """The id that the sequence hands out comes back in a later statement."""
    counted = conn.execute("select count(*) from orders").fetchone()
    made = conn.execute("insert into orders (slot, about) values ('18:00', %s) returning id", ['{"n": {}}']).fetchone()
    assert counted
    conn.execute("update orders set state = 'done' where id = %s", made)
    return int(counted[0])


def book_in_pieces(conn: psycopg.Connection) -> None:
    """Each statement is a transaction of its own."""
    conn.autocommit = True
    book(conn)


TICKETS = """
create table tickets (id uuid primary key default gen_random_uuid(), n int, made timestamptz default now());
insert into tickets (n) values (0)"""


def draw(conn: psycopg.Connection) -> int:
    """Chance makes the id, which comes back in a later statement; so does a time of the setup."""
    first = conn.execute("select count(*), min(made) from tickets").fetchone()
    made = conn.execute("insert into tickets (made) values (null) returning id, n").fetchone()
    assert first
    assert made
    done = conn.execute(
        "update tickets set n = %s where id = %s and exists (select from tickets where made = %s)",
        [first[0], made[0], first[1]],
    )
    assert done.rowcount == 1
    return int(first[0])


ACCOUNTS = "create table accounts (name text, balance int); insert into accounts values ('a', 10), ('b', 0)"


def move(conn: psycopg.Connection) -> None:
    """Takes, and gives in another transaction."""
    conn.autocommit = True
    conn.execute("update accounts set balance = balance - 10 where name = 'a'")
    conn.execute("update accounts set balance = balance + 10 where name = 'b'")
