"""The services in Go, Node and Java book, refuse and cancel on a real PostgreSQL and Valkey, each in all its ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from tests.wire.byte_copy import byte_copy_to
from tests.wire.services import Service, Words, go_service, java_service, node_service, started
from tests.wire.test_resp import path_and_password
from zephyr_lab.shipped import shipped

WAYS = [
    "read-then-write", "select-for-update", "serializable-retry", "redis-lua-serializable",
    "conditional-update", "serializable-retry-mended", "redis-lua-idempotent",
]  # fmt: skip
# In one worker: each would fetch and build them for itself.
pytestmark = [pytest.mark.server, pytest.mark.xdist_group("services"), pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Shop:
    """What a service is told of the servers, and a way to look into PostgreSQL."""

    settings: dict[str, str]
    admin: psycopg.Connection[Any]


@pytest.fixture
def shop(postgres: str, valkey: str) -> Iterator[Shop]:
    """The services' schema, an empty Valkey, and ports for clients that know TCP only."""
    known = conninfo_to_dict(postgres)
    path, password = path_and_password(valkey)
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    with (
        psycopg.connect(postgres, autocommit=True) as admin,
        byte_copy_to(f"{known['host']}/.s.PGSQL.5432") as database,
        byte_copy_to(path) as store,
    ):
        admin.execute("drop schema public cascade; create schema public")
        admin.execute(shipped("data", "services", "booking.sql").read_bytes())
        address = f"127.0.0.1:{database.port}/postgres"
        yield Shop(
            {
                "DATABASE_URL": f"postgres://postgres:{known['password']}@{address}?sslmode=disable",
                "JDBC_URL": f"jdbc:postgresql://{address}?user=postgres&password={known['password']}&sslmode=disable",
                "REDIS_URL": f"redis://:{password}@127.0.0.1:{store.port}",
            },
            admin,
        )


@pytest.fixture(
    scope="module",
    params=[pytest.param(go_service, marks=pytest.mark.thorough, id="go"), pytest.param(node_service, id="node")],
)
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Words:
    """How a service is started that has all the ways to book."""
    build: Callable[[Path], Words] = request.param
    return build(tmp_path_factory.mktemp("service"))


@pytest.mark.thorough_but("node-read-then-write", "node-redis-lua-serializable", "node-redis-lua-idempotent")
@pytest.mark.parametrize("way", WAYS)
def test_an_order_is_booked_a_full_slot_refused_and_a_place_given_back(command: Words, shop: Shop, way: str) -> None:
    """One after another every way is right; what is booked is what is sold."""
    with started(command, BOOKING=way, **shop.settings) as service:
        assert service.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert service.slot() == (0, 0)
        assert service.order("1", 60_000)[0] == 201
        status, answer = service.order("2", 50_000)
        assert (status, answer["reason"]) == (409, "the slot is full")
        assert service.slot() == (60_000, 60_000)
        assert service.ask("POST", "/orders/2/cancel")[0] == 404
        assert service.ask("POST", "/orders/1/cancel") == (200, {"id": "1", "status": "cancelled"})
        assert service.ask("POST", "/orders/1/cancel")[0] == 404
        assert service.slot() == (0, 0)
        assert service.order("2", 100_000)[0] == 201
        assert service.slot() == (100_000, 100_000)
        assert service.ask("POST", "/orders", {"id": "3"})[0] == 400
    assert shop.admin.execute("select id, customer, amount, status from orders order by id").fetchall() == [
        ("1", "Anna", 60_000, "cancelled"), ("2", "Anna", 100_000, "pending")
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["redis-lua-serializable", "redis-lua-idempotent"])
def test_a_place_is_given_back_where_the_order_is_not_saved(command: Words, shop: Shop, way: str) -> None:
    """PostgreSQL refuses an order of a slot that it lacks; an order that is sent again is booked twice, or once."""
    with started(command, BOOKING=way, **shop.settings) as service:
        assert service.order("1", 1_000, slot="slot:99")[0] == 500
        assert [service.order("2", 40_000)[0] for _ in range(2)] == [201, 201]
        assert service.slot() == (80_000 if way == "redis-lua-serializable" else 40_000, 40_000)
    shop.admin.execute("insert into slots (id) values ('slot:99')")
    with started(command, BOOKING=way, **shop.settings) as service:
        _, other = service.ask("GET", "/slots/slot:99")
        assert (other["booked"], other["sold"]) == (0, 0)


def overtaken(service: Service, shop: Shop) -> tuple[int, dict[str, Any]]:
    """What an order is answered that has read the slot when another one, of 90,000, has locked its row and commits."""
    answers: list[tuple[int, dict[str, Any]]] = []
    waiting = """
        select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
        """
    with psycopg.connect(shop.admin.info.dsn, password=shop.admin.info.password) as other:
        other.execute("update slots set booked = 90000 where id = 'slot:18'")
        order = threading.Thread(target=lambda: answers.append(service.order("2", 20_000)))
        order.start()
        while shop.admin.execute(waiting).fetchone() != (1,):
            assert order.is_alive(), answers
        other.execute("insert into orders values ('1', 'Boris', 'slot:18', 90000)")
        other.commit()
    order.join()
    return answers[0]


LOSES = (201, (20_000, 110_000))
KEEPS = (409, (90_000, 90_000))
OVERTAKEN = dict.fromkeys(WAYS, KEEPS) | {"read-then-write": LOSES}


@pytest.mark.thorough_but("node-read-then-write", "node-serializable-retry")
@pytest.mark.parametrize("way", [way for way in WAYS if "redis" not in way])
def test_only_the_way_without_a_lock_loses_an_order(command: Words, shop: Shop, way: str) -> None:
    """The others wait, or are refused and try again, and then see that the slot is full."""
    with started(command, BOOKING=way, **shop.settings) as service:
        status, _ = overtaken(service, shop)
        assert (status, service.slot()) == OVERTAKEN[way]


def test_a_refused_transaction_is_a_conflict(command: Words, shop: Shop) -> None:
    """Where the server's level is SERIALIZABLE and nobody tries again, with the SQLSTATE."""
    shop.admin.execute("alter database postgres set default_transaction_isolation = 'serializable'")
    try:
        with started(command, BOOKING="read-then-write", **shop.settings) as service:
            status, answer = overtaken(service, shop)
    finally:
        shop.admin.execute("alter database postgres reset default_transaction_isolation")
    assert status == 409
    assert answer["reason"].endswith("(40001)")


@pytest.mark.thorough
def test_the_program_in_java_books_refuses_and_loses_an_order(shop: Shop, tmp_path: Path) -> None:
    """As its like in the other languages does."""
    with started(java_service(tmp_path), **shop.settings) as service:
        assert service.ask("GET", "/healthz")[0] == 200
        status, _ = overtaken(service, shop)
        assert status == 201
        status, answer = service.order("3", 90_000)
        assert (status, answer["reason"]) == (409, "the slot is full (full)")
        assert service.order("2", 1_000)[1]["reason"].endswith("(23505)")
        assert service.order("4", 80_000)[0] == 201
    assert shop.admin.execute("select booked from slots where id = 'slot:18'").fetchone() == (100_000,)
