"""The orders of a run as a history: what it says is judged as it happened."""

from __future__ import annotations

import json
from array import array
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from zephyr_lab.check import operations
from zephyr_lab.errors import BadInput
from zephyr_lab.load import history
from zephyr_lab.load.arrivals import asks
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Counts, Outcome, add_up

TODAY = date(2026, 11, 29)
COUNTED, SUMMED = (
    Incident(strategy=name, rate=6, seconds=1, arrivals="constant").check()
    for name in ("conditional-update", "check-then-insert")
)
TOLD = [Outcome.CREATED, Outcome.CREATED, Outcome.FULL, Outcome.UNANSWERED, Outcome.CREATED, Outcome.UNSENT]
PRICES = [one.order(COUNTED, TODAY).final_price for one in asks(COUNTED)]
IDS = [str(one.id) for one in asks(SUMMED)]


def counts(told: list[Outcome] = TOLD) -> Counts:
    """Each is sent before the one before it is answered."""
    begun, ended = array("I", [10 * i for i in range(len(told))]), array("I", [10 * i + 15 for i in range(len(told))])
    return Counts(outcomes=bytearray(told), begun=begun, ended=ended)


def judged(path: Path, incident: Incident, last: Any) -> Any:
    history.write(path, incident, counts(), TODAY, last)
    return operations.check(path, history.workload(incident))


CREATED = PRICES[0] + PRICES[1] + PRICES[4]


@pytest.mark.parametrize(
    ("last", "valid"),
    [
        (CREATED, True),
        (CREATED + PRICES[3], True),
        (CREATED - 1, False),
        (CREATED - PRICES[1], False),
        (CREATED + PRICES[3] + 1, False),
    ],
    ids=["as told", "with the one that was not answered", "one rouble short", "an update lost", "one rouble too many"],
)
def test_a_count_is_what_was_acknowledged_and_may_have_what_was_not_answered(
    tmp_path: Path, last: int, valid: bool
) -> None:
    """An update that was lost is a count that is too small."""
    found = judged(tmp_path / "orders.jsonl", COUNTED, last)
    assert found.workload == "counter"
    assert found.operations == len(TOLD)  # without the one that was not sent, and with the read
    assert found.valid is valid


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ([0, 1, 4], []),
        ([0, 1, 3, 4], []),
        ([0, 4], ["lost-element"]),
        ([0, 1, 2, 4], ["unexpected-element"]),
        ([0, 1, 1, 4], ["duplicate-element"]),
    ],
)
def test_orders_are_a_set(tmp_path: Path, there: list[int], said: list[str]) -> None:
    """Lost, saved though their customers were told no, or there twice."""
    found = judged(tmp_path / "orders.jsonl", SUMMED, [IDS[i] for i in there])
    assert [one.name for one in found.faults] == said
    assert found.valid is not bool(said)


def test_the_events_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    """An order that is under way when another one begins ends after that."""
    history.write(tmp_path / "orders.jsonl", COUNTED, counts(), TODAY, CREATED)
    events = [json.loads(line) for line in (tmp_path / "orders.jsonl").read_text().splitlines()]
    assert [(one["process"], one["type"]) for one in events[:4]] == [
        (0, "invoke"),
        (1, "invoke"),
        (0, "ok"),
        (2, "invoke"),
    ]
    assert [one["time"] for one in events] == sorted(one["time"] for one in events)
    assert [one["f"] for one in events[-2:]] == ["read", "read"]


def test_times_are_kept_where_clients_are_many(tmp_path: Path) -> None:
    """Each has every second order; as JSON between processes."""
    whole = counts([Outcome.CREATED] * 5)
    parts = [
        Counts(share=i, outcomes=whole.outcomes[i::2], begun=whole.begun[i::2], ended=whole.ended[i::2])
        for i in range(2)
    ]
    merged = add_up(Counts.of(json.loads(json.dumps(one.to_dict()))) for one in parts)
    assert (merged.outcomes, merged.begun, merged.ended) == (whole.outcomes, whole.begun, whole.ended)


def test_a_folder_that_is_missing_is_told_before_the_run(tmp_path: Path) -> None:
    """And not after."""
    with pytest.raises(BadInput, match="there is no folder"):
        history.check_path(tmp_path / "nowhere" / "orders.jsonl")
