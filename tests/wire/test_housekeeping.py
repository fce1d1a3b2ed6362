"""What drivers ask about a connection is no step of a session, and changes no outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.wire.programs import READ, SETUP, WRITE
from tests.wire.test_wire import counts
from zephyr_lab import Lab
from zephyr_lab.wire.housekeeping import asks_about, gives_back


def test_only_known_texts_are_passed_over() -> None:
    """What a program may ask for its own sake takes its turn."""
    assert asks_about("select pg_catalog.version()")
    assert asks_about("SELECT set_config('jit', 'off', false)")
    assert asks_about(
        "WITH RECURSIVE typeinfo_tree(\n  oid, ns, name, kind, basetype, elemtype, elemdelim,\n  x) select 1"
    )
    for sql in (
        "select pg_catalog.version(), count(*) from slots", "select 1 from pg_type where typname = 'mood'",
        "SELECT set_config('jit', 'off', false), 1 from slots", "select current_schema() from slots",
    ):  # fmt: skip
        assert not asks_about(sql)
    assert gives_back("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;")
    assert gives_back("DISCARD ALL")
    assert not gives_back("RESET ALL; delete from slots")
    assert not gives_back("")


@contextlib.contextmanager
def cursor_of(dsn: str) -> Iterator[Any]:
    """Of psycopg2, which begins no transaction by itself."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        yield connection.cursor()


def asking(sql: str, level: str = "") -> Callable[[str], None]:
    """Books, after asking something in the same transaction, at a level that it may name itself."""

    def book(dsn: str) -> None:
        with cursor_of(dsn) as cursor:
            cursor.execute(f"begin {level}")
            cursor.execute("set local statement_timeout = 20000")
            if sql:
                cursor.execute(sql)
            cursor.execute("show statement_timeout")
            assert cursor.fetchone() == ("20s",)
            cursor.execute(READ)
            (booked,) = cursor.fetchone()
            cursor.execute("show statement_timeout")
            assert cursor.fetchone() == ("20s",)
            cursor.execute(WRITE, (booked + 5000,))
            cursor.execute("commit")

    return book


@pytest.mark.thorough_but("isolation level repeatable read")
@pytest.mark.parametrize("level", ["", "isolation level repeatable read"])
def test_a_snapshot_is_taken_when_the_work_begins(lab: Lab, level: str) -> None:
    """And not when a driver has asked about the connection: the same orders have the same outcomes."""
    bare = counts(lab, [asking("", level)] * 2, "read committed")
    assert bare == ((14, 0, 12) if level else (14, 12, 0))
    assert counts(lab, [asking("select pg_catalog.version()", level)] * 2, "read committed") == bare


def test_a_snapshot_that_is_needed_is_kept(lab: Lab) -> None:
    """Asked in between, it is the one of what was read before."""

    def twice(dsn: str) -> None:
        connection = psycopg2.connect(dsn)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(READ)
            (booked,) = cursor.fetchone()
            cursor.execute("select pg_catalog.version()")
            cursor.execute(READ)
            assert cursor.fetchone() == (booked,)
            connection.commit()

    def write(dsn: str) -> None:
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(WRITE, (1,))

    assert counts(lab, [twice, write], "repeatable read")[1:] == (0, 0)


def resetting(takes_lock: bool) -> Callable[[str], None]:
    def work(dsn: str) -> None:
        with cursor_of(dsn) as cursor:
            cursor.execute(f"select {'pg_advisory_lock(1)' if takes_lock else '1'}")
            cursor.execute("update slots set booked = booked + 1")
            cursor.execute("SELECT pg_advisory_unlock_all(); RESET ALL")

    return work


def test_a_reset_that_lets_locks_go_takes_a_turn(lab: Lab) -> None:
    """Two turns of each, and six orders of these, where there are none to let go."""
    assert counts(lab, [resetting(False)] * 2, "read committed") == (6, 0, 0)
    found = lab.explore([resetting(True)] * 2, setup=SETUP)
    assert (found.run.blocked_steps > 0, found.anomalous) == (True, 0)
    assert {len(one.example.split()) for one in found.outcomes.values()} == {6}


@pytest.mark.thorough
@pytest.mark.parametrize("driver", ["psycopg2", "pg8000", "psycopg"])
def test_an_engine_that_is_made_in_each_session(lab: Lab, driver: str) -> None:
    """It asks for version, schema and extensions each time."""
    where: dict[str, Any] = {"poolclass": NullPool}

    def book(dsn: str) -> None:
        engine = create_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"), **where)
        with engine.begin() as connection:
            booked = connection.scalar(text(READ))
            connection.execute(text(WRITE.replace("%s", ":booked")), {"booked": booked + 5000})

    assert counts(lab, [book, book], "read committed") == (14, 12, 0)
    assert counts(lab, [book, book], "repeatable read") == (14, 0, 12)
