"""A server with the write-up's database on it, in each version that is at hand: roles belong to a whole server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from zephyr_lab import Lab
from zephyr_lab.orders import schema
from zephyr_lab.runbook import Runbook

DEBIAN = Path("/usr/lib/postgresql/15/bin")
DATABASE = "zephyrvpn"
THIS_MONTH = "date_trunc('month', now())"

Connection = psycopg.Connection[Any]
Connect = Callable[..., Connection]

SLOTS = """
setup { create table slots (slot text primary key, booked int);
        insert into slots values ('18:00', 0), ('18:15', 0); analyze slots; }
teardown { drop table slots; }
"""
BOOK = "update slots set booked = booked + 500 where slot = '18:00'"


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Looks until something is so, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.01)


@contextlib.contextmanager
def waiting(connect: Connect) -> Iterator[Callable[..., None]]:
    """Sends SQL as keeper in sessions by name, and goes on when the session waits for another; ended afterwards."""
    sessions: dict[str, Connection] = {}
    watcher = connect("")

    def send(name: str, sql: str, *, waits: bool = True) -> None:
        if name not in sessions:
            sessions[name] = connect("keeper", application_name=name)
        if not waits:
            sessions[name].execute(sql)
            return
        sessions[name].pgconn.send_query(sql.encode())
        pid = sessions[name].info.backend_pid
        asked = "select pg_blocking_pids(%s) || pg_safe_snapshot_blocking_pids(%s) <> '{}'"
        until(lambda: watcher.execute(asked, [pid, pid]).fetchone() == (True,))

    watcher.execute("alter role keeper set deadlock_timeout = '1min'")  # for superusers only to set
    try:
        yield send
    finally:
        watcher.execute("alter role keeper reset deadlock_timeout")
        for session in sessions.values():
            watcher.execute("select pg_terminate_backend(%s, 5000)", [session.info.backend_pid])
            session.close()


@pytest.fixture(scope="module", params=["18", "15"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab of its own: these tests change what belongs to the whole server."""
    if request.param == "15" and not DEBIAN.is_dir():
        pytest.skip(f"no PostgreSQL 15 in {DEBIAN}")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ZEPHYR_LAB_PG_DSN", "ZEPHYR_LAB_PG_BIN"):
            patch.delenv(name, raising=False)
        with Lab(pg_bin=str(DEBIAN) if request.param == "15" else None) as lab:
            yield lab


@dataclass
class Server:
    """Who may connect to it, and where."""

    host: str
    port: int
    superuser: str
    password: str

    def connect(self, role: str = "", database: str = DATABASE, **more: Any) -> Connection:
        """As a role, in the write-up's database."""
        return psycopg.connect(self.dsn(role), dbname=database, autocommit=True, **more)

    def dsn(self, role: str = "") -> str:
        return psycopg.conninfo.make_conninfo(
            host=self.host, port=self.port, user=role or self.superuser, password=self.password, dbname=DATABASE
        )


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Server]:
    """Roles that own, use and may do nothing."""
    with lab.connect() as admin:
        for role in ("keeper", "pizza_admin", "clerk"):
            password = sql.Literal(admin.info.password)
            admin.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(role), password))
        admin.execute(f"create database {DATABASE} owner keeper")
        yield Server(admin.info.host, admin.info.port, admin.info.user, admin.info.password)


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Connections to the write-up's database, with orders and one partition, this month's.

    It belongs to keeper, who is no superuser; pizza_admin has rights on orders, clerk has none. Anew for each test.
    """
    with contextlib.ExitStack() as opened:

        def connect(role: str = "keeper", **more: Any) -> Connection:
            return opened.enter_context(contextlib.closing(server.connect(role, **more)))

        with server.connect() as superuser:
            for role in ("pizza_admin", "clerk", "keeper"):  # in one statement: XX000, of default privileges
                superuser.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
            superuser.execute("drop schema if exists public cascade")
            superuser.execute("create schema public authorization keeper; grant usage on schema public to public")
        with server.connect("keeper") as keeper:
            schema.install(keeper, months=0)
            keeper.execute("grant select, insert, update, delete on orders to pizza_admin")
        yield connect


@pytest.fixture
def keeper(connect: Connect) -> Connection:
    return connect("keeper")


@pytest.fixture
def book(connect: Connect) -> Runbook:
    """The runbook, asked by the owner of the table, who is no superuser."""
    return Runbook(connect("keeper", application_name="runbook"))
