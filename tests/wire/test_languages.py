"""The same transactions by each driver and in each language: every one is explored alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.wire import statements
from tests.wire.services import go_service, java_service, node_service
from zephyr_lab import Lab

HERE = Path(__file__).parent
SETUP = "create table slots (id int primary key, booked int); insert into slots values (1, 10), (2, 20)"
READ, WRITE = "select booked from slots where id = 1", "update slots set booked = $1 + 5000 where id = 1"

pytestmark = [pytest.mark.xdist_group("services"), pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Race:
    """The statements of two transactions. Expected are schedules, anomalous ones, and aborted transactions."""

    one: tuple[str, ...]
    other: tuple[str, ...]
    isolation: str
    expected: tuple[int, int, int]
    deadlocks: int = 0
    attempts: int = 0


def _move(row: int) -> str:
    return f"update slots set booked = booked + 1 where id = {row}"


def _copy(source: int, target: int) -> tuple[str, ...]:
    return f"select booked from slots where id = {source}", f"update slots set booked = $1 + 1 where id = {target}"


DELAY = "select id from slots where id = 1", "update slots set booked = booked + 10"
CANCEL = "select id from slots where id = 1", "delete from slots where booked = 20"
RACES = {
    "lost update": Race((READ, WRITE), (READ, WRITE), "read committed", (14, 12, 0)),
    "lost update refused": Race((READ, WRITE), (READ, WRITE), "repeatable read", (14, 0, 12)),
    "write skew": Race(_copy(2, 1), _copy(1, 2), "repeatable read", (20, 18, 0)),
    "EvalPlanQual": Race(DELAY, CANCEL, "read committed", (14, 3, 0)),
    "for update": Race((f"{READ} for update", WRITE), (f"{READ} for update", WRITE), "read committed", (6, 0, 0)),
    "deadlock": Race((_move(1), _move(2)), (_move(2), _move(1)), "read committed", (12, 0, 8), deadlocks=8),
    "retried": Race((READ, WRITE), (READ, WRITE), "read committed", (14, 0, 0), attempts=5),
}


def check(lab: Lab, race: Race, sessions: list[Any]) -> None:
    found = lab.explore(sessions, setup=SETUP, isolation=race.isolation, shrink=False, reduction=False)
    assert (found.schedules, found.anomalous, found.aborted) == race.expected
    assert (found.complete, found.run.undecided, found.run.deadlocks) == (True, 0, race.deadlocks)
    assert (found.run.blocked_steps > 0) == (race.expected[0] != 20)
    assert found.not_compared == ()


@pytest.mark.thorough_but("asyncpg-EvalPlanQual", "psycopg2-write skew", "psycopg3-retried")
@pytest.mark.parametrize("name", RACES)
@pytest.mark.parametrize("driver", ["psycopg3", "psycopg2", "asyncpg", "pg8000"])
def test_by_each_driver(lab: Lab, driver: str, name: str) -> None:
    race, run = RACES[name], getattr(statements, driver)
    check(lab, race, [partial(run, statements=one, attempts=race.attempts) for one in (race.one, race.other)])


Start = Callable[[str], Any]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((node_service, "statements.js"), id="node"),
        pytest.param((go_service, "statements.go"), id="go"),
        pytest.param((java_service, "Statements.java"), id="java"),
    ],
)
def run(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Requests to a service, by their query."""
    build, source = request.param
    own = lab.wire.shared.environment
    env = {
        "JDBC_URL": f"jdbc:postgresql://127.0.0.1:{own['PGPORT']}/{own['PGDATABASE']}"
        f"?user={own['PGUSER']}&password={own['PGPASSWORD']}&sslmode=disable"
    }
    command = build(tmp_path_factory.mktemp("statements"), HERE / source)
    with lab.service(command, env=env, redis=False) as service:
        yield lambda query: service.post(f"/run?{query}")


@pytest.mark.thorough_but("node-lost update")
@pytest.mark.parametrize("name", RACES)
def test_in_each_language(lab: Lab, run: Start, name: str) -> None:
    race = RACES[name]
    queries = [urlencode({"sql": one, "attempts": race.attempts}, doseq=True) for one in (race.one, race.other)]
    check(lab, race, [run(query) for query in queries])
