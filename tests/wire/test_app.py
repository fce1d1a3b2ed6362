"""Apps in this process under every order of their round trips."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import psycopg2
import pytest

from tests.wire import apps
from tests.wire.programs import SETUP
from tests.wire.test_wire import counts
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, ScheduleError, ServerLost, ServerUnavailable, StepTimeout
from zephyr_lab.explore.scheduler import Nondeterminism
from zephyr_lab.wire.app import Application


@pytest.fixture(scope="module")
def events() -> list[str]:
    return []


@pytest.fixture(scope="module")
def shop(lab: Lab, events: list[str]) -> Iterator[Application]:
    with lab.app(apps.on_asyncpg(lab.wire.dsn, events)) as app:
        yield app


@pytest.fixture
def flask(lab: Lab) -> Iterator[Application]:
    with lab.app(apps.on_flask(lab.wire.dsn)) as app:
        yield app


def test_a_lost_update_is_found_in_fastapi(lab: Lab, shop: Application) -> None:
    """12 of 14 orders lose one; at REPEATABLE READ these are refused, which the app says by 409."""
    requests = [shop.post("/orders"), shop.post("/orders")]
    assert counts(lab, requests, "read committed") == (14, 12, 0)
    assert counts(lab, requests, "repeatable read") == (14, 0, 12)


def test_a_function_that_fastapi_runs_in_a_thread(lab: Lab, shop: Application) -> None:
    assert counts(lab, [shop.post("/in-a-thread")] * 2, "read committed") == (14, 12, 0)


def test_a_row_that_is_locked_is_waited_for(lab: Lab, shop: Application) -> None:
    requests = [shop.post("/orders?lock=for%20update")] * 2
    found = lab.explore(requests, setup=SETUP)
    assert (found.schedules, found.anomalous, found.run.blocked_steps > 0) == (6, 0, True)


def test_a_deadlock_ends_for_one_of_two_requests(lab: Lab, shop: Application) -> None:
    requests = [shop.post("/moves?one=1&other=2"), shop.post("/moves?one=2&other=1")]
    found = lab.explore(requests, setup=f"{SETUP}, (2, 0)")
    assert (found.schedules, found.run.deadlocks, found.anomalous) == (12, 8, 0)


@pytest.mark.thorough
def test_a_pool_of_psycopg_too(lab: Lab) -> None:
    """What the app raises, and does not handle, says that the request was refused."""
    with lab.app(apps.on_psycopg(lab.wire.dsn)) as app:
        assert counts(lab, [app.post("/orders")] * 2, "read committed") == (14, 12, 0)
        assert counts(lab, [app.post("/orders")] * 2, "repeatable read") == (14, 0, 12)


def test_the_counterexample_names_lines_of_the_app(lab: Lab, shop: Application) -> None:
    found = lab.explore([shop.post("/orders")] * 2, setup=SETUP)
    lines = open(apps.__file__, encoding="utf-8").read().splitlines()  # noqa: PTH123, SIM115
    read = 1 + next(place for place, line in enumerate(lines) if "await connection.fetchval" in line)
    write = 1 + next(place for place, line in enumerate(lines) if "await connection.execute(WRITE" in line)
    shown = str(found.counterexample.transcript)
    assert f"apps.py:{read}  BEGIN" in shown
    assert f"apps.py:{write}  update slots set booked = 5000 where id = 1" in shown


def test_flask_in_each_session_s_thread(lab: Lab, flask: Application) -> None:
    assert counts(lab, [flask.post("/orders")] * 2, "read committed") == (14, 12, 0)
    assert counts(lab, [flask.post("/orders")] * 2, "repeatable read") == (14, 0, 12)
    assert counts(lab, [flask.post("/locked")] * 2, "read committed") == (6, 0, 0)


def test_memory_that_is_not_put_back_is_found_and_put_back(lab: Lab, flask: Application) -> None:
    """By a request, or by a function."""
    requests = [flask.post("/numbered")] * 2
    with pytest.raises(Nondeterminism, match="reset="):
        lab.explore(requests, setup=SETUP)
    flask.reset = flask.post("/reset")
    assert counts(lab, requests, "read committed")[1] == 0
    flask.reset = lambda: flask.post("/reset").ask()
    assert counts(lab, requests, "read committed")[1] == 0
    flask.reset = flask.post("/nowhere")
    with pytest.raises(ServerLost, match="answered with 404"):
        lab.explore(requests, setup=SETUP)


@pytest.mark.thorough
def test_memory_that_is_the_same_from_the_second_time_on_is_found_too(lab: Lab, flask: Application) -> None:
    """Orders that were known from the first run on would lock, and seem safe."""
    requests = [flask.post("/known/1"), flask.post("/known/2")]
    with pytest.raises(Nondeterminism, match="reset="):
        lab.explore(requests, setup=SETUP)
    flask.reset = flask.post("/reset")
    assert counts(lab, requests, "read committed") == (14, 12, 0)


@pytest.mark.thorough
def test_memory_that_keeps_an_app_from_its_database_is_found(lab: Lab) -> None:
    known: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if not known:
            with psycopg.connect(lab.wire.dsn) as connection:
                known["slots"] = connection.execute("select booked from slots").fetchall()
        start_response("200 OK", [])
        return [b""]

    with lab.app(app, reset=known.clear) as cached:
        assert counts(lab, [cached.get("/")], "read committed") == (1, 0, 0)
        cached.reset = None
        known.clear()
        with pytest.raises(Nondeterminism, match=r"no session makes a round trip when run again.* reset="):
            lab.explore([cached.get("/")], setup=SETUP)


def test_what_an_app_raises_is_raised(lab: Lab, shop: Application) -> None:
    found = lab.explore([shop.post("/fails"), shop.post("/orders")], setup=SETUP)
    assert "A raised KeyError('customer')" in str(found)


def test_a_request_that_hangs_is_cancelled(lab: Lab, shop: Application, events: list[str]) -> None:
    """And the lab, and the app, can be used afterwards."""
    with pytest.raises(StepTimeout, match=r"session A .*apps\.py:\d+: await asyncio\.Event\(\)\.wait\(\)"):
        lab.explore([shop.post("/hangs"), shop.post("/orders")], setup=SETUP, step_seconds=0.5)
    assert events[-1] == "cancelled"
    assert counts(lab, [shop.post("/orders")] * 2, "read committed") == (14, 12, 0)


@pytest.mark.thorough
def test_a_call_that_holds_the_event_loop_up_is_named(lab: Lab, shop: Application) -> None:
    """In one process such requests cannot meet."""
    with pytest.raises(ScheduleError, match=r"held up by a call .*apps\.py:\d+.*`def`, not `async def`"):
        lab.explore([shop.post("/held-up")] * 2, setup=SETUP)
    assert counts(lab, [shop.post("/orders")] * 2, "read committed") == (14, 12, 0)


def test_an_app_that_connects_elsewhere_is_refused_with_the_remedy(lab: Lab) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with psycopg.connect(lab.dsn) as connection:
            connection.execute("select 1")
        start_response("200 OK", [])
        return [b"[]"]

    with lab.app(app) as elsewhere, pytest.raises(ScheduleError, match=r"has to connect by lab\.wire\.dsn"):
        lab.explore([elsewhere.get("/")] * 2)


def test_startup_and_shutdown(lab: Lab) -> None:
    """Also of one that fails, and of one that knows nothing of them. No thread is left."""
    threads, events = set(threading.enumerate()), list[str]()
    app = lab.app(apps.on_asyncpg(lab.wire.dsn, events))
    assert app.post("/nowhere").ask().status == 404
    assert events == ["start"]
    app.close()
    app.close()
    assert events == ["start", "end"]
    with pytest.raises(ServerLost, match="app is closed"):
        app.get("/").ask()

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no key"})

    with pytest.raises(ServerUnavailable, match="does not start: no key"):
        lab.app(fails)

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        asked = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        await send({"type": "http.response.body", "body": b" ".join([*hosts, scope["query_string"] + asked["body"]])})
        assert (await receive())["type"] == "http.disconnect"

    with lab.app(bare) as other:
        assert other.post("/a?b=c", json={}, headers={"Host": "shop"}).ask().body == "shop b=c{}"
    assert set(threading.enumerate()) <= threads


@pytest.mark.parametrize("app", ["shop:app", lambda scope: None, asyncio.sleep], ids=["text", "asgi2", "coroutine"])
def test_what_is_no_app_is_refused(lab: Lab, app: Any) -> None:
    with pytest.raises(BadInput, match=r"lab\.app takes an ASGI app"):
        lab.app(app)


def test_psycopg2_outside_of_the_wire_is_refused_with_the_remedy(lab: Lab) -> None:
    def book() -> None:
        psycopg2.connect(lab.wire.dsn)

    with pytest.raises(ScheduleError, match=r"lab\.wire\.call\(function\)"):
        lab.explore([book, book], setup=SETUP)
