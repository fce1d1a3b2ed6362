"""A service that does what services should not, or do seldom: HTTP of the standard library, psycopg 3, a pool."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
from answering import Answering, serve  # beside it
from psycopg_pool import ConnectionPool

DSN = os.environ["DATABASE_URL"]
POOL = ConnectionPool(DSN, min_size=int(os.environ.get("CONNECTIONS", "2")), max_size=100, open=True)
READ, WRITE = "select booked from slots where id = 1", "update slots set booked = %s where id = 1"

Connection = psycopg.Connection[Any]


def book(connection: Connection) -> int:
    """Reads, then writes what it has read and 5,000 more."""
    (booked,) = connection.execute(READ).fetchone() or (0,)
    connection.execute(WRITE, (booked + 5000,))
    return int(booked) + 5000


def orders() -> Any:
    with POOL.connection() as connection:
        return book(connection)


def owns() -> Any:
    """Makes up a key, for a row that names the one before it."""
    with POOL.connection() as connection:
        before = connection.execute("select id from owners limit 1").fetchone()
        own = uuid.uuid4()
        connection.execute("insert into owners values (%s, 1, %s)", (own, before[0] if before else own))
        return str(own)


def split() -> Any:
    """Reads on one connection of the pool, and writes on another."""
    with POOL.connection() as connection:
        (booked,) = connection.execute(READ).fetchone() or (0,)
    with POOL.connection() as connection:
        connection.execute(WRITE, (booked + 5000,))
    return booked


def fails() -> Any:
    with POOL.connection() as connection:
        return book(connection) / 0


def hang() -> Any:
    with POOL.connection() as connection:
        book(connection)
        threading.Event().wait()


def scatter() -> Any:
    """Answers, and writes a while later."""
    with POOL.connection() as connection:
        connection.execute(READ)

    def write() -> None:
        with POOL.connection() as connection:
            connection.execute("update slots set booked = booked + 1")

    threading.Timer(0.07, write).start()


def listen() -> Any:
    with POOL.connection() as connection:
        connection.execute("listen slots")
        return book(connection)


def copy() -> Any:
    """Reads by COPY TO, and writes by COPY FROM."""
    with POOL.connection() as connection, connection.cursor() as cursor:
        with cursor.copy("copy slots to stdout") as out:
            booked = sum(int(row[1]) for row in out.rows())
        with cursor.copy("copy bookings from stdin") as into:
            for amount in (booked + 2000, booked + 3000):
                into.write_row((amount,))
        cursor.execute("update slots set booked = (select sum(amount) from bookings)")
        return booked


def copy_fails() -> Any:
    with POOL.connection() as connection, connection.cursor() as cursor:
        with contextlib.suppress(psycopg.DataError), cursor.copy("copy bookings from stdin") as into:
            into.write("no number\n")
        connection.rollback()
        return book(connection)


def pipeline() -> Any:
    """Statements that are sent before the first one is answered."""
    with POOL.connection() as connection, connection.pipeline():
        first = connection.execute(READ)
        second = connection.execute("select count(*) from bookings")
        (booked,) = first.fetchone() or (0,)
        connection.execute("insert into bookings values (%s)", (booked,))
        connection.execute(WRITE, (booked + 5000,))
        return booked, second.fetchone()


def large() -> Any:
    """50 MB in one answer."""
    with POOL.connection() as connection:
        size = sum(len(row[0]) for row in connection.execute("select repeat('x', 500000) from generate_series(1, 100)"))
        return size, book(connection)


def cancel() -> Any:
    """Gives up on a statement, by a connection of its own, and books by another statement."""
    with POOL.connection() as connection:
        timer = threading.Timer(0.2, connection.cancel_safe)
        timer.start()
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(30)")
        timer.join()
        connection.rollback()
        return book(connection)


def both() -> Any:
    """On two connections at once."""
    answers: list[int] = []

    def add(row: int) -> None:
        with POOL.connection() as connection:
            (booked,) = connection.execute("select booked from slots where id = %s", (row,)).fetchone() or (0,)
            connection.execute("update slots set booked = %s where id = %s", (booked + row, row))
            answers.append(booked)

    threads = [threading.Thread(target=add, args=(row,)) for row in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


def beat() -> None:
    """Says again and again that it is there, with what has been set up."""
    with psycopg.connect(DSN, autocommit=True) as connection:
        while True:
            with contextlib.suppress(psycopg.errors.UndefinedTable):
                connection.execute(os.environ["BEAT"])
            time.sleep(float(os.environ.get("EVERY", "0.02")))


ANSWERS: dict[str, Callable[[], Any]] = {
    f"/{one.__name__}": one
    for one in (orders, owns, split, fails, hang, scatter, listen, copy, copy_fails, pipeline, large, cancel, both)
}


class Hard(Answering):
    def post(self) -> None:
        try:
            self.answer(201, ANSWERS[self.path]())
        except Exception as error:
            self.answer(500, {"error": type(error).__name__})


if __name__ == "__main__":
    POOL.wait(float(os.environ.get("WAIT", "20")))
    if "BEAT" in os.environ:
        threading.Thread(target=beat, daemon=True).start()
    serve(Hard)
