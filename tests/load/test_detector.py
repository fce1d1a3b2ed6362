"""The detector that cries race condition, fed by a poll that is handed in: no server is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any
from uuid import UUID

import psycopg
import pytest

from zephyr_lab.load.arrivals import Ask
from zephyr_lab.load.conditions import Blocks, Incident
from zephyr_lab.load.detector import ClientDetector
from zephyr_lab.load.service import Where
from zephyr_lab.orders.models import menu

TODAY = date(2026, 1, 5)
INCIDENT = Incident(strategy="conditional-update", capacity=10_000).check()
ASK = Ask(0, 0.0, UUID(int=1), sorted(menu())[0], 2, 0, 0)
SLOTS = [slot.id for slot in Blocks().window(INCIDENT.moment(0, 0, TODAY)).slots()]


def polled(monkeypatch: pytest.MonkeyPatch, loads: dict[str, int], ask: Callable[[ClientDetector], Any]) -> Any:
    """What a detector says that has polled such loads; the event tells when it has."""

    async def use() -> Any:
        asked = asyncio.Event()

        class Connection:
            async def execute(self, sql: str) -> Connection:
                assert "from slots" in sql
                return self

            async def fetchall(self) -> list[tuple[str, int]]:
                asked.set()
                return list(loads.items())

        @asynccontextmanager
        async def connection() -> Any:
            yield Connection()

        async def connect(dsn: str, autocommit: bool) -> Any:
            assert (dsn, autocommit) == ("dsn", True)
            return connection()

        monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
        detector = ClientDetector(INCIDENT, Where("dsn", ""), TODAY)
        try:
            await asked.wait()
            return ask(detector)
        finally:
            await detector.close()

    return asyncio.run(use())


@pytest.mark.parametrize(
    ("loads", "slot", "load"),
    [
        ([], 0, 0),
        ([500], 0, 500),
        ([10_000], 1, 0),
        ([10_000, 10_000 - 1], 2, 0),
        ([10_000] * 12, 11, 10_000),
        ([10_000 - ASK.item.total], 0, 10_000 - ASK.item.total),
        ([10_001 - ASK.item.total], 1, 0),
    ],
)
def test_an_order_is_expected_in_the_first_slot_that_has_room(
    monkeypatch: pytest.MonkeyPatch, loads: list[int], slot: int, load: int
) -> None:
    """By the last poll; in the last slot where none has."""
    known = dict(zip(SLOTS, loads, strict=False))
    assert polled(monkeypatch, known, lambda one: one.before(ASK)) == (SLOTS[slot], load)


@pytest.mark.parametrize(
    ("before", "now", "race"),
    [(100, 100, False), (100, 100 + ASK.item.total, False), (100, 101, True), (100, 100 + 2 * ASK.item.total, True),
     (100, 50, False), (0, ASK.item.total, False), (ASK.item.total, 0, False)],
)  # fmt: skip
def test_whatever_others_have_booked_meanwhile_is_called_a_race_condition(
    monkeypatch: pytest.MonkeyPatch, before: int, now: int, race: bool
) -> None:
    """More than before, and not by its own price: two reads of one value at two moments."""
    assert polled(monkeypatch, {"s": now}, lambda one: one.after(ASK, ("s", before))) is race


def test_a_slot_that_is_not_there_has_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a poll that failed."""
    assert polled(monkeypatch, {}, lambda one: one.after(ASK, ("s", 1))) is False
