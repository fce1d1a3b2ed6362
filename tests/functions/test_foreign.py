"""Drivers and processes that the lab has no hold on: refused before they connect."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import multiprocessing
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from tests.functions.conftest import TABLE, book, url
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, LabError, ScheduleError, SetupFailed
from zephyr_lab.functions.turn import on_behalf_of

pytestmark = pytest.mark.usefixtures("untouched")


def psycopg2_(dsn: str) -> None:
    import psycopg2

    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute("update slots set booked = 7")


def aiopg_(dsn: str) -> None:
    import aiopg

    async def write() -> None:
        async with aiopg.connect(dsn) as connection, connection.cursor() as cursor:
            await cursor.execute("update slots set booked = 7")

    asyncio.run(write())


def asyncpg_(dsn: str) -> None:
    import asyncpg

    async def write() -> None:
        parts = conninfo_to_dict(dsn)
        connection = await asyncpg.connect(host=parts["host"], user="postgres", password=parts["password"])
        await connection.execute("update slots set booked = 7")

    asyncio.run(write())


def asyncpg_pool(dsn: str) -> None:
    import asyncpg

    async def write() -> None:
        parts = conninfo_to_dict(dsn)
        async with asyncpg.create_pool(host=parts["host"], user="postgres", password=parts["password"]) as pool:
            await pool.execute("update slots set booked = 7")

    asyncio.run(write())


def pg8000_(dsn: str) -> None:
    import pg8000.native

    parts = conninfo_to_dict(dsn)
    connection = pg8000.native.Connection(
        "postgres", password=parts["password"], unix_sock=f"{parts['host']}/.s.PGSQL.5432"
    )
    connection.run("update slots set booked = 7")


def psycopg2_reloaded(dsn: str) -> None:
    import psycopg2

    importlib.reload(psycopg2)
    psycopg2_(dsn)


def an_engine_on_psycopg2(dsn: str) -> None:
    with sqlalchemy.create_engine(url(dsn, "psycopg2")).begin() as conn:
        conn.execute(sqlalchemy.text("update slots set booked = 7"))


def a_childs_psql(dsn: str) -> None:
    subprocess.run(["psql", dsn, "-c", "update slots set booked = 7"], check=True)


def a_shell(dsn: str) -> None:
    os.system(f"psql '{dsn}' -c 'update slots set booked = 7'")


def a_forked_process(dsn: str) -> None:
    process = multiprocessing.get_context("fork").Process(target=psycopg2_, args=(dsn,))
    process.start()
    process.join()


def a_spawned_process(dsn: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=psycopg2_, args=(dsn,))
    process.start()
    process.join()


def a_pool_of_processes(dsn: str) -> None:
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(psycopg2_, dsn).result()


def an_event_loop_of_the_applications(dsn: str) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    on_behalf_of(None, thread.start)()  # as if it had been started with the application
    work = asynchronously(dsn)
    try:
        asyncio.run_coroutine_threadsafe(work, loop).result()
    finally:
        work.close()
        on_behalf_of(None, loop.call_soon_threadsafe)(loop.stop)
        on_behalf_of(None, thread.join)()
        loop.close()


async def asynchronously(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute("update slots set booked = 7")


FOREIGN: dict[Callable[[str], None], str] = {
    psycopg2_: "used psycopg2", aiopg_: "used psycopg2", asyncpg_: "used asyncpg", asyncpg_pool: "used asyncpg",
    psycopg2_reloaded: "used psycopg2",
    pg8000_: "used pg8000", an_engine_on_psycopg2: "used psycopg2", a_childs_psql: "another program \\(psql\\)",
    a_shell: "another program \\(psql\\)", a_forked_process: "another program",
    a_spawned_process: "another program", a_pool_of_processes: "another program",
    an_event_loop_of_the_applications: "handed work to an event loop",
}  # fmt: skip


@pytest.mark.thorough_but(
    "psycopg2_-swallowed",
    "psycopg2_reloaded-raised",
    "an_engine_on_psycopg2-raised",
    "aiopg_-raised",
    "asyncpg_-swallowed",
    "asyncpg_pool-raised",
    "pg8000_-swallowed",
    "a_childs_psql-swallowed",
    "a_shell-raised",
    "a_spawned_process-swallowed",
    "a_forked_process-raised",
    "a_pool_of_processes-raised",
    "an_event_loop_of_the_applications-raised",
)
@pytest.mark.parametrize("hide", [False, True], ids=["raised", "swallowed"])
@pytest.mark.parametrize("use", FOREIGN, ids=lambda one: one.__name__)
def test_a_driver_out_of_reach_is_refused_before_it_connects(
    lab: Lab, production: str, use: Callable[[str], None], hide: bool
) -> None:
    """In a session, a setup and an invariant alike; also where the function hides that it was told so."""
    if use is aiopg_:
        pytest.importorskip("aiopg")  # does not go together with today's redis-py on every Python
    if use is a_childs_psql and shutil.which("psql") is None:
        pytest.skip("there is no psql")

    def leaves() -> None:
        try:
            use(production)
        except Exception:
            if not hide:
                raise

    def beside(conn: psycopg.Connection) -> None:
        book(conn)
        leaves()

    with pytest.raises(ScheduleError, match=f"session A.*{FOREIGN[use]}"):
        lab.explore([beside, book], setup=TABLE)
    with pytest.raises(ScheduleError, match=f"session B.*{FOREIGN[use]}"):
        lab.explore([book, leaves], setup=TABLE)
    with pytest.raises(SetupFailed, match=f"setup leaves .*{FOREIGN[use]}"):
        lab.explore([book, book], setup=leaves)
    with pytest.raises(LabError, match=f"invariant .*{FOREIGN[use]}"):
        lab.explore([book, book], setup=TABLE, invariant=lambda _: leaves() or True)  # type: ignore[func-returns-value]


@pytest.mark.parametrize("annotation", ["asyncpg.Connection", "psycopg2.extensions.connection"])
def test_a_parameter_of_theirs_is_refused(lab: Lab, annotation: str) -> None:
    """A psycopg connection in its place would only fail later on."""

    def takes(conn: Any) -> None:
        raise AssertionError

    takes.__annotations__["conn"] = annotation
    with pytest.raises(BadInput, match=f"takes: parameter 'conn' is to be {annotation.partition('.')[0]}'s"):
        lab.explore([takes, book], setup=TABLE)
