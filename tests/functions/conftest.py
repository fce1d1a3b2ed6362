"""A database that is not the lab's, and a look at it before and after a test: nothing of it is touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from zephyr_lab.servers.embedded import start_postgres

TABLE = "create table slots (slot text primary key, booked int); insert into slots values ('18:00', 0);"
READ, WRITE = "select booked from slots", "update slots set booked = %s"


@pytest.fixture(scope="module")
def production() -> Iterator[str]:
    """A server that is not the lab's with a table `slots`, as an application's DSN would name it."""
    server, dsn = start_postgres()
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE)
        connection.execute(WRITE, [5])
    yield dsn
    server.close()


CONNECTED = "select count(*) from pg_stat_activity where datname = 'postgres' and pid <> pg_backend_pid()"


@pytest.fixture
def untouched(production: str) -> Iterator[None]:
    """What is there, rows with their transactions, is the same after each test; nobody is connected any more."""

    def look() -> list[Any]:
        with psycopg.connect(production, autocommit=True) as connection:
            deadline = time.monotonic() + 30  # a backend ends a little later than its connection
            while (left := connection.execute(CONNECTED).fetchone()) != (0,) and time.monotonic() < deadline:
                pass
            assert left == (0,)
            return connection.execute(
                "select string_agg(relname, ',' order by oid) from pg_class union all "
                "select string_agg(slots::text || xmin || ctid, ',') from public.slots"
            ).fetchall()

    before = look()
    yield
    assert look() == before


def book(conn: psycopg.Connection) -> None:
    (booked,) = conn.execute(READ).fetchone() or (0,)
    conn.execute(WRITE, [booked + 1])


def url(dsn: str, driver: str) -> str:
    parts = conninfo_to_dict(dsn)
    return f"postgresql+{driver}://postgres:{parts['password']}@/postgres?host={parts['host']}"
