"""A booking that reads and then writes, in the words of each driver."""

from __future__ import annotations

from urllib.parse import urlsplit

SETUP = "create table slots (id int primary key, booked int); insert into slots values (1, 0)"
READ, WRITE = "select booked from slots where id = 1", "update slots set booked = %s where id = 1"


def psycopg3(dsn: str) -> int:
    import psycopg

    with psycopg.connect(dsn) as connection:
        (booked,) = connection.execute(READ).fetchone() or (0,)
        connection.execute(WRITE, (booked + 5000,))
    return int(booked)


def psycopg2(dsn: str) -> int:
    import psycopg2

    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(READ)
            (booked,) = cursor.fetchone()
            cursor.execute(WRITE, (booked + 5000,))
        return int(booked)
    finally:
        connection.close()


async def asyncpg(dsn: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            booked = await connection.fetchval("select booked from slots where id = $1", 1)
            await connection.execute(WRITE.replace("%s", "$1"), booked + 5000)
        return int(booked)
    finally:
        await connection.close()


def pg8000(dsn: str) -> int:
    import pg8000.dbapi

    where = urlsplit(dsn)
    connection = pg8000.dbapi.connect(
        user=where.username or "",
        password=where.password,
        host=where.hostname,
        port=where.port,
        database=where.path[1:],
    )
    try:
        cursor = connection.cursor()
        cursor.execute(READ)
        (booked,) = cursor.fetchone()
        cursor.execute(WRITE, (booked + 5000,))
        connection.commit()
        return int(booked)
    finally:
        connection.close()
