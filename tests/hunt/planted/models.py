"""The shop's tables, its first rows, and what its apps have in common."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SEATS = 3
SCHEMA = """
    create table customers (id int primary key, points int not null);
    insert into customers values (1, 100), (2, 100);
    create table subscribers (id serial primary key, email text not null);
    create table seats (id serial primary key, workshop int not null, customer text not null);
    insert into seats (workshop, customer) values (1, 'ann'), (1, 'bob');
    create table clerks (name text primary key, on_duty boolean not null);
    insert into clerks values ('ann', true), ('bob', true);
    create table vouchers (code text primary key, uses_left int not null);
    insert into vouchers values ('SPRING', 1);
    create table settings (name text primary key, value text not null);
    insert into settings values ('series', 'R');
    create table invoices (id serial primary key, series text not null, number int not null);
    insert into invoices (series, number) values ('R', 1);
    create table shelves (id int primary key, label text not null);
    insert into shelves values (1, 'ferns');
    create table plants (id serial primary key, shelf int not null, name text not null);
    create table pages (id int primary key, body text not null, version int not null);
    insert into pages values (1, 'opening hours', 1);
    create table stock (item int primary key, quantity int not null);
    insert into stock values (1, 1);
    create table wallets (owner text primary key, cents int not null);
    insert into wallets values ('ann', 500), ('bob', 500);
"""
UNIQUE = "create unique index on subscribers (email);"
"""What the mended shop has besides."""


class Base(DeclarativeBase): ...


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    points: Mapped[int]


class Subscriber(Base):
    __tablename__ = "subscribers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


class Seat(Base):
    __tablename__ = "seats"
    id: Mapped[int] = mapped_column(primary_key=True)
    workshop: Mapped[int]
    customer: Mapped[str]


class Clerk(Base):
    __tablename__ = "clerks"
    name: Mapped[str] = mapped_column(primary_key=True)
    on_duty: Mapped[bool]


class Voucher(Base):
    __tablename__ = "vouchers"
    code: Mapped[str] = mapped_column(primary_key=True)
    uses_left: Mapped[int]


class Invoice(Base):
    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)
    series: Mapped[str]
    number: Mapped[int]


class Shelf(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str]


class Plant(Base):
    __tablename__ = "plants"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf: Mapped[int]
    name: Mapped[str]


class Page(Base):
    __tablename__ = "pages"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    version: Mapped[int]


class Wallet(Base):
    __tablename__ = "wallets"
    owner: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


class Places:
    """Where an app keeps its data: `session` begins a transaction of an ORM session, `redis` is a client."""

    def __init__(self, url: str, redis_url: str) -> None:
        self.engine = create_async_engine(url)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        self._at_repeatable_read = async_sessionmaker(
            self.engine.execution_options(isolation_level="REPEATABLE READ"), expire_on_commit=False
        )
        self.redis = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)

    def session(self) -> Any:
        return self._sessions.begin()

    def at_repeatable_read(self) -> Any:
        return self._at_repeatable_read.begin()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        yield
        await self.engine.dispose()
        await self.redis.aclose()


def new_app(places: Places) -> FastAPI:
    """Without a route; what PostgreSQL refuses (40001, 40P01) is answered with 409."""
    app = FastAPI(lifespan=places.lifespan)

    @app.exception_handler(DBAPIError)
    async def refused(request: Any, error: DBAPIError) -> JSONResponse:
        code = getattr(error.orig, "sqlstate", None)
        if code not in ("40001", "40P01"):
            raise error
        return JSONResponse({"try again": code}, 409)

    return app
