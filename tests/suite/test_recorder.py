"""A suite on a real server, recorded and replayed in one process."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.hunt.operation import Setups
from zephyr_lab.suite.chosen import chosen, readings_of
from zephyr_lab.suite.operations import distinct
from zephyr_lab.suite.recorder import Recorder
from zephyr_lab.suite.replay import function_of
from zephyr_lab.suite.rows import Rows
from zephyr_lab.suite.stack import Files

SHOP = """
def book(conn):
    (free,) = conn.execute("select free from slots where id = %s", [1]).fetchone()
    conn.execute("update slots set free = %s where id = %s", [free - 1, 1])

def book_twice(conn):
    with conn.transaction():
        book(conn)
    with conn.transaction():
        book(conn)

def many(conn):
    with conn.cursor() as cursor:
        cursor.executemany("insert into slots values (%s, 0)", [(8,), (9,)])

def two(conn, other):
    with conn.transaction():
        book(conn)
        other.execute("select 1")

def fails(conn):
    try:
        conn.execute("insert into slots values (1, 0)")
    except Exception:
        conn.rollback()

async def book_later(conn, slot):
    await conn.execute("update slots set free = free - 1 where id = %s", [slot])
"""
TABLES = """
create type kind as enum ('small', 'it''s large');
create table slots (id int primary key, free int not null, kind kind default 'it''s large', doubled int
    generated always as (free * 2) stored, price numeric(20, 10) default 1.0000000001, tags text[] default '{a,b}');
insert into slots values (1, 3), (2, 2);
"""


@pytest.fixture
def shop(tmp_path: Path) -> ModuleType:
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("shop", tmp_path / "shop.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    one = Recorder(Files(tmp_path), Rows())
    with one.recording():
        yield one


@pytest.fixture
def conn(postgres: str, recorder: Recorder) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres) as conn:
        conn.execute(f"create schema suite; set search_path = suite; {TABLES}")
        conn.commit()
        yield conn
        conn.rollback()
        conn.execute("drop schema suite cascade")


@pytest.mark.server
def test_what_was_recorded_races_when_it_is_replayed(
    lab: Lab, recorder: Recorder, shop: ModuleType, conn: psycopg.Connection
) -> None:
    """Every column of the rows comes back as it was."""
    before = conn.execute("select * from slots order by id").fetchall()
    conn.commit()
    with recorder.test("test_book"):
        shop.book(conn)
    conn.rollback()
    (book,) = recorder.operations
    assert [one.sql for one in book.statements] == [
        "select free from slots where id = 1", "update slots set free = 2 where id = 1",
    ]  # fmt: skip
    assert [(one.begin, one.is_rolled_back) for one in book.transactions] == [("begin", False)]
    named = chosen(distinct(recorder.operations))
    setup = Setups(lambda names: recorder.rows.setup(readings_of([named[name] for name in names])))
    found = lab.hunt({"book": function_of(book)}, setup=setup)
    assert [str(one.kind) for one in found.decisions.values()] == ["races"]
    found_rows = lab.explore([lambda conn: conn.execute("select * from slots order by id").fetchall()],
                             setup=setup.of(("book",)))  # fmt: skip
    assert str([tuple(row) for row in before]) in str(found_rows)


@pytest.mark.server
def test_operations_are_calls_of_the_application(
    postgres: str, recorder: Recorder, shop: ModuleType, conn: psycopg.Connection
) -> None:
    """Two transactions of one call are one operation; what a test asks itself is none; what fails is kept."""
    with recorder.test("test_some"):
        conn.execute("select 1")
        conn.rollback()
        shop.book_twice(conn)
        shop.fails(conn)
        shop.many(conn)
        with psycopg.connect(postgres, autocommit=True) as other:
            shop.two(conn, other)
    conn.execute("select 2")
    twice, fails = recorder.operations
    assert [one.transaction for one in twice.statements] == [one.number for one in twice.transactions for _ in "12"]
    assert len(twice.transactions) == 2
    assert [one.changed for one in fails.statements] == [None]
    assert fails.transactions[0].is_rolled_back
    assert recorder.lost == {"calls that use executemany": 1, "calls that use two connections at once": 1}


@pytest.mark.server
def test_a_suite_s_transaction_is_left_as_it_was(
    recorder: Recorder, shop: ModuleType, conn: psycopg.Connection
) -> None:
    """Neither locks, nor settings, nor savepoints stay, and rows are seen that nobody else sees."""
    conn.execute("update slots set free = 8 where id = 1")
    shop.book(conn)
    asked = "select count(*), current_setting('lock_timeout') from pg_locks where pid = pg_backend_pid()"
    before = conn.execute(asked).fetchone()
    with recorder.test("test_book"):
        shop.book(conn)
    assert conn.execute(asked).fetchone() == before
    (book,) = recorder.operations
    assert book.rows is not None
    assert any('"free":7' in row for row in recorder.rows.met[book.rows]["slots"])
    assert [one.number for one in book.transactions] == [0]
    with pytest.raises(psycopg.errors.InvalidSavepointSpecification):
        conn.execute("release zephyr_lab")


@pytest.mark.server
def test_rows_that_somebody_has_locked_are_not_waited_for(
    postgres: str, recorder: Recorder, conn: psycopg.Connection
) -> None:
    """The suite goes on, in the same transaction, and it is said."""
    with psycopg.connect(postgres) as other:
        other.execute("lock table suite.slots in access exclusive mode")
        conn.execute("select 1")
        assert recorder.rows.read(conn, "a place") is None
        assert conn.execute("select 2").fetchone() == (2,)
        other.rollback()
    assert list(recorder.rows.unread) == ["ERROR:  canceling statement due to lock timeout"]


@pytest.mark.server
def test_calls_at_the_same_time_are_two_operations(
    postgres: str, recorder: Recorder, shop: ModuleType, conn: psycopg.Connection
) -> None:
    """On asyncio, where no frame of the test is below them."""

    async def both() -> None:
        connecting = [psycopg.AsyncConnection.connect(postgres, options="-csearch_path=suite") for _ in range(2)]
        one, other = [await each for each in connecting]
        async with one, other:
            with recorder.test("test_later"):
                await asyncio.gather(shop.book_later(one, 1), shop.book_later(other, 2))

    asyncio.run(both())
    assert [one.name for one in recorder.operations] == ["book_later"] * 2
    assert [[said.line for said in one.statements] for one in recorder.operations] == [[28], [28]]
    assert recorder.lost == {}


@pytest.mark.server
def test_other_drivers_are_counted(recorder: Recorder, postgres: str) -> None:
    psycopg2 = pytest.importorskip("psycopg2")
    with recorder.test("test_other"), contextlib.closing(psycopg2.connect(postgres)) as connection:
        connection.cursor().execute("select 1")
    assert recorder.operations == []
    assert recorder.lost == {"connections of psycopg2, which is not recorded: psycopg 3 is": 1}
