"""Takes pizza orders for 15-minute slots of 100,000 roubles each, in the way that BOOKING names:

    read-then-write        reads what is booked, checks, and writes the sum (the default)
    select-for-update      the same, with the slot's row locked from the read on
    conditional-update     one UPDATE checks and books
    serializable-retry     reads and writes at SERIALIZABLE, up to five times where the SQLSTATE says so

DATABASE_URL and PORT configure it; ../booking.sql is its schema. It needs psycopg, and nothing else.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
from psycopg.errors import DeadlockDetected, SerializationFailure, UniqueViolation

Order = dict[str, Any]
Connection = psycopg.Connection[Any]
ATTEMPTS = 5


class Full(Exception):
    """The slot has no room for this order."""


def insert(connection: Connection, order: Order) -> None:
    connection.execute(
        "INSERT INTO orders (id, customer, slot, amount) VALUES (%(id)s, %(customer)s, %(slot)s, %(amount)s)", order
    )


def read_then_write(connection: Connection, order: Order, lock: str = "") -> None:
    """Decides by what it has read; with a level and a lock it may be right."""
    row = connection.execute(f"SELECT booked, capacity FROM slots WHERE id = %(slot)s {lock}", order).fetchone()
    booked, capacity = row or (0, 0)
    if booked + order["amount"] > capacity:
        raise Full
    connection.execute("UPDATE slots SET booked = %s WHERE id = %s", (booked + order["amount"], order["slot"]))
    insert(connection, order)


def select_for_update(connection: Connection, order: Order) -> None:
    read_then_write(connection, order, "FOR UPDATE")


def conditional_update(connection: Connection, order: Order) -> None:
    """Waits for whoever has the slot's row, and checks again what that has left."""
    booked = connection.execute(
        "UPDATE slots SET booked = booked + %(amount)s WHERE id = %(slot)s AND booked + %(amount)s <= capacity", order
    )
    if not booked.rowcount:
        raise Full
    insert(connection, order)


def serializable_retry(connection: Connection, order: Order) -> None:
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            read_then_write(connection, order)
            connection.commit()
            return
        except (SerializationFailure, DeadlockDetected):
            connection.rollback()
            if attempt == ATTEMPTS:
                raise
            time.sleep(random.uniform(0.01, 0.02) * attempt)


BOOKINGS: dict[str, Callable[[Connection, Order], None]] = {
    "read-then-write": read_then_write,
    "select-for-update": select_for_update,
    "conditional-update": conditional_update,
    "serializable-retry": serializable_retry,
}
book = BOOKINGS[os.environ.get("BOOKING", "read-then-write")]


class Booking(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200, {"status": "ok"})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                book(connection, order)
        except Full:
            self.answer(409, {"reason": "the slot is full"})
        except (SerializationFailure, DeadlockDetected, UniqueViolation) as error:
            self.answer(409, {"reason": f"refused ({error.sqlstate})"})
        else:
            self.answer(201, order)

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        """A request is no news."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Booking)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
