"""A service that knows nothing of the lab: HTTP of the standard library, a pool of psycopg2's."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2.errors
import psycopg2.pool

MUTEX = threading.Lock()
POOL = psycopg2.pool.ThreadedConnectionPool(2, 10, os.environ["DATABASE_URL"])


class Shop(BaseHTTPRequestHandler):
    def log_message(self, *words: Any) -> None:
        """Prints nothing."""

    def answer(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        self.answer(200, {})

    def do_POST(self) -> None:
        if self.path == "/crash":
            os._exit(3)
        if self.path == "/computes":
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                pass
        if self.path not in ("/mutex", "/half-mutex"):
            self.book()
            return
        with MUTEX:
            connection = POOL.getconn()
            cursor = connection.cursor()
            cursor.execute("select booked from slots where id = 1")
            booked = cursor.fetchone()[0] + 5000
            if self.path == "/mutex":
                cursor.execute("update slots set booked = %s where id = 1", (booked,))
                connection.commit()
        if self.path == "/half-mutex":
            cursor.execute("update slots set booked = %s where id = 1", (booked,))
            connection.commit()
        POOL.putconn(connection)
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


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop).serve_forever()
