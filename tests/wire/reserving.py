"""Reserves a place in Redis, then stores the order in PostgreSQL; POST /release gives it back when that fails."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import redis


class Reserving(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        places = redis.Redis.from_url(os.environ["REDIS_URL"], retry=None, protocol=2)
        try:
            places.incrby("slot", 10)
            try:
                with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                    connection.execute("insert into orders values (1, 10)")
            except psycopg.Error:
                if self.path == "/release":
                    places.decrby("slot", 10)
                raise
        except (psycopg.Error, redis.RedisError):
            self.answer(503)
        else:
            self.answer(201)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *words: Any) -> None:
        """A request is no news."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Reserving).serve_forever()
