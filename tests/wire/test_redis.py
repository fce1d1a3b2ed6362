"""Services that book in Redis, with and without PostgreSQL, under every order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.wire.services import Words, go_service, node_service
from zephyr_lab import Lab
from zephyr_lab.shipped import shipped

PLACES = Path(__file__).with_name("places.js")

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
