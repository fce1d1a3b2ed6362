"""Connections that setups and invariants open by themselves lead to the lab's schema."""

from __future__ import annotations

import _thread
import asyncio
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import psycopg_pool
import pytest
import sqlalchemy

from tests.functions.conftest import READ, TABLE, book, url
from zephyr_lab import Lab
from zephyr_lab.errors import SetupFailed

pytestmark = pytest.mark.usefixtures("untouched")


def connecting(dsn: str) -> Callable[[], None]:
    def setup() -> None:
        with psycopg.connect(dsn) as one, psycopg.connect(dsn, autocommit=True) as other:
            other.execute(TABLE)
            one.execute("analyze slots")

    return setup


def never_closing(dsn: str) -> Callable[[], None]:
    return lambda: psycopg.connect(dsn, autocommit=True).execute(TABLE) and None  # type: ignore[func-returns-value]


def asynchronous(dsn: str) -> Callable[[], Any]:
    async def setup() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            await conn.execute(TABLE)

    return setup


def running_a_loop(dsn: str) -> Callable[[], Any]:
    return lambda: asyncio.run(asynchronous(dsn)())


def in_a_thread(dsn: str) -> Callable[[], None]:
    def setup() -> None:
        thread = threading.Thread(target=connecting(dsn))
        thread.start()
        thread.join()

    return setup


def in_a_raw_thread(dsn: str) -> Callable[[], None]:
    def setup() -> None:
        ended = _thread.allocate_lock()
        ended.acquire()
        _thread.start_new_thread(lambda: (connecting(dsn)(), ended.release()), ())
        ended.acquire()

    return setup


def by_a_pool(dsn: str) -> Callable[[], None]:
    pool = psycopg_pool.ConnectionPool(dsn, open=False)

    def setup() -> None:
        with pool.connection() as conn:
            conn.execute(TABLE)

    return setup


def by_a_pool_of_its_own(dsn: str) -> Callable[[], None]:
    def setup() -> None:
        with psycopg_pool.ConnectionPool(dsn) as pool, pool.connection() as conn:
            conn.execute(TABLE)

    return setup


def by_an_engine(dsn: str) -> Callable[[], None]:
    engine = sqlalchemy.create_engine(url(dsn, "psycopg"))

    def setup() -> None:
        with engine.begin() as conn:
            conn.execute(sqlalchemy.text(TABLE))

    return setup


def by_metadata(dsn: str) -> Callable[[], None]:
    engine, metadata = sqlalchemy.create_engine(url(dsn, "psycopg")), sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "slots",
        metadata,
        sqlalchemy.Column("slot", sqlalchemy.Text, primary_key=True),
        sqlalchemy.Column("booked", sqlalchemy.Integer),
    )

    def setup() -> None:
        metadata.create_all(engine)
        with engine.begin() as conn:
            conn.execute(table.insert().values(slot="18:00", booked=0))

    return setup


SETUPS = [
    connecting, never_closing, asynchronous, running_a_loop, in_a_thread, in_a_raw_thread, by_a_pool,
    by_a_pool_of_its_own, by_an_engine,
    by_metadata,
]  # fmt: skip


@pytest.mark.thorough_but("connecting", "asynchronous", "by_a_pool", "by_metadata")
@pytest.mark.parametrize("make", SETUPS, ids=lambda one: one.__name__)
def test_a_setups_own_connections_go_where_a_sessions_go(lab: Lab, production: str, make: Callable[..., Any]) -> None:
    """Whatever the DSN, and however it comes to them."""
    found = lab.explore([book, book], setup=make(production))
    assert (found.schedules, found.anomalous, found.complete) == (14, 12, True)


def test_an_invariants_own_connection_does_so_too(lab: Lab, production: str) -> None:
    """It sees the lab's rows, as the setup has made them: booked is 0 there, and 5 in production."""
    seen = set()

    def looks(_: Any) -> bool:
        with psycopg.connect(production) as conn:
            seen.add((conn.execute(READ).fetchone() or (0,))[0])
        return True

    lab.explore([book, book], setup=TABLE, invariant=looks, shrink=False)
    assert seen == {0}


def test_a_setup_that_fails_is_told_and_leaves_nothing(lab: Lab, production: str) -> None:
    """Its connection included."""

    def setup() -> None:
        conn = psycopg.connect(production, autocommit=True)
        conn.execute("create table half (n int)")
        conn.execute("nonsense")

    with pytest.raises(SetupFailed, match="setup setup: SyntaxError"):
        lab.explore([book, book], setup=setup)
    with lab.connect() as conn:
        while conn.execute("select from pg_stat_activity where application_name like '% setup'").rowcount:
            pass  # until the one that was closed has ended
