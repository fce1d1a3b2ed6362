"""Faults at the wire: the same are found as in functions on psycopg, and a service outlives a request that dies."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis as redis_py

from tests.wire.services import Words, go_service, node_service
from zephyr_lab import Lab
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.shipped import shipped

pytestmark = [pytest.mark.xdist_group("services"), pytest.mark.timeout(300)]

SETUP = "create table orders (id int, price int); create table slots (booked int); insert into slots values (0)"
RESERVING = str(Path(__file__).with_name("reserving.py"))


def reserves(dsn: str, redis_url: str) -> str:
    redis_py.Redis.from_url(redis_url, protocol=2).incrby("slot", 10)
    with psycopg.connect(dsn) as connection:
        connection.execute("insert into orders values (1, 10)")
    return "ok"


def releases(dsn: str, redis_url: str) -> str:
    redis = redis_py.Redis.from_url(redis_url, protocol=2)
    redis.incrby("slot", 10)
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute("insert into orders values (1, 10)")
    except psycopg.Error:
        redis.decrby("slot", 10)
        raise
    return "ok"


def books(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        connection.execute("update slots set booked = booked + 10")
        connection.execute("insert into orders values (1, 10)")
    return "ok"


def explored(lab: Lab, *sessions: Any, **options: Any) -> tuple[int, int]:
    found = lab.explore(list(sessions), setup=SETUP, may_raise=True, shrink=False, **options)
    assert (found.complete, found.run.undecided) == (True, 0)
    return found.schedules, found.anomalous


@pytest.mark.parametrize(
    ("function", "faults", "retry", "expected"),
    [
        (reserves, {"crash": 1}, False, (3, 2)),
        (releases, {"lost-commit": 1}, False, (3, 2)),
        (reserves, {"redis-timeout": 1}, False, (2, 1)),
        (books, {"crash": 1, "lost-commit": 1}, False, (6, 0)),
        (books, {"crash": 1, "lost-commit": 1}, True, (25, 12)),
    ],
)
def test_functions_with_a_driver_of_their_own(
    lab: Lab, function: Callable[..., str], faults: dict[str, int], retry: bool, expected: tuple[int, int]
) -> None:
    assert explored(lab, function, faults=faults, retry=retry) == expected


def test_who_waits_goes_on_when_the_holder_dies(lab: Lab) -> None:
    verdict = lab.replay([books, books], "A B A A:crash B B", setup=SETUP, faults={"crash": 1})
    assert verdict.transcript.schedule == "A B A A:crash B B"
    assert not verdict.anomalous
    assert [str(one.end) for one in verdict.transcript.transactions] == ["died", "committed"]
    assert "waits for A" in str(verdict.transcript)


def test_a_service_outlives_a_request_that_dies(lab: Lab) -> None:
    """And whatever the dead one still asks reaches no server, not even to tidy up."""
    with lab.service([sys.executable, RESERVING]) as service:
        assert explored(lab, service.post("/reserve"), faults={"crash": 1}) == (3, 2)
        assert explored(lab, service.post("/release"), faults={"lost-commit": 1}) == (3, 2)
        dead = lab.replay([service.post("/release")], "A A A:crash", setup=SETUP, faults={"crash": 1})
        assert "redis: key=slot, value=10" in dead.outcome.text()
        assert explored(lab, service.post("/reserve")) == (1, 0)


ORDER = {"id": "1", "customer": "Anna", "slot": "slot:18", "amount": 60_000}


@pytest.mark.thorough
@pytest.mark.parametrize("build", [go_service, node_service], ids=["go", "node"])
def test_the_gaps_of_the_services_and_the_one_that_has_none_for_who_asks_again(
    lab: Lab, tmp_path: Path, build: Callable[[Path], Words]
) -> None:
    command = build(tmp_path)

    def explore(way: str, faults: dict[str, int], retry: bool = False) -> Exploration:
        with lab.service(command, env={"BOOKING": way}, ready="/healthz") as service:
            return lab.explore(
                [service.post("/orders", json=ORDER)],
                setup=shipped("data", "services", "booking.sql").read_text(),
                faults=faults, retry=retry, may_raise=True,
            )  # fmt: skip

    for way in ("redis-lua-serializable", "redis-lua-idempotent"):
        crash = explore(way, {"crash": 1})
        assert (crash.schedules, crash.anomalous) == (3, 2)
        assert crash.counterexample
        assert len(crash.counterexample.split()) <= 4
    lost = explore("redis-lua-serializable", {"lost-commit": 1})
    assert any("COMMIT" in str(event.sql) and event.notices for event in lost.counterexample.transcript.events)  # type: ignore[union-attr]
    again = explore("redis-lua-idempotent", {"crash": 1, "lost-commit": 1}, retry=True)
    assert (again.anomalous, again.run.undecided, again.complete) == (0, 0, True)
    assert again.schedules > 20
