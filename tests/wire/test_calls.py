"""Functions on an engine or a pool that all sessions share."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.wire.programs import READ, SETUP, WRITE
from tests.wire.test_wire import counts
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput, StepTimeout
from zephyr_lab.wire.stillness import FIRST_SECONDS

BOOK = text(WRITE.replace("%s", ":booked"))


def book(engine: Engine) -> int:
    with Session(engine) as session, session.begin():
        booked = int(session.scalar(text(READ)))
        session.execute(BOOK, {"booked": booked + 5000})
    return booked


async def book_async(engine: AsyncEngine) -> int:
    async with AsyncSession(engine) as session, session.begin():
        booked = int(await session.scalar(text(READ)))
        await session.execute(BOOK, {"booked": booked + 5000})
    return booked


@pytest.mark.thorough_but("asyncpg")
@pytest.mark.parametrize("driver", ["psycopg2", "pg8000", "asyncpg"])
def test_a_lost_update_is_found_on_an_engine_that_sessions_share(lab: Lab, driver: str) -> None:
    """It is new in the first schedule, and has its connections later."""
    url = lab.wire.url(f"postgresql+{driver}")
    is_async = driver == "asyncpg"
    engine: Any = create_async_engine(url) if is_async else create_engine(url)
    calls = [lab.wire.call(book_async if is_async else book, engine)] * 2
    assert counts(lab, calls, "read committed") == (14, 12, 0)
    assert counts(lab, calls, "repeatable read") == (14, 0, 12)
    found = lab.explore(calls, setup=SETUP)
    assert found.not_compared == ()
    assert "test_calls.py:" in str(found.counterexample.transcript)


def test_calls_are_reduced(lab: Lab) -> None:
    """What they share in memory is looked at, as that of any function."""
    engine = create_engine(lab.wire.url("postgresql+psycopg2"))

    def touch(row: int) -> None:
        with engine.begin() as connection:
            connection.execute(text("update slots set booked = booked + 1 where id = :row"), {"row": row})

    calls = [lab.wire.call(touch, row) for row in (1, 2)]
    whole = lab.explore(calls, setup=f"{SETUP}, (2, 0)", reduction=False)
    reduced = lab.explore(calls, setup=f"{SETUP}, (2, 0)", reduction=True)
    assert (whole.schedules, whole.anomalous, reduced.anomalous) == (6, 0, 0)
    assert reduced.schedules < whole.schedules


def test_a_call_that_hangs_is_cancelled(lab: Lab) -> None:
    engine = create_async_engine(lab.wire.url("postgresql+asyncpg"))
    cancelled: list[str] = []

    async def hang() -> None:
        await book_async(engine)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("yes")

    with pytest.raises(StepTimeout, match=r"session A .*test_calls\.py:\d+: await asyncio\.Event\(\)\.wait\(\)"):
        lab.explore([lab.wire.call(hang)], setup=SETUP, step_seconds=0.5)
    assert cancelled == ["yes"]


def test_what_cannot_be_called_is_refused(lab: Lab) -> None:
    with pytest.raises(BadInput, match=r"lab\.wire\.call\(book, engine\)"):
        lab.wire.call(5)  # type: ignore[arg-type]


@pytest.mark.thorough
def test_who_computes_in_this_process_is_not_taken_for_one_that_waits(lab: Lab) -> None:
    engine = create_engine(lab.wire.url("postgresql+psycopg2"))

    def compute() -> int:
        until = time.monotonic() + 2 * FIRST_SECONDS
        while time.monotonic() < until:
            pass
        return book(engine)

    found = lab.explore([lab.wire.call(compute)], setup=SETUP)
    assert (found.schedules, found.complete, found.unordered) == (1, True, "")
