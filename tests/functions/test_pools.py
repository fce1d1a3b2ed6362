"""Locks in Redis, threads, pools and engines of a function's own, as engineers write them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest
import redis as redis_py
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from tests.functions.test_realistic import READ, SETUP, WRITE, lost_update, safe
from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError
from zephyr_lab.servers import keyvalue
from zephyr_lab.servers.embedded import start_valkey


def five(redis: redis_py.Redis) -> None:
    redis.set("stock", 5)


def take_one(redis: redis_py.Redis) -> None:
    redis.set("stock", int(redis.get("stock")) - 1)  # type: ignore[arg-type]


def under_lock(redis: redis_py.Redis) -> None:
    with redis.lock("lock", timeout=10):
        take_one(redis)


async def under_lock_asynchronously(redis: redis_py.asyncio.Redis) -> None:
    async with redis.lock("lock", timeout=10):
        await redis.set("stock", int(await redis.get("stock")) - 1)


def by_a_lock_of_its_own(redis: redis_py.Redis) -> None:
    while not redis.set("lock", "held", nx=True):
        sleep(5)
    take_one(redis)
    redis.delete("lock")


@pytest.mark.thorough_but("under_lock")
@pytest.mark.parametrize("function", [under_lock, under_lock_asynchronously, by_a_lock_of_its_own])
def test_a_lock_in_redis_is_safe_and_waited_for_in_no_time(lab: Lab, function: Callable[..., Any]) -> None:
    """redis-py makes up a token for its locks, and `from time import sleep` is a sleep as well."""
    assert safe(lab.explore([function] * 2, setup=five))


def test_on_a_redis_of_ones_own_functions_keep_to_the_prefix(lab: Lab) -> None:
    """A command that names no key of the lab's is refused before it is sent, FLUSHDB too."""
    server, url = start_valkey()
    try:
        with keyvalue.client(url) as theirs, Lab(pg_dsn=lab.engine.database.conninfo("lab"), redis_url=url) as other:
            theirs.set("stock", "theirs")
            for stray in (lambda redis: redis.incr("stock"), lambda redis: redis.flushdb()):
                with pytest.raises(ScheduleError, match=r"have the function begin its keys with lab\.redis_prefix"):
                    other.explore([stray] * 2)
            key = other.redis_prefix + "stock"
            found = other.explore([lambda redis: redis.set(key, int(redis.get(key) or 0) + 1)] * 2)
            assert (found.anomalous, found.schedules) == (4, 6)
            assert "redis: key=stock, value=1" in str(found)
            assert theirs.get("stock") == "theirs"
    finally:
        server.close()


def in_a_pool(redis: redis_py.Redis) -> None:
    with ThreadPoolExecutor(1) as threads:
        stock = int(threads.submit(redis.get, "stock").result())  # type: ignore[arg-type]
        threads.submit(redis.set, "stock", stock - 1).result()


def in_a_thread(redis: redis_py.Redis) -> None:
    thread = threading.Thread(target=take_one, args=[redis])
    thread.start()
    thread.join()


def to_thread(redis: redis_py.Redis) -> Callable[[], Any]:
    async def take() -> None:
        await asyncio.to_thread(take_one, redis)

    return take


def test_threads_of_a_function_take_its_turns(lab: Lab) -> None:
    """One after another; what two of them ask at once, in A or in B, has no order that could be had again."""
    for function in (in_a_pool, in_a_thread, to_thread(lab.redis)):
        found = lab.explore([function] * 2, setup=five)
        assert (found.anomalous, found.schedules) == (4, 6)

    def at_once(redis: redis_py.Redis) -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(redis.incr, ["one", "two"]))

    with pytest.raises(ScheduleError, match=r"session [AB] asked two things at once, in threads of its own"):
        lab.explore([at_once] * 2, setup=five)
    assert not [one for one in threading.enumerate() if one.name.startswith(("session", "ThreadPool"))]


NOWHERE = "host=nowhere.invalid dbname=shop"
POOL = ConnectionPool(NOWHERE, open=False, kwargs={"autocommit": True, "row_factory": dict_row})
ASYNC_POOL = AsyncConnectionPool(NOWHERE, open=False)
ENGINE = create_engine("postgresql+psycopg://nowhere.invalid/shop", pool_pre_ping=True)
ASYNC_ENGINE = create_async_engine("postgresql+psycopg://nowhere.invalid/shop")


def of_a_global_pool() -> None:
    POOL.open()
    with POOL.connection() as conn:
        row = conn.execute(READ).fetchone()
        conn.execute(WRITE, [row["n"] + 1])  # type: ignore[index, call-overload]


def of_a_pool_of_its_own() -> None:
    with ConnectionPool(NOWHERE, min_size=1, open=True) as pool, pool.connection() as conn:
        lost_update(conn)


async def of_a_global_async_pool() -> None:
    async with ASYNC_POOL.connection() as conn:
        ((n,),) = await (await conn.execute(READ)).fetchall()
        await conn.execute(WRITE, [n + 1])


def of_a_global_engine() -> None:
    with Session(ENGINE) as session:
        n = session.scalar(text(READ))
        session.execute(text(WRITE.replace("%s", ":n")), {"n": n + 1})
        session.commit()


async def of_a_global_async_engine() -> None:
    async with ASYNC_ENGINE.begin() as connection:
        n = await connection.scalar(text(READ))
        await connection.execute(text(WRITE.replace("%s", ":n")), {"n": n + 1})


@pytest.mark.thorough_but("of_a_global_pool-6", "of_a_global_engine-14")
@pytest.mark.parametrize(
    ("function", "schedules"),
    [
        (of_a_global_pool, 6),
        (of_a_pool_of_its_own, 14),
        (of_a_global_async_pool, 14),
        (of_a_global_engine, 14),
        (of_a_global_async_engine, 14),
    ],
)
def test_pools_and_engines_of_a_module_lead_to_the_session(
    lab: Lab, function: Callable[..., Any], schedules: int
) -> None:
    """Whatever they were made with: settings of theirs hold, and their server is not asked."""
    found = lab.explore([function] * 2, setup=SETUP)
    assert (found.schedules, found.anomalous) == (schedules, schedules - 2)
    assert not [one for one in threading.enumerate() if one.name.startswith("pool")]
