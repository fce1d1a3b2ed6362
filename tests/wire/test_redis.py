"""Services that book in Redis, with and without PostgreSQL, under every order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from tests.wire.services import Words, go_service, node_service
from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError, StepTimeout
from zephyr_lab.shipped import shipped

PLACES, QUEUE = Path(__file__).with_name("places.js"), Path(__file__).with_name("queue.js")

pytestmark = [pytest.mark.xdist_group("services"), pytest.mark.timeout(300)]


def order(number: int, amount: int, slot: str) -> dict[str, Any]:
    return {"id": str(number), "customer": "Anna", "slot": slot, "amount": amount}


FULL = order(1, 60_000, "slot:18"), order(2, 60_000, "slot:18")
SENT_TWICE = (order(1, 5_000, "slot:99"),) * 2  # of a slot that PostgreSQL lacks: the place is given back


@pytest.mark.thorough_but("node-redis-lua-serializable-full")
@pytest.mark.parametrize(
    ("way", "orders", "expected"),
    [
        pytest.param("redis-lua-serializable", FULL, (6, 0, 6), id="redis-lua-serializable-full"),
        pytest.param("redis-lua-idempotent", FULL, (6, 0, 6), id="redis-lua-idempotent-full"),
        pytest.param("redis-lua-serializable", SENT_TWICE, (252, 110, 0), id="redis-lua-serializable-released"),
        pytest.param("redis-lua-idempotent", SENT_TWICE, (70, 0, 0), id="redis-lua-idempotent-released"),
    ],
)
@pytest.mark.parametrize("build", [go_service, node_service], ids=["go", "node"])
def test_a_script_books_once_and_a_release_that_races_with_a_booking_is_found(
    lab: Lab, tmp_path: Path, build: Callable[[Path], Words], way: str, orders: tuple[Any, Any],
    expected: tuple[int, int, int],
) -> None:  # fmt: skip
    """As documented, an order that is sent twice at once is released while the other one books: its place is lost."""
    with lab.service(build(tmp_path), env={"BOOKING": way}, ready="/healthz") as service:
        found = lab.explore(
            [service.post("/orders", json=one) for one in orders],
            setup=shipped("data", "services", "booking.sql").read_text(), shrink=False, may_raise=True,
        )  # fmt: skip
    assert (found.schedules, found.anomalous, found.aborted) == expected
    assert (found.complete, found.not_compared) == (True, ())


def test_get_then_incrby_is_found(lab: Lab, tmp_path: Path) -> None:
    """By connections from a pool, and by one that requests share: that answers in the order in which it was asked, so
    that who was asked first is waited for, and one of the orders cannot be had."""
    command = node_service(tmp_path, PLACES)
    with lab.service(command) as service:
        found = lab.explore([service.post("/read-then-add")] * 2, shrink=False)
        assert (found.schedules, found.anomalous, found.complete) == (6, 4, True)
        assert lab.explore([service.post("/add")] * 2).anomalous == 0
    with lab.service(command, env={"REDIS": "shared"}) as service:
        found = lab.explore([service.post("/read-then-add")] * 2, shrink=False)
        assert (found.schedules, found.anomalous, found.complete) == (5, 4, False)
        assert "waited inside the program" in found.unordered
        assert lab.explore([service.post("/add")] * 2).anomalous == 0


def test_a_worker_that_waits_for_a_job_is_woken_or_gives_up(lab: Lab, tmp_path: Path) -> None:
    """The job comes before it asks, while it waits, or, with a time limit, when it has given up; who reads the list
    and then cuts it loses a job that comes in between."""
    command = node_service(tmp_path, QUEUE)
    with lab.service(command) as service:
        for path, expected in (("/work", (3, 0, 2)), ("/wait", (2, 0, 1)), ("/trim", (3, 1, 0))):
            found = lab.explore([service.post(path), service.post("/jobs")], shrink=False)
            assert (found.schedules, found.anomalous, found.run.blocked_steps) == expected, path
            assert found.complete
    with lab.service(command, env={"REDIS": "shared"}) as service:
        found = lab.explore([service.post("/wait"), service.post("/jobs")], shrink=False)
        (reason,) = found.undecided_because
        assert all(word in reason for word in ("session A waits", "session B waits", "RPUSH jobs job", "for ever"))
        # Two orders, and two where the sessions are started in the reverse order.
        assert (found.anomalous, found.run.undecided, found.schedules) == (0, 2, 4)


def put(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("jobs", "job")


def test_of_a_pipeline_each_wait_may_be_given_up_by_itself(lab: Lab) -> None:
    """The job comes before both, after the pipeline is sent, after the first wait or after the second; or it comes
    when all is done."""

    def work(redis_url: str) -> list[Any]:
        with redis.Redis.from_url(redis_url) as client:
            asked = client.pipeline(transaction=False).blpop(["others"], 1).blpop(["jobs"], 1)
            return asked.execute()

    found = lab.explore([work, put], shrink=False)
    assert (found.schedules, found.anomalous, found.complete, len(found.outcomes)) == (4, 0, True, 2)


def test_two_that_are_woken_at_once_go_on_one_after_another(lab: Lab) -> None:
    """And not before the one that wakes them has come to rest."""
    has_gone_on = threading.Event()

    def note(redis_url: str) -> str:
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            job = client.blpop(["jobs"])[1]
            has_gone_on.set()
            client.rpush("done", job)
            return str(job)

    def put_two(redis_url: str) -> bool:
        has_gone_on.clear()
        with redis.Redis.from_url(redis_url) as client:
            client.rpush("jobs", "one", "two")
            return has_gone_on.wait(0.1)

    verdict = lab.replay([note, note, put_two], "B A C A B")
    assert [event.session for event in verdict.transcript.events if event.resumed] == ["B", "A"]
    told = "A returned 'two'; B returned 'one'; C returned False; redis: key=done, value=list [two, one]"
    assert verdict.outcome.text() == told


def test_waits_that_cannot_be_followed_at_the_wire_are_refused(lab: Lab) -> None:
    def work(redis_url: str) -> None:
        async def both() -> None:
            async with redis.asyncio.Redis.from_url(redis_url) as client:
                await asyncio.gather(client.blpop(["jobs"]), client.set("other", 1))

        asyncio.run(both())

    def listen(redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            heard = client.pubsub()
            heard.subscribe("news")
            heard.get_message(timeout=1)

    def wait(redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.blpop(["jobs"])

    with pytest.raises(ScheduleError, match=r"session A waits inside Redis .* and asks something else"):
        lab.explore([work, put])
    with pytest.raises(ScheduleError, match="SUBSCRIBE news', and what it would hear comes at a time"):
        lab.explore([listen, put])
    with pytest.raises(StepTimeout, match=r"\(inside Redis\), for ever: .*BLPOP jobs 0"):
        lab.explore([wait, wait])
    assert lab.explore([wait, put]).schedules == 2
