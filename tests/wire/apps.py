"""Apps that take orders, as their frameworks have it: FastAPI on asyncpg, Flask on psycopg2."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import psycopg2.errors
import psycopg2.pool
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from flask import Flask
from psycopg_pool import AsyncConnectionPool

READ, WRITE = "select booked from slots where id = {}", "update slots set booked = {} where id = {}"


def on_asyncpg(dsn: str, events: list[str]) -> FastAPI:
    """FastAPI with asyncpg's pool, which opens connections when they are needed. `events`: start, end, cancelled."""
    pools: list[Any] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pools.append(await asyncpg.create_pool(dsn, min_size=0))
        events.append("start")
        yield
        await pools.pop().close()
        events.append("end")

    api = FastAPI(lifespan=lifespan)

    @api.exception_handler(asyncpg.SerializationError)
    async def refused(request: Any, error: asyncpg.SerializationError) -> JSONResponse:
        return JSONResponse({"error": error.sqlstate}, 409)

    @api.post("/orders", status_code=201)
    async def order(lock: str = "") -> dict[str, int]:
        async with pools[0].acquire() as connection, connection.transaction():
            booked = await connection.fetchval(f"{READ.format(1)} {lock}")
            await connection.execute(WRITE.format("$1", "$2"), booked + 5000, 1)
        return {"booked": booked + 5000}

    @api.post("/in-a-thread", status_code=201)
    def order_in_a_thread() -> dict[str, int]:
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(READ.format(1))
            (booked,) = cursor.fetchone()
            cursor.execute(WRITE.format("%s", 1), (booked + 5000,))
        return {"booked": booked + 5000}

    @api.post("/moves")
    async def move(one: int, other: int) -> None:
        async with pools[0].acquire() as connection, connection.transaction():
            for slot in (one, other):
                await connection.execute(WRITE.format("booked + 1", slot))

    @api.post("/hangs")
    async def hang() -> None:
        async with pools[0].acquire() as connection:
            await connection.execute(READ.format(1))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

    @api.post("/fails")
    async def fail() -> None:
        async with pools[0].acquire() as connection:
            await connection.execute(READ.format(1))
        raise KeyError("customer")

    @api.post("/held-up")
    async def held_up() -> None:
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(READ.format(1))

    return api


def on_psycopg(dsn: str) -> FastAPI:
    """FastAPI with psycopg's pool."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncConnectionPool(dsn, min_size=1, max_size=5) as app.state.pool:
            yield

    api = FastAPI(lifespan=lifespan)

    @api.post("/orders", status_code=201)
    async def order() -> dict[str, int]:
        async with api.state.pool.connection() as connection:
            (booked,) = await (await connection.execute(READ.format(1))).fetchone()
            await connection.execute(WRITE.format("%s", 1), [booked + 5000])
        return {"booked": booked + 5000}

    return api


def on_flask(dsn: str) -> Flask:
    """Flask with psycopg2's pool, and what it keeps in memory: a number, and orders."""
    app, pool = Flask("shop"), psycopg2.pool.ThreadedConnectionPool(0, 5, dsn)
    numbers, known = [0], set[str]()

    @app.errorhandler(psycopg2.errors.SerializationFailure)
    def refused(error: psycopg2.Error) -> Any:
        return {"error": error.pgcode}, 409

    def add(lock: str) -> int:
        connection = pool.getconn()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(f"{READ.format(1)} {lock}")
                booked = int(cursor.fetchone()[0]) + 5000
                cursor.execute(WRITE.format("%s", 1), [booked])
            return booked
        finally:
            pool.putconn(connection)

    @app.post("/orders")
    def order() -> Any:
        return {"booked": add("")}, 201

    @app.post("/locked")
    def locked() -> Any:
        return {"booked": add("for update")}, 201

    @app.post("/numbered")
    def numbered() -> Any:
        booked = add("for update")
        numbers[0] += 1
        return {"number": numbers[0], "booked": booked}, 201

    @app.post("/known/<number>")
    def once(number: str) -> Any:
        if number in known:
            add("for update")
            return {}, 200
        known.add(number)
        return {"booked": add("")}, 201

    @app.post("/reset")
    def reset() -> Any:
        numbers[0] = 0
        known.clear()
        return {}

    return app
