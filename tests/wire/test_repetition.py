"""A loop that sleeps until another session has moved, seen by what it asks."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest

from tests.wire import programs
from zephyr_lab import Lab


def locked(redis_url: str, work: Callable[[], None]) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        while not client.set("lock", "mine", nx=True):
            time.sleep(0.01)
        work()
        client.delete("lock")


def read(connection: psycopg.Connection) -> int:
    return (connection.execute(programs.READ).fetchone() or (0,))[0]


def reads_first(dsn: str, redis_url: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        booked = read(connection)
        locked(redis_url, lambda: (connection.execute(programs.WRITE, (booked + 5000,)), None)[1])


def reads_under_the_lock(dsn: str, redis_url: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        locked(redis_url, lambda: (connection.execute(programs.WRITE, (read(connection) + 5000,)), None)[1])


@pytest.mark.thorough_but("reads_first-True")
@pytest.mark.parametrize(("book", "is_anomalous"), [(reads_first, True), (reads_under_the_lock, False)])
def test_a_lock_that_is_waited_for_in_a_loop(lab: Lab, book: Callable[..., None], is_anomalous: bool) -> None:
    """The search ends, and says what it took the loop for."""
    found = lab.explore([book, book], setup=programs.SETUP, shrink=False)
    assert (found.anomalous > 0) == is_anomalous
    assert "taken for one that waits in a loop" in found.unordered
