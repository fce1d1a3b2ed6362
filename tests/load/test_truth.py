"""What became of the orders, by rows that are handed in: no server is asked."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from zephyr_lab.load.arrivals import asks
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Outcome
from zephyr_lab.load.truth import Truth, look

SLOTS, ORDERS = "conditional-update", "check-then-insert"


class Rows(NamedTuple):
    rows: list[Any]

    def fetchall(self) -> list[Any]:
        return self.rows


class Stored:
    """A connection to what is stored: the ids of orders, and of each slot capacity, booked, ordered and orders."""

    def __init__(self, ids: list[UUID], slots: list[tuple[str, int, int, int, int]]) -> None:
        self._ids, self._slots = [(id,) for id in ids], slots

    def execute(self, sql: str) -> Rows:
        return Rows(self._slots if "from slots" in sql else self._ids)


def incident(strategy: str) -> Incident:
    return Incident(strategy=strategy, rate=20, seconds=1, arrivals="constant").check()


def looked(
    ids: list[UUID], told: list[Outcome], slots: list[tuple[str, int, int, int, int]] | None = None, of: str = SLOTS
) -> Truth:
    return look(Stored(ids, slots or []), None, incident(of), bytearray(told))  # type: ignore[arg-type]


ASKED = [one.id for one in asks(incident(SLOTS))]


@pytest.mark.parametrize("told", Outcome)
@pytest.mark.parametrize("there", [True, False])
def test_an_order_is_as_the_customer_was_told_or_it_is_counted(told: Outcome, there: bool) -> None:
    """Acknowledged and there, or refused and not; of what was not answered nothing is promised."""
    found = looked(ASKED[:1] if there else [], [told])
    wanted = Truth(rows=int(there))
    if told is Outcome.CREATED:
        wanted.acknowledged = 1
        wanted.lost = [] if there else ASKED[:1]
    elif told in (Outcome.UNANSWERED, Outcome.NO_CONNECTION):
        wanted.unanswered, wanted.saved_unanswered = 1, int(there)
    elif there:
        wanted.unexpected = ASKED[:1]
    assert found == wanted
    assert bool(found.wrong()) is (there is not (told is Outcome.CREATED) and wanted.unanswered == 0)


def test_every_order_is_looked_at_in_the_order_of_the_asks() -> None:
    """The outcomes are numbered as they are; what is there and was never asked for is a row, and nothing else."""
    created = [Outcome.CREATED] * 3
    assert looked(ASKED[:3], created) == Truth(acknowledged=3, rows=3)
    assert looked([*ASKED[1:3], uuid4()], created) == Truth(acknowledged=3, rows=3, lost=ASKED[:1])
    assert looked(ASKED[:3], [Outcome.FULL, Outcome.CREATED, Outcome.FAILED]) == Truth(
        acknowledged=1, rows=3, unexpected=[ASKED[0], ASKED[2]]
    )


def test_an_order_that_is_there_twice_is_one_order_saved_twice() -> None:
    """And two rows."""
    found = looked([ASKED[0], ASKED[1], ASKED[0]], [Outcome.CREATED] * 2)
    assert found == Truth(acknowledged=2, rows=3, twice=[ASKED[0]])
    assert found.wrong() == ["saved twice: 1 orders"]


def test_money_is_compared_slot_by_slot() -> None:
    """Above capacity; in orders and not in the counter; in the counter and not in orders. They do not cancel out."""
    slots = [
        ("a", 1000, 1000, 1000, 2),
        ("b", 1000, 900, 1500, 3),
        ("c", 1000, 700, 500, 1),
        ("d", 1000, 40, 0, 0),
        ("e", 1000, 1100, 1101, 1),
    ]
    found = looked([], [], slots)
    assert found == Truth(slots=4, oversold=2, roubles_over=601, lost_updates=601, leaked=240, counted=3740)
    assert found.wrong() == [
        "oversold: 2 of 4 slots, by 601 roubles",
        "lost updates: the slots' counter lacks 601 roubles that orders have",
    ]


def test_without_a_counter_there_is_nothing_to_compare_it_with() -> None:
    """A strategy that adds up the orders keeps none."""
    found = looked([], [], [("b", 1000, 0, 1500, 3)], ORDERS)
    assert found == Truth(slots=1, oversold=1, roubles_over=500)


def test_what_must_not_be_is_said_in_words() -> None:
    """In thousands where it is money; nothing of a service that keeps its word."""
    assert Truth(acknowledged=5, rows=5, unanswered=1, saved_unanswered=1, leaked=10, slots=2).wrong() == []
    ids = [uuid4(), uuid4()]
    wrong = Truth(lost=ids, unexpected=ids[:1], twice=ids, oversold=1, slots=3, roubles_over=12345, lost_updates=1000)
    assert wrong.wrong() == [
        "oversold: 1 of 3 slots, by 12,345 roubles",
        "lost updates: the slots' counter lacks 1,000 roubles that orders have",
        "lost orders: 2 were acknowledged and are not in the database",
        "unexpected orders: 1 are saved though their customers were told no",
        "saved twice: 2 orders",
    ]
