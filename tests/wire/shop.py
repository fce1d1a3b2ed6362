"""A service that knows nothing of the lab: HTTP of the standard library, a pool of psycopg2's."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any

import psycopg2.errors
import psycopg2.pool
from answering import Answering, serve  # beside it

MUTEX = threading.Lock()
QUEUE: deque[threading.Event] = deque()
POOL = psycopg2.pool.ThreadedConnectionPool(2, 10, os.environ["DATABASE_URL"])


def with_the_only_connection(sql: str) -> Any:
    """One statement, when all who came before have been served, as a pool of one does it."""
    mine = threading.Event()
    with MUTEX:
        QUEUE.append(mine)
        if QUEUE[0] is mine:
            mine.set()
    mine.wait()
    connection = POOL.getconn()
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None
    finally:
        connection.autocommit = False
        POOL.putconn(connection)
        with MUTEX:
            QUEUE.popleft()
            if QUEUE:
                QUEUE[0].set()


class Shop(Answering):
    def post(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/crash":
            os._exit(3)
        if self.path == "/computes":
            end = time.monotonic() + 2
            while time.monotonic() < end:
                pass
        if self.path == "/pool-of-one":
            booked = with_the_only_connection("select booked from slots where id = 1")[0] + 5000
            with_the_only_connection(f"update slots set booked = {booked} where id = 1")
            self.answer(201, {"booked": booked})
            return
        if self.path not in ("/mutex", "/half-mutex"):
            self.book()
            return
        connection = POOL.getconn()
        try:
            with connection, connection.cursor() as cursor:
                self.book_with_mutex(cursor)
        except psycopg2.errors.SerializationFailure as error:
            self.answer(409, {"error": error.pgcode})
        finally:
            POOL.putconn(connection)

    def book_with_mutex(self, cursor: Any) -> None:
        with MUTEX:
            cursor.execute("select booked from slots where id = 1")
            booked = cursor.fetchone()[0] + 5000
            if self.path == "/mutex":
                cursor.execute("update slots set booked = %s where id = 1", (booked,))
                cursor.connection.commit()
        if self.path == "/half-mutex":
            cursor.execute("update slots set booked = %s where id = 1", (booked,))
            cursor.connection.commit()
        self.answer(201, {"booked": booked})

    def book(self) -> None:
        connection = POOL.getconn()
        try:
            with connection.cursor() as cursor:
                lock = " for update" if self.path == "/locked" else ""
                cursor.execute(f"select booked from slots where id = 1{lock}")
                booked = cursor.fetchone()[0] + 5000
                cursor.execute("update slots set booked = %s where id = 1", (booked,))
            if self.path != "/left-open":
                connection.commit()
            self.answer(201, {"booked": booked})
        except psycopg2.errors.SerializationFailure as error:
            connection.rollback()
            self.answer(409, {"error": error.pgcode})
        finally:
            if self.path != "/left-open":
                POOL.putconn(connection)


serve(Shop)
