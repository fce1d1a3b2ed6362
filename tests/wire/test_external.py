"""Sessions at the wire on a server that is somebody else's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import psycopg2
import pytest

from tests.wire import programs
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, SetupFailed
from zephyr_lab.servers.embedded import start_postgres
from zephyr_lab.shipped import shipped

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def theirs() -> Iterator[psycopg.Connection[Any]]:
    """A superuser's connection to it: an ordinary role owns the database, with a table of theirs in it."""
    server, dsn = start_postgres()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("create role owner login password 'secret'")
        admin.execute("create database theirs owner owner")
        with psycopg.connect(dsn, dbname="theirs", autocommit=True) as connection:
            connection.execute("create table public.slots (id int primary key, booked int)")
            connection.execute("insert into public.slots values (1, 77); grant all on public.slots to owner")
            yield connection
    server.close()


@pytest.fixture(scope="module")
def outside(theirs: psycopg.Connection[Any]) -> Iterator[Lab]:
    info = theirs.info
    dsn = psycopg.conninfo.make_conninfo(host=info.host, dbname="theirs", user="owner", password="secret")
    with Lab(pg_dsn=dsn) as lab:
        yield lab


def untouched(theirs: psycopg.Connection[Any]) -> bool:
    return theirs.execute("select booked from public.slots").fetchall() == [(77,)]


@pytest.mark.thorough_but("psycopg2", "asyncpg")
@pytest.mark.parametrize("book", [programs.psycopg3, programs.psycopg2, programs.asyncpg, programs.pg8000])
def test_any_driver_stays_in_the_labs_schema(
    outside: Lab, theirs: psycopg.Connection[Any], book: Callable[[str], Any]
) -> None:
    """A table of theirs has the same name."""
    found = outside.explore([book, book], setup=programs.SETUP, shrink=False)
    assert (found.schedules, found.anomalous, found.complete) == (14, 12, True)
    assert untouched(theirs)


@pytest.mark.thorough_but("select-for-update")
@pytest.mark.parametrize(
    ("way", "loses"),
    [
        pytest.param("read-then-write", True, id="read-then-write"),
        pytest.param("select-for-update", False, id="select-for-update"),
    ],
)
def test_a_service_and_a_lock_that_is_waited_for(
    outside: Lab, theirs: psycopg.Connection[Any], way: str, loses: bool
) -> None:
    """Nobody is stopped by a signal there: answers are held back."""
    setup = shipped("data", "services", "booking.sql").read_text()
    order = {"customer": "Anna", "slot": "slot:18", "amount": 60_000}
    program = [sys.executable, shipped("data", "services", "python", "booking.py")]
    with outside.service(program, env={"BOOKING": way}, ready="/healthz", redis=False) as service:
        orders = [service.post("/orders", json={"id": number, **order}) for number in "12"]
        found = outside.explore(orders, setup=setup, shrink=False)
    assert (found.complete, found.anomalous > 0, found.run.blocked_steps > 0) == (True, loses, True)
    assert untouched(theirs)


@pytest.mark.thorough_but("table", "path")
@pytest.mark.parametrize(
    "beyond",
    [
        pytest.param("update public.slots set booked = 0", id="table"),
        pytest.param("set search_path = public", id="path"),
        pytest.param('insert into "public".slots values (2, 0)', id="quoted"),
        pytest.param("select set_config('search_path', 'public', false)", id="setting"),
        pytest.param("select pg_terminate_backend(1)", id="signal"),
        pytest.param("create schema other", id="schema"),
    ],
)
def test_what_would_leave_the_schema_is_not_sent(outside: Lab, theirs: psycopg.Connection[Any], beyond: str) -> None:
    """By a simple query, or prepared; in a session or in a setup."""

    def plainly(dsn: str) -> None:
        connection = psycopg2.connect(dsn)
        try:
            connection.cursor().execute(beyond)
            connection.commit()
        finally:
            connection.close()

    def prepared(dsn: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(beyond, prepare=True)

    for function in (plainly, prepared):
        with pytest.raises(BadInput, match=r"what came by the lab's socket has .* nothing but the lab's schema"):
            outside.explore([function, function], setup=programs.SETUP)
    with pytest.raises(SetupFailed, match="nothing but the lab's schema is touched"):
        outside.explore([programs.psycopg2] * 2, setup=plainly)
    assert untouched(theirs)
