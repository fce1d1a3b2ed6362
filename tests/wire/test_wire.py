"""Functions with drivers of their own, and a service, under every order of their round trips."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest

from tests.wire import programs
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError, ServerLost, ServerUnavailable, StepTimeout
from zephyr_lab.wire.service import Service

DRIVERS = [programs.psycopg3, programs.psycopg2, programs.asyncpg, programs.pg8000]


@pytest.fixture
def shop(lab: Lab) -> Iterator[Service]:
    with lab.service([sys.executable, Path(__file__).with_name("shop.py")], ready="/", redis=False) as service:
        yield service


def counts(lab: Lab, functions: list[Any], isolation: str, setup: str = programs.SETUP) -> tuple[int, int, int]:
    found = lab.explore(functions, setup=setup, isolation=isolation, shrink=False)
    assert found.complete
    return found.schedules, found.anomalous, found.aborted


@pytest.mark.thorough_but("psycopg2")
@pytest.mark.parametrize("book", DRIVERS, ids=lambda one: one.__name__)
def test_a_lost_update_is_found_with_any_driver(lab: Lab, book: Callable[[str], Any]) -> None:
    """12 of 14 orders lose one at READ COMMITTED, and REPEATABLE READ refuses these."""
    assert counts(lab, [book, book], "read committed") == (14, 12, 0)
    assert counts(lab, [book, book], "repeatable read") == (14, 0, 12)


def test_a_lost_update_is_found_in_a_running_service(lab: Lab, shop: Service) -> None:
    """A pool that its requests share; 409 is a refusal."""
    requests = [shop.post("/orders"), shop.post("/orders")]
    assert counts(lab, requests, "read committed") == (14, 12, 0)
    assert counts(lab, requests, "repeatable read") == (14, 0, 12)


def test_a_service_that_locks_is_safe(lab: Lab, shop: Service) -> None:
    found = lab.explore([shop.post("/locked"), shop.post("/locked")], setup=programs.SETUP)
    assert (found.schedules, found.anomalous, found.run.blocked_steps > 0) == (6, 0, True)


def test_the_counterexample_shows_what_the_wire_saw(lab: Lab, shop: Service) -> None:
    found = lab.explore([shop.post("/orders"), shop.post("/orders")], setup=programs.SETUP)
    shown = str(found.counterexample.transcript)
    assert "update slots set booked = 5000 where id = 1" in shown
    assert "HTTP 201({'booked': 5000})" in str(found)


def test_rows_are_shown_of_a_statement_that_its_driver_has_prepared_before(lab: Lab) -> None:
    """In binary, with columns that were described when it was prepared."""

    async def read(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            for number in (1, 2):
                await connection.fetch(
                    "select id, booked > 0, 'a'::text, 1.50::numeric, timestamp '2026-01-02 03:04', null::uuid "
                    "from slots where id = $1",
                    number,
                )
        finally:
            await connection.close()

    events = lab.replay([read], "A A", setup=programs.SETUP).transcript.events
    shown = [row for event in events[:-1] for result in event.results for row in result.rows]
    assert shown == [(1, False, "a", "1.50", "2026-01-02 03:04:00", None)]
    assert [event.results[-1].columns[:1] for event in events[:-1]] == [("id",)] * 2


def test_redis_at_the_wire(lab: Lab) -> None:
    """GET, then SET of what was read and one more: an increment is lost; INCR loses none."""

    def read_then_write(redis_url: str) -> None:
        import redis

        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            client.set("orders", int(client.get("orders") or 0) + 1)

    def increment(redis_url: str) -> None:
        import redis

        with redis.Redis.from_url(redis_url) as client:
            client.incr("orders")

    assert counts(lab, [read_then_write, read_then_write], "read committed", "") == (6, 4, 0)
    assert counts(lab, [increment, increment], "read committed", "") == (2, 0, 0)


def test_a_service_that_leaves_a_transaction_open_is_reported(lab: Lab, shop: Service) -> None:
    """And the lab can be used afterwards."""
    with pytest.raises(StepTimeout, match="answered and left a transaction open"):
        lab.explore([shop.post("/left-open"), shop.post("/orders")], setup=programs.SETUP)
    assert counts(lab, [shop.post("/orders")] * 2, "read committed") == (14, 12, 0)


def test_a_service_that_crashes_is_reported(lab: Lab, shop: Service) -> None:
    with pytest.raises(ServerLost, match="has ended, with exit code 3"):
        lab.explore([shop.post("/crash"), shop.post("/orders")], setup=programs.SETUP)


def test_a_program_that_is_not_there_is_named(lab: Lab) -> None:
    with pytest.raises(BadInput, match=r"no program 'no-such-shop'"):
        lab.service("no-such-shop --port {port}", redis=False)


def test_a_service_hears_the_signal_that_ends_it(lab: Lab) -> None:
    """It inherits no ignored SIGTERM, with which it would take three seconds to end."""
    says = "import signal; print([signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)])"
    with pytest.raises(ServerUnavailable, match=r"\[<Handlers.SIG_DFL: 0>, .*, <Handlers.SIG_DFL: 0>\]"):
        lab.service([sys.executable, "-c", says], redis=False)


def test_what_a_function_raises_is_not_taken_for_what_the_server_said_before(lab: Lab) -> None:
    """The error of the server was handled; what was raised in the end is the outcome."""

    def book(dsn: str) -> None:
        booked = programs.psycopg2(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection, contextlib.suppress(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        raise ValueError(booked)

    found = lab.explore([book, book], setup=programs.SETUP, may_raise=True, reduction=False, shrink=False, samples=5)
    assert "ValueError(0)" in str(found)


def test_an_error_of_any_driver_is_told_as_the_server_told_it(lab: Lab) -> None:
    """By its SQLSTATE and constraint."""

    def insert(dsn: str) -> None:
        connection = psycopg2.connect(dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("insert into slots values (2, 0)")
        finally:
            connection.close()

    found = lab.explore([insert, insert], setup=programs.SETUP)
    assert "was told 23505" in str(found)
    assert found.anomalous == 0


def test_memory_that_functions_share_forbids_reduction_at_the_wire_too(lab: Lab) -> None:
    seen: dict[str, int] = {}

    def look(dsn: str) -> int:
        with psycopg.connect(dsn) as connection:
            connection.execute("select from slots where id = 1")
            before = seen.get("number", 0)
            connection.execute("select from slots where id = 1")
            seen["number"] = before + 1
        return before

    def fresh() -> None:
        seen.clear()

    whole = lab.explore([look, look], setup=[programs.SETUP, fresh], reduction=False, shrink=False)
    reduced = lab.explore([look, look], setup=[programs.SETUP, fresh], reduction=True, shrink=False)
    assert (reduced.schedules, reduced.anomalous) == (whole.schedules, whole.anomalous)
    assert whole.anomalous > 0


def test_a_transaction_that_a_client_keeps_open_is_refused(lab: Lab) -> None:
    """Nobody's order would be about it."""
    with psycopg.connect(lab.wire.dsn) as connection:
        connection.execute("select 1")
        with pytest.raises(ScheduleError, match="keeps a transaction open"):
            lab.explore([programs.psycopg3] * 2, setup=programs.SETUP)


def test_a_deadlock_ends_for_one_of_two_requests(lab: Lab) -> None:
    """The server's choice is the same in each run, as the one who closes the cycle looks first."""

    def move(dsn: str, one: int, other: int) -> None:
        with psycopg.connect(dsn) as connection:
            for row in (one, other):
                connection.execute("update slots set booked = booked + 1 where id = %s", (row,))

    functions = [partial(move, one=1, other=2), partial(move, one=2, other=1)]
    for _ in range(4):  # one in three hung while a session's park could be missed as another one's was seen
        found = lab.explore(functions, setup=f"{programs.SETUP}, (2, 0)", shrink=False)
        assert (found.schedules, found.run.deadlocks, found.anomalous) == (12, 8, 0)


def test_a_backend_that_has_ended_while_nobody_used_it_is_given_to_nobody(lab: Lab) -> None:
    """As when the server has crashed and recovered between two explorations."""
    functions = [programs.psycopg3, programs.psycopg2]
    assert counts(lab, functions, "read committed") == (14, 12, 0)
    kept = "application_name like '% wire' and pid <> pg_backend_pid()"
    with psycopg.connect(lab.wire.dsn, autocommit=True) as connection:
        connection.execute(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where {kept}")
    assert counts(lab, functions, "read committed") == (14, 12, 0)
