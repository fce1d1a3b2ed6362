"""A separate database on the lab's server, as in the write-up: the service's tables, in public, and two roles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from datetime import time as clock
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from zephyr_lab.load.finding import Bench
from zephyr_lab.orders import schema
from zephyr_lab.orders.models import Item, Order, Plan
from zephyr_lab.runbook import as_written

NAME, OWNER, STRANGER = "claims_town", "claims_owner", "claims_stranger"
WAIT_SECONDS = 20.0

NOON = datetime.combine(datetime.now(UTC).date(), clock(12), UTC)
"""A slot of today, since partitions are made from this month on."""

WINDOW = Plan().window(NOON)
SLOT = WINDOW.slots()[0]

_WAITING = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def order(number: int, price: int = 450) -> Order:
    """An order of today's noon, whose id is this number; it has no slot yet."""
    item = Item.checked(pizza_name="Margherita", quantity=1, price=price)
    return Order.of([item], id=UUID(int=number), now=NOON, customer_id=1)


@dataclass
class ScratchDatabase:
    """Its connections, in autocommit, which end with it; `admin` is the superuser's."""

    server: psycopg.ConnectionInfo
    opened: list[psycopg.Connection[Any]] = field(default_factory=list)

    def connect(
        self, role: str = "", kind: type[psycopg.Connection[Any]] = psycopg.Connection
    ) -> psycopg.Connection[Any]:
        """A connection of the superuser, or of a role."""
        its = self.server
        made = kind.connect(
            host=its.host, port=its.port, user=its.user, password=its.password, dbname=NAME, autocommit=True
        )
        self.opened.append(made)
        if role:
            made.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        return made

    def booking(self, kind: type[psycopg.Connection[Any]] = psycopg.Connection) -> psycopg.Connection[Any]:
        """A connection as the order service uses it: autocommit off."""
        made = self.connect(kind=kind)
        made.autocommit = False
        return made

    def send(self, statement: str) -> psycopg.Connection[Any]:
        """A connection that has sent a statement, without its answer; returns once the statement waits for a lock."""
        before = self.one(_WAITING)
        made = self.connect()
        made.pgconn.send_query(statement.encode())
        deadline = time.monotonic() + WAIT_SECONDS
        while self.one(_WAITING) == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"it was to wait for a lock: {statement}")
            threading.Event().wait(0.005)
        return made

    @property
    def admin(self) -> psycopg.Connection[Any]:
        return self.opened[0]

    def one(self, query: LiteralString, params: Any = None) -> Any:
        """The first column of a query's first row."""
        row = self.admin.execute(query, params).fetchone()
        assert row is not None
        return row[0]


@contextmanager
def scratch_database(bench: Bench) -> Iterator[ScratchDatabase]:
    """The database in its initial state. Its connections end with the block."""
    its = ScratchDatabase(bench.once(_created).info)
    try:
        admin = its.connect()
        admin.execute(f"alter database {NAME} reset all")
        admin.execute(f"drop owned by {STRANGER}")
        admin.execute("drop schema if exists public, plain cascade")
        admin.execute(f"create schema public authorization {OWNER}; grant usage on schema public to public")
        admin.execute(f"set role {OWNER}; set timezone = 'UTC'")
        schema.install(admin)
        admin.execute("reset role")
        yield its
    finally:
        for one in its.opened:
            one.close()


@contextmanager
def _created(bench: Bench) -> Iterator[psycopg.Connection[Any]]:
    """Creates it: a role without superuser owns it, another has no rights in it. Drops all three in the end."""
    with closing(bench.connect()) as admin:
        _remove(admin)
        admin.execute(f"create role {OWNER}; create role {STRANGER}")
        admin.execute(f"create database {NAME} owner {OWNER}")
        try:
            yield admin
        finally:
            _remove(admin)


def _remove(admin: psycopg.Connection[Any]) -> None:
    admin.execute(f"drop database if exists {NAME} with (force)")
    admin.execute(f"drop role if exists {OWNER}, {STRANGER}")


def snippet(name: str) -> str:
    """A snippet of the write-up, for this database and its role."""
    return as_written(name).sql.replace("zephyrvpn", NAME).replace("pizza_admin", STRANGER)


__all__ = ["NOON", "OWNER", "SLOT", "STRANGER", "WINDOW", "ScratchDatabase", "order", "scratch_database", "snippet"]
