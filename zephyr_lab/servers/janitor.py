"""Removes the lab's schema and keys from an external server when the lab has ended.

A process of its own, with the same lifeline as `supervisor.py`: an order on standard input, then the closing of that
pipe, or the owner's death, starts the clean-up. It ends only sessions with the lab's application name, and drops only
what the order names: `dsn` and `schema`, or `redis_url` and `prefix`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.servers.lifeline import owner_is_gone

# How long to try, in seconds, and the longest pause: a restarted server comes back.
PATIENCE, LONGEST_PAUSE = 300, 10

# Prepared transactions with locks in the schema survive their session, and would block dropping it.
PREPARED_IN_SCHEMA = """
select distinct format('rollback prepared %L', gid)
from pg_prepared_xacts prepared
join pg_locks own on own.locktype = 'transactionid' and own.transactionid = prepared.transaction
join pg_locks held on held.virtualtransaction = own.virtualtransaction and held.locktype = 'relation'
join pg_class on pg_class.oid = held.relation
where prepared.database = current_database() and relnamespace = to_regnamespace('{schema}')"""


class Janitor:
    """The owner's side: starts the process; `close()` makes it clean up and waits for it.

    Raises ServerUnavailable if the process does not start; then nothing may be created.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._owner = os.getpid()
        # Our own import path: an installed package, a checkout, or PYTHONPATH.
        program = f"import sys; sys.path[:] = {sys.path!r}; from zephyr_lab.servers import janitor; janitor.main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            raise ServerUnavailable("the process that tidies up after the lab did not start; nothing was created")

    def close(self) -> None:
        if os.getpid() != self._owner:
            return
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        # It keeps trying by itself if the server does not respond now.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.stdout.close()


def main() -> None:
    import tenacity

    owner = os.getppid()
    os.chdir("/")
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):  # no SIGHUP on Windows
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    importlib.import_module("psycopg" if "schema" in order else "redis")  # what cannot be imported cannot clean up
    print("ready", flush=True)
    while not owner_is_gone(owner, 0.5):
        pass
    tidy = tenacity.Retrying(
        wait=tenacity.wait_exponential(multiplier=0.1, max=LONGEST_PAUSE), stop=tenacity.stop_after_delay(PATIENCE)
    )
    if "schema" in order:
        tidy(drop_schema, order["dsn"], order["schema"])
    if "prefix" in order:
        tidy(delete_keys, order["redis_url"], order["prefix"])


def drop_schema(dsn: str, schema: str) -> None:
    """Ends the lab's sessions and transactions, and drops its schema. Raises psycopg.Error."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set lock_timeout = '10s'; set default_transaction_read_only = off")
        # A session that waits for a lock does not notice that its client is gone, and keeps its locks.
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = current_user and pid <> pg_backend_pid() and application_name like %s",
            [schema.replace("_", r"\_") + " %"],
        )
        for (statement,) in connection.execute(PREPARED_IN_SCHEMA.format(schema=schema).encode()).fetchall():
            connection.execute(statement)
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


def delete_keys(url: str, prefix: str) -> None:
    """Deletes the keys that begin with the prefix. Raises redis.RedisError."""
    import redis

    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(match=prefix + "*", count=1000):
            client.unlink(key)
