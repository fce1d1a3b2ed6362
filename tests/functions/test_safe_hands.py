"""A database that is not the lab's, beside functions, setups and invariants that lead to it: nothing of it is touched.

`production` is a server of its own with a table `slots`, as an application's DSN would name it.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
import redis as redis_py
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, LabError, ScheduleError, SetupFailed
from zephyr_lab.functions.turn import on_behalf_of
from zephyr_lab.servers.embedded import start_postgres, start_valkey

TABLE = "create table slots (slot text primary key, booked int); insert into slots values ('18:00', 0);"
READ, WRITE = "select booked from slots", "update slots set booked = %s"


@pytest.fixture(scope="module")
def production() -> Iterator[str]:
    server, dsn = start_postgres()
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLE)
        connection.execute(WRITE, [5])
    yield dsn
    server.close()


@pytest.fixture(autouse=True)
def untouched(production: str) -> Iterator[None]:
    """What is there, rows with their transactions, is the same after each test; nobody is connected any more."""

    def look() -> list[Any]:
        with psycopg.connect(production) as connection:
            return connection.execute(
                "select string_agg(relname, ',' order by oid) from pg_class union all "
                "select string_agg(slots::text || xmin || ctid, ',') from public.slots union all "
                "select count(*)::text from pg_stat_activity where datname = 'postgres' and pid <> pg_backend_pid()"
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


# -- setups and invariants: their connections lead to the lab's schema


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
        "slots", metadata, sqlalchemy.Column("slot", sqlalchemy.Text, primary_key=True),
        sqlalchemy.Column("booked", sqlalchemy.Integer),
    )  # fmt: skip

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
        mine = conn.execute("select count(*) from pg_stat_activity where application_name like '% setup'").fetchone()
    assert mine == (0,)


# -- drivers that the lab has no hold on


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


@pytest.mark.server
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
