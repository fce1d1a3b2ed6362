"""Services that do what services should not: each is reported or explored rightly, and the lab goes on."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from zephyr_lab import Lab
from zephyr_lab.errors import LabError, NothingTested, ScheduleError, ServerUnavailable, StepTimeout
from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.wire.service import Service

SETUP = """
create table slots (id int primary key, booked int); insert into slots values (1, 0), (2, 0);
create table bookings (amount int); create table health (id int, beats int); insert into health values (1, 0);
"""
HARD = str(Path(__file__).with_name("hard.py"))
Counts = tuple[int, int]

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("hard services")]


def start(lab: Lab, **env: str) -> Service:
    return lab.service([sys.executable, HARD], env=env, ready="/", redis=False)


def counts(lab: Lab, service: Service, path: str, **options: object) -> Counts:
    found = lab.explore([service.post(path)] * 2, setup=SETUP, shrink=False, **options)  # type: ignore[arg-type]
    assert found.complete
    return found.schedules, found.anomalous


def alive(lab: Lab) -> list[psutil.Process]:
    """Processes of a service of this lab's that are left."""
    port = lab.wire.shared.environment["PGPORT"]
    services = [one for one in psutil.process_iter(["cmdline"]) if HARD in (one.info["cmdline"] or [])]
    return [one for one in services if one.environ()["PGPORT"] == port]


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        pytest.param("/hang", StepTimeout, "session A .* neither a round trip nor an end", marks=pytest.mark.thorough),
        ("/fails", NothingTested, r"HTTP 500\(\{'error': 'ZeroDivisionError'\}\)"),
        ("/listen", ScheduleError, "a session listens"),
        pytest.param("/scatter", Nondeterminism, "", marks=pytest.mark.thorough),
    ],
)
def test_what_cannot_be_explored_is_said_soon(lab: Lab, path: str, error: type[LabError], told: str) -> None:
    """Within ten seconds, beside what an exploration takes here. The service is explored afterwards, and ended with
    all that it has started.
    """
    with start(lab) as service:
        began = time.monotonic()
        with pytest.raises(error, match=told):
            counts(lab, service, path)
        ended = time.monotonic()
        assert counts(lab, service, "/orders") == (14, 12)
        assert ended - began < 10 + 3 * (time.monotonic() - ended)
    assert not alive(lab)


def test_an_id_that_a_service_makes_up_is_no_chance(lab: Lab) -> None:
    """Another one in each run. Whoever read first what both have read then owns it, as in no serial order."""
    setup = "create table owners (id uuid primary key, slot int, after uuid)"
    with start(lab) as service:
        found = lab.explore([service.post("/owns")] * 2, setup=setup, shrink=False)
        assert (found.complete, found.schedules) == (True, 20)
        assert 0 < found.anomalous < 20
        alone = lab.explore([service.post("/owns")], setup=setup)
        assert (alone.complete, alone.anomalous) == (True, 0)


def test_a_service_that_insists_on_tls_is_told_what_to_do(lab: Lab) -> None:
    """It does not come up; nothing of that is told of the next one."""
    with pytest.raises(ServerUnavailable, match="speaks no TLS: use sslmode=disable, or prefer"):
        start(lab, WAIT="2", DATABASE_URL=lab.wire.dsn.replace("sslmode=disable", "sslmode=require"))
    assert not alive(lab)
    with start(lab) as service:
        found = lab.explore([service.post("/orders")] * 2, setup=SETUP, shrink=False)
    assert (found.anomalous, found.not_compared) == (12, ())


def test_a_pool_of_a_hundred_connections(lab: Lab) -> None:
    """They are there while the service is, and some are kept for the next one."""
    with start(lab, CONNECTIONS="100") as service:
        assert counts(lab, service, "/orders") == (14, 12)
    with psycopg.connect(lab.wire.dsn, autocommit=True) as connection:
        sql = "select from pg_stat_activity where application_name like '% wire'"
        while connection.execute(sql).rowcount > 21:  # a backend ends a while after its connection
            pass


@pytest.mark.thorough_but("update health set beats = beats + 1 where id = 1")
@pytest.mark.parametrize("beat", ["select 1", "update health set beats = beats + 1 where id = 1"])
def test_what_a_service_asks_of_its_own_accord_is_no_session_s(lab: Lab, beat: str) -> None:
    """Every 20 ms: counted and named, and nothing of the verdict depends on it."""
    with start(lab, BEAT=beat) as service:
        found = lab.explore(
            [service.post("/orders")] * 2,
            setup=SETUP,
            shrink=False,
            ignore=["health.beats"] if "health" in beat else (),
        )
    assert (found.schedules, found.anomalous, found.complete) == (14, 12, True)
    (told,) = found.not_compared
    assert re.fullmatch(rf"asked by no session, \d+ times: {re.escape(beat)}", told)


@pytest.mark.thorough
def test_what_a_service_asks_seldom_is_told_apart_as_soon_as_it_disturbs(lab: Lab) -> None:
    with start(lab, BEAT="select 1", EVERY="0.13") as service:
        assert counts(lab, service, "/split") == (50, 48)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/split", (50, 48)),
        pytest.param("/copy", (50, 48), marks=pytest.mark.thorough),
        ("/pipeline", (14, 12)),
        pytest.param("/large", (50, 40), marks=pytest.mark.thorough),
        pytest.param("/copy_fails", (182, 140), marks=pytest.mark.thorough),
    ],
)
def test_what_is_seldom_asked_is_explored(lab: Lab, path: str, expected: Counts) -> None:
    """A pool that changes its connections round by round, COPY, pipelines, an answer of 50 MB."""
    with start(lab, CONNECTIONS="3") as service:
        assert counts(lab, service, path) == expected


@pytest.mark.thorough
def test_a_cancel_request_ends_what_it_was_sent_for(lab: Lab) -> None:
    """Be it sent while the statement waits for its turn."""
    with start(lab) as service:
        found = lab.explore([service.post("/cancel")] * 2, setup=SETUP, reduction=False, samples=4, shrink=False)
    assert (found.run.undecided, found.schedules > 0) == (0, True)
