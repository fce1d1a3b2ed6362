"""A database that is not the lab's, beside functions that lead to it by what was open, imported or started before."""

from __future__ import annotations

import contextlib
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as redis_py
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from tests.functions.conftest import READ, TABLE, book, url
from tests.functions.test_foreign import psycopg2_
from tests.functions.test_own_connections import connecting
from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError, SetupFailed
from zephyr_lab.servers.embedded import start_valkey

pytestmark = pytest.mark.usefixtures("untouched")


def opened_before(dsn: str) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Connections of other drivers that were open before: their use, and their end."""
    import pg8000.native
    import psycopg2
    import psycopg2.extras

    one = psycopg2.connect(dsn)
    one.autocommit = True
    parts = conninfo_to_dict(dsn)
    other = pg8000.native.Connection("postgres", password=parts["password"], unix_sock=f"{parts['host']}/.s.PGSQL.5432")
    engine = sqlalchemy.create_engine(url(dsn, "psycopg2"), isolation_level="AUTOCOMMIT")
    engine.connect().close()  # one is left in its pool

    def through_the_engine() -> None:
        with engine.connect() as conn:
            conn.execute(sqlalchemy.text("update slots set booked = 7"))

    def hiding_it() -> None:
        for _ in range(2):
            with contextlib.suppress(Exception):
                one.cursor().execute("update slots set booked = 7")

    dictionaries = one.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    return {
        "psycopg2, twice": (hiding_it, one.close),
        "cursor": (lambda: list(map(dictionaries.execute, ["update slots set booked = 7"])), one.close),
        "psycopg2": (lambda: one.cursor().execute("update slots set booked = 7"), one.close),
        "pg8000": (lambda: other.run("update slots set booked = 7"), other.close),
        "engine": (through_the_engine, engine.dispose),
    }


@pytest.mark.parametrize("name", ["psycopg2", "psycopg2, twice", "cursor", "pg8000", "engine"])
def test_a_connection_of_theirs_that_was_open_already_is_refused(lab: Lab, production: str, name: str) -> None:
    """When it is used."""
    known = opened_before(production)
    use, _ = known[name]
    try:
        with pytest.raises(ScheduleError, match=r"session A used (psycopg2|pg8000|.*open already)"):
            lab.explore([lambda conn: (book(conn), use()), book], setup=TABLE)
        with pytest.raises(SetupFailed, match=r"setup .* used (a connection of )?(psycopg2|pg8000)"):
            lab.explore([book, book], setup=lambda: use() and None)
    finally:
        for _, end in known.values():
            end()


def test_pools_of_multiprocessings_that_were_there_before_are_refused(lab: Lab, production: str) -> None:
    """Of processes and of threads; one of threads that a setup makes itself is its own."""
    from multiprocessing.pool import ThreadPool

    def its_own() -> None:
        with ThreadPool(1) as pool:
            pool.apply(connecting(production))

    assert lab.explore([book, book], setup=its_own).anomalous == 12
    for pool in (multiprocessing.get_context("spawn").Pool(1), ThreadPool(1)):
        with pool, pytest.raises(SetupFailed, match="handed work to a pool"):
            lab.explore([book, book], setup=lambda pool=pool: pool.apply(psycopg2_, (production,)))
        pool.join()


@pytest.mark.parametrize("who", ["session", "setup"])
def test_a_thread_that_outlives_the_exploration_reaches_nothing_either(lab: Lab, production: str, who: str) -> None:
    """What was refused or led elsewhere is so until the thread ends; then all is as it was."""
    over, threads = threading.Event(), []

    def later() -> None:
        over.wait()
        with contextlib.suppress(psycopg.Error), psycopg.connect(production, autocommit=True) as conn:
            conn.execute("update slots set booked = 7")

    def leaves() -> None:
        with psycopg.connect(production, autocommit=True) as conn:
            conn.execute(TABLE if who == "setup" else READ)
        threads.append(threading.Thread(target=later))
        threads[-1].start()

    before = psycopg.Connection.wait
    try:
        if who == "setup":
            lab.explore([book, book], setup=leaves)
        else:
            lab.explore([leaves, book], setup=TABLE)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert threads
    assert psycopg.Connection.wait is before


def test_what_is_imported_by_a_function_for_the_first_time_is_refused_too(production: str) -> None:
    """In an interpreter of its own, where neither a driver nor redis-py has been imported."""
    server, address = start_valkey()
    script = f"""
import importlib, sys
from zephyr_lab import Lab
def use(name, call):
    assert name not in sys.modules
    def function(conn):
        conn.execute("select 1")
        try:
            call(importlib.import_module(name))
        except Exception:
            pass
    try:
        lab.explore([function, function])
    except Exception as error:
        print(error)
with Lab() as lab:
    def postgres(psycopg2):
        connection = psycopg2.connect({production!r})
        connection.cursor().execute("update slots set booked = 7")
        connection.commit()
    use("psycopg2", postgres)
    use("redis", lambda redis: redis.Redis.from_url({address!r}).set("booked", 7))
"""
    try:
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert redis_py.Redis.from_url(address).get("booked") is None
    finally:
        server.close()
    assert "session A used psycopg2" in ran.stdout
    assert "session A used a Redis that is not the lab's" in ran.stdout


def test_a_client_of_valkeys_is_refused(lab: Lab) -> None:
    """Whether it has connected before or not."""
    valkey = pytest.importorskip("valkey")
    server, address = start_valkey()
    try:
        with valkey.Valkey.from_url(address) as theirs:
            theirs.set("booked", 1)
            for use in (lambda: theirs.set("booked", 7), lambda: valkey.Valkey.from_url(address).set("booked", 7)):
                with pytest.raises(SetupFailed, match="used valkey"):
                    lab.explore([book, book], setup=use)
            assert theirs.get("booked") == b"1"
    finally:
        server.close()


def test_others_are_not_in_the_way_of_whoever_is_not_explored(lab: Lab, production: str) -> None:
    """Another thread may use any driver and any program meanwhile."""
    import psycopg2

    stop, errors, rounds = threading.Event(), [], [0]

    def works() -> None:
        try:
            while not stop.is_set():
                psycopg2.connect(production).close()
                subprocess.run([sys.executable, "-S", "-c", ""], check=True)
                rounds[0] += 1
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=works)
    thread.start()
    try:
        assert lab.explore([book, book], setup=TABLE).anomalous == 12
        assert lab.explore([book, book], setup=connecting(production)).anomalous == 12
    finally:
        stop.set()
        thread.join()
    assert not errors
    assert rounds[0] > 0


def test_a_redis_that_is_not_the_labs_is_refused(lab: Lab) -> None:
    """In sessions and setups, with and without the lab's Redis beside it."""
    server, address = start_valkey()
    theirs = redis_py.Redis.from_url(address)
    try:
        theirs.set("booked", 1)

        def writes(conn: psycopg.Connection) -> None:
            book(conn)
            theirs.set("booked", 7)

        def writes_too(conn: psycopg.Connection, redis: redis_py.Redis) -> None:
            redis.set("mine", 1)
            writes(conn)

        def makes() -> None:
            redis_py.Redis.from_url(address).set("booked", 7)

        for function in (writes, writes_too):
            with pytest.raises(ScheduleError, match="session A used a Redis that is not the lab's"):
                lab.explore([function, book], setup=TABLE)
        with pytest.raises(SetupFailed, match="used a Redis that is not the lab's"):
            lab.explore([book, book], setup=makes)
        assert theirs.get("booked") == b"1"
    finally:
        theirs.close()
        server.close()


def test_what_the_standard_library_asks_the_machine_is_no_program(lab: Lab) -> None:
    """`ctypes.util.find_library` and the like run some."""
    import ctypes.util

    def asks(conn: psycopg.Connection) -> None:
        ctypes.util.find_library("c")
        book(conn)

    assert lab.explore([asks, asks], setup=TABLE).anomalous == 12


def test_the_folder_of_a_program_is_not_told(lab: Lab, tmp_path: Path) -> None:
    """Only its name."""
    with pytest.raises(ScheduleError) as error:
        lab.explore([lambda: subprocess.run([str(tmp_path / "it")], check=False)], setup=TABLE)
    assert str(tmp_path) not in str(error.value)
