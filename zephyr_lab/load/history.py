"""A run's orders as a history of Jepsen's form, which `zephyr-lab check` reads.

Of a strategy that counts what a slot has booked it is a history of a *counter*: each order adds its price, and the last
operation reads what all slots say together, so that a lost update is a count that is too small. Of one that sums up the
orders it is a *set*: each order adds its id, and the last operation reads the orders there are. An order whose customer
got no answer is indeterminate. Times are in nanoseconds from the start, by the client's clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.load.arrivals import asks
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.counts import Counts, Outcome
from zephyr_lab.orders.strategies import Load

_ENDS = {Outcome.CREATED: "ok", Outcome.UNANSWERED: "info", Outcome.NO_CONNECTION: "info"}
"""As `truth` has it; whatever else a customer is told, the order must not be there."""


def workload(incident: Incident) -> str:
    """By the checker's name."""
    return "set-full" if incident.as_strategy().load is Load.ORDERS else "counter"


def check_path(path: Path) -> None:
    """Raises BadInput for a file that cannot be written, before anything is run."""
    if not path.absolute().parent.is_dir():
        raise BadInput(f"cannot write {path}: there is no folder {path.parent}; make it first")


def write(path: Path, incident: Incident, counts: Counts, today: date, last: int | Sequence[str]) -> None:
    """The history; `last` is the count of all slots, or the ids of the orders, after the run."""
    with path.open("w") as file:
        file.writelines(json.dumps(one) + "\n" for one in events(incident, counts, today, last))


def events(incident: Incident, counts: Counts, today: date, last: int | Sequence[str]) -> Iterator[dict[str, Any]]:
    """By time; of what has the same one, invocations first. Every order is a process of its own."""
    found: list[tuple[int, bool, int, dict[str, Any]]] = []
    counted = workload(incident) == "counter"
    for ask, told, begun, ended in zip(asks(incident), counts.outcomes, counts.begun, counts.ended, strict=False):
        if told == Outcome.UNSENT:
            continue
        value = ask.order(incident, today).final_price if counted else str(ask.id)
        about = {"process": ask.number, "f": "add", "value": value}
        found.append((begun, False, ask.number, {**about, "type": "invoke"}))
        found.append((ended, True, ask.number, {**about, "type": _ENDS.get(Outcome(told), "fail")}))
    found.sort(key=lambda one: one[:3])
    for at, _, _, event in found:
        yield {**event, "time": 1000 * at}
    end = 1000 * (found[-1][0] + 1) if found else 0
    reader = {"process": len(counts.outcomes), "f": "read", "time": end}
    yield {**reader, "type": "invoke", "value": None}
    yield {**reader, "type": "ok", "value": last}
