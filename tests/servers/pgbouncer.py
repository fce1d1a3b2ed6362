"""A PgBouncer before a server, where the machine has one."""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from zephyr_lab.servers.account import server_account

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is not installed (Debian: apt install pgbouncer)"
)


def free_port() -> int:
    """None of those that systems hand out (from 32768 on Linux, 49152 on macOS), or somebody might be given it before
    it is used.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


@contextmanager
def pgbouncer(server: str, mode: str, ignored: str, *settings: str) -> Iterator[str]:
    """Its DSN; `ignored` are the startup parameters that it does not mind."""
    assert PGBOUNCER
    to, account, port = conninfo_to_dict(server), server_account(), free_port()
    path = Path(str(to["host"])) / f"pgbouncer{port}.ini"
    there = f"host={to['host']} port=5432 dbname=postgres user=postgres password={to['password']}"
    lines = [
        "[databases]", f"postgres = {there}",
        "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any",
        f"pool_mode = {mode}", f"ignore_startup_parameters = {ignored}", *settings, "",
    ]  # fmt: skip
    path.write_text("\n".join(lines))
    path.chmod(0o644)
    switch = {} if account.uid is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    process = subprocess.Popen([PGBOUNCER, "-q", str(path)], stderr=subprocess.PIPE, cwd="/", text=True, **switch)
    dsn = f"host=127.0.0.1 port={port} dbname=postgres user=postgres sslmode=disable gssencmode=disable"
    try:
        deadline = time.monotonic() + 10
        while psycopg.pq.PGconn.ping(dsn.encode()) != psycopg.pq.Ping.OK:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield dsn
    finally:
        process.terminate()
        process.wait()
        if process.stderr:
            process.stderr.close()
