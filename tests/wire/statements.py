"""Statements in one transaction, by each driver: $1 is what the query before has found.

With `attempts`, at SERIALIZABLE, and so often while it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit


def _values(text: str, found: int) -> tuple[int, ...]:
    return (found,) if "$1" in text else ()


def _run(connection: Any, statements: Sequence[str]) -> None:
    """By the DB-API."""
    found, cursor = 0, connection.cursor()
    for text in statements:
        cursor.execute(text.replace("$1", "%s"), _values(text, found))
        if cursor.description:
            (found,) = cursor.fetchone()
    connection.commit()


def _run_often(connection: Any, statements: Sequence[str], attempts: int, refused: type[Exception]) -> None:
    while True:
        try:
            return _run(connection, statements)
        except refused:
            connection.rollback()
            attempts -= 1
            if attempts <= 0:
                raise


def psycopg3(dsn: str, statements: Sequence[str], attempts: int) -> None:
    import psycopg

    with psycopg.connect(dsn) as connection:
        if attempts:
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        _run_often(connection, statements, attempts, psycopg.OperationalError)


def psycopg2(dsn: str, statements: Sequence[str], attempts: int) -> None:
    import psycopg2
    import psycopg2.extensions

    connection = psycopg2.connect(dsn)
    try:
        if attempts:
            connection.set_session(isolation_level="SERIALIZABLE")
        _run_often(connection, statements, attempts, psycopg2.OperationalError)
    finally:
        connection.close()


def pg8000(dsn: str, statements: Sequence[str], attempts: int) -> None:
    import pg8000.dbapi

    where = urlsplit(dsn)
    connection = pg8000.dbapi.connect(
        user=where.username or "", password=where.password, host=where.hostname, port=where.port,
        database=where.path[1:],
    )  # fmt: skip
    level = ("set transaction isolation level serializable",) if attempts else ()
    try:
        _run_often(connection, (*level, *statements), attempts, pg8000.dbapi.DatabaseError)
    finally:
        connection.close()


async def asyncpg(dsn: str, statements: Sequence[str], attempts: int) -> None:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        for left in range(max(attempts, 1), 0, -1):
            try:
                async with connection.transaction(isolation="serializable" if attempts else None):
                    found = 0
                    for text in statements:
                        if text.startswith("select"):
                            found = await connection.fetchval(text, *_values(text, found))
                        else:
                            await connection.execute(text, *_values(text, found))
                return
            except asyncpg.SerializationError:
                if left == 1:
                    raise
    finally:
        await connection.close()
