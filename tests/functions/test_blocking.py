"""Redis commands that wait inside the server, in every order: who is woken, who gives up, who waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import redis as redis_py
import redis.asyncio

from zephyr_lab import Lab
from zephyr_lab.errors import ScheduleError, StepTimeout
from zephyr_lab.functions.blocking import patient

Redis = redis_py.Redis


@pytest.mark.parametrize(
    ("message", "sent", "waits", "limited"),
    [
        ("BLPOP a b 5", "BLPOP a b 0", {0}, {0}), ("brpop a 0.5", "brpop a 0", {0}, {0}),
        ("BLMOVE a b LEFT LEFT 1e1", "BLMOVE a b LEFT LEFT 0", {0}, {0}), ("BLPOP a 0", "BLPOP a 0", {0}, set()),
        ("BLMPOP 1.5 1 a LEFT", "BLMPOP 0 1 a LEFT", {0}, {0}), ("WAIT 1 100", "WAIT 1 0", {0}, {0}),
        ("XREAD COUNT 1 BLOCK 500 STREAMS a $", "XREAD COUNT 1 BLOCK 0 STREAMS a $", {0}, {0}),
        ("XREADGROUP GROUP g c block 0 STREAMS a >", "XREADGROUP GROUP g c block 0 STREAMS a >", {0}, set()),
        ("BLPOP a soon", "BLPOP a soon", {0}, set()), ("BLPOP", "BLPOP", {0}, set()), ("WAIT", "WAIT", {0}, set()),
        ("XREAD BLOCK", "XREAD BLOCK", {0}, set()), ("XREAD BLOCK 0.5 STREAMS a $", None, {0}, set()),
        ("MULTI; BLPOP a 1; EXEC; BRPOP a 1", "MULTI; BLPOP a 1; EXEC; BRPOP a 0", {3}, {3}),
        ("SET a 1; LPOP a", "SET a 1; LPOP a", set(), set()),
    ],
)  # fmt: skip
def test_a_message_is_sent_without_time_limits(
    message: str, sent: str | None, waits: set[int], limited: set[int]
) -> None:
    """What Redis will refuse is sent as it is; in a transaction nothing waits."""
    found = patient([part.encode().split() for part in message.split("; ")])
    assert b"; ".join(map(b" ".join, found.commands)).decode() == (sent or message)
    assert (found.waits, found.limited) == (waits, limited)
    assert patient([b"BLPOP a 1".split()], in_transaction=True).waits == set()


def put(redis: Redis) -> None:
    redis.rpush("jobs", "job")


def take(redis: Redis) -> None:
    if job := redis.blpop(["jobs"], timeout=1):
        redis.set("done", job[1])


async def take_asynchronously(redis: redis_py.asyncio.Redis) -> None:
    if job := await redis.blpop(["jobs"], timeout=1):
        await redis.set("done", job[1])


def take_whenever(redis: Redis) -> None:
    redis.set("done", redis.blpop(["jobs"])[1])


def take_in_a_loop(redis: Redis) -> None:
    while not (job := redis.blpop(["jobs"], timeout=1)):
        pass
    redis.set("done", job[1])


def take_the_first(redis: Redis) -> None:
    """Of a sorted set."""
    if job := redis.bzpopmin(["scores"], timeout=1):
        redis.set("done", job[1])


def read_on(redis: Redis) -> None:
    """Of a stream."""
    if job := redis.xread({"entries": "0"}, block=1000):
        redis.set("done", str(job[0][1][0][1]))


def score(redis: Redis) -> None:
    redis.zadd("scores", {"job": 1})


def append(redis: Redis) -> None:
    redis.xadd("entries", {"job": "1"})


@pytest.mark.thorough_but("take-put-3", "take_whenever-put-2", "take_in_a_loop-put-7")
@pytest.mark.parametrize(
    ("worker", "producer", "schedules"),
    [
        (take, put, 3), (take_asynchronously, put, 3), (take_the_first, score, 3), (read_on, append, 3),
        (take_whenever, put, 2), (take_in_a_loop, put, 7),
    ],
)  # fmt: skip
def test_a_worker_is_woken_or_gives_up(
    lab: Lab, worker: Callable[..., Any], producer: Callable[..., Any], schedules: int
) -> None:
    """The job comes before it asks, while it waits, or when it has given up, if it may; a loop gives up three times
    in a row before it is passed over."""
    for reduction in (False, True):
        found = lab.explore([worker, producer], shrink=False, reduction=reduction)
        assert (found.schedules, found.kind, found.complete) == (schedules, "prevented", True)
        assert (len(found.outcomes), found.run.blocked_steps > 0) == (2 if schedules == 3 else 1, True)
        assert found.represents == schedules


def test_two_are_woken_one_after_another(lab: Lab) -> None:
    """In the order in which they have asked, and not before the one that wakes them has come to rest."""
    has_gone_on = threading.Event()

    def put_two(redis: Redis) -> bool:
        has_gone_on.clear()
        redis.rpush("jobs", "one", "two")
        return has_gone_on.wait(0.1)

    def note(redis: Redis) -> str:
        job = redis.blpop(["jobs"])[1]
        has_gone_on.set()
        redis.rpush("done", job)
        return str(job)

    verdict = lab.replay([note, note, put_two], "B A C A B")
    assert [event.session for event in verdict.transcript.events if event.resumed] == ["B", "A"]
    told = "A returned 'two'; B returned 'one'; C returned False; redis: key=done, value=list [two, one]"
    assert verdict.outcome.text() == told


def test_one_who_is_never_woken_is_reported_with_the_schedule(lab: Lab) -> None:
    """Both see the one job, and one of them takes it; the others of the orders are judged."""

    def take_if_there(redis: Redis) -> None:
        if redis.llen("jobs"):
            redis.blpop(["jobs"])

    found = lab.explore([take_if_there] * 2, setup=put, shrink=False)
    assert (found.schedules, found.run.undecided, found.anomalous, found.complete) == (6, 4, 0, True)
    assert "session B waits for another session (inside Redis), for ever" in str(found)


def test_one_who_holds_a_lock_meanwhile_is_seen_to_wait_for_whom_it_holds_up(lab: Lab) -> None:
    def lock_and_take(conn: psycopg.Connection, redis: Redis) -> None:
        conn.execute("update slots set booked = booked + 1")
        redis.blpop(["jobs"])

    def lock_and_put(conn: psycopg.Connection, redis: Redis) -> None:
        conn.execute("update slots set booked = booked + 1")
        redis.rpush("jobs", "job")

    setup = "create table slots (booked int); insert into slots values (0)"
    found = lab.explore([lock_and_take, lock_and_put], setup=setup, shrink=False)
    (reason,) = found.undecided_because
    assert "session A waits for another session (inside Redis) and session B waits for A (transactionid" in reason
    assert (found.anomalous, 0 < found.run.undecided < found.schedules) == (0, True)


def test_sessions_that_need_each_other_have_no_serial_order(lab: Lab) -> None:
    def ask(redis: Redis) -> None:
        redis.rpush("questions", "?")
        redis.blpop(["answers"])

    def answer(redis: Redis) -> None:
        redis.blpop(["questions"])
        redis.rpush("answers", "!")

    found = lab.explore([ask, answer], shrink=False)
    assert found.run.undecided == found.schedules > 0
    assert "there is no serial order" in str(found)


def test_what_cannot_be_followed_is_refused(lab: Lab) -> None:
    def in_a_pipeline(redis: Redis) -> None:
        redis.pipeline(transaction=False).get("a").blpop(["jobs"], timeout=1).execute()

    def listen(redis: Redis) -> None:
        redis.pubsub().subscribe("news")

    with pytest.raises(ScheduleError, match="sent BLPOP, which may wait inside Redis, in a pipeline"):
        lab.explore([in_a_pipeline, put])
    with pytest.raises(ScheduleError, match="sent SUBSCRIBE, and what it would hear comes at a time"):
        lab.explore([listen, put])
    with pytest.raises(StepTimeout, match=r"\(inside Redis\), for ever: .*BLPOP jobs 0.* After the schedule 'A'"):
        lab.explore([take_whenever])
    assert lab.explore([take, put]).schedules == 3
