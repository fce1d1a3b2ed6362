"""Names an anomaly whose dependencies are one of a few well-known cycles, with the course's remedy.

The dependencies are those of `views.edges`: ww, wr, rw between committed transactions of an observed run. What they do
not show has no name here. A cycle of two proves the anomaly whatever else there is; which of several is found first
does not matter to that.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from typing import Any

from zephyr_lab.schedule.faults import Fault, fault_of, is_expiry
from zephyr_lab.schedule.transcript import RETURN, Transcript
from zephyr_lab.sql.classify import classify

REMEDIES = {
    "lost update": "notebooks/03-lost-update.ipynb: one statement, FOR UPDATE, or REPEATABLE READ with a retry",
    "write skew": "notebooks/08-write-skew.ipynb, 11-guards.ipynb: SERIALIZABLE with a retry, or a lock on a row that "
    "both must take before they read",
    "non-repeatable read": "notebooks/01-non-repeatable-read.ipynb: one statement, FOR SHARE, or REPEATABLE READ",
    "phantom": "notebooks/02-phantom.ipynb: REPEATABLE READ, or a lock on something that every writer must take first",
    "read skew": "notebooks/06-read-skew.ipynb: one statement, or REPEATABLE READ",
}

OF_FAULTS = {
    Fault.CRASH: "not atomic: a session dies, and a part of what it does has happened: do it all in one transaction of "
    "one store, or record first what is to be done, and have it finished or undone later",
    Fault.LOST_COMMIT: "lost answer: a session takes an error of the connection for a failure, and the server had "
    "acted: look what has happened, by a key of the request's own, before it is undone or done again",
    Fault.REDIS_TIMEOUT: "lost answer of Redis: a command was carried out, and its session told of a timeout: make the "
    "command idempotent, or look what has happened before it is undone or done again",
    Fault.TIMEOUT: "time limit: a session's wait for a lock has ended with an error, and it goes on as if its "
    "statement had been carried out: let the error end the transaction, and have the caller try again",
}
OF_EXPIRY = (
    "expiry: a key of Redis expires while its owner goes on: check a fencing token where it writes, or hold a lock of "
    "the database until COMMIT"
)


def of_faults(schedule: str) -> list[str]:
    """What the faults and expiries of an anomalous schedule are called, with their remedies."""
    words = shlex.split(schedule)
    had = {Fault.CRASH if fault.is_crash else fault for fault in map(fault_of, words) if fault}
    told = [text for fault, text in OF_FAULTS.items() if fault in had]
    return [*told, OF_EXPIRY] if any(map(is_expiry, words)) else told


def pattern(transcript: Transcript) -> str:
    """One of the names above; '' if the anomaly is not recognised, or the run was not observed."""
    told = _a_step_for_each_message(transcript.to_dict())
    if told is None or not transcript.glances:
        return ""
    from zephyr_lab.views.edges import statements  # its parser takes as long to import as all the rest
    from zephyr_lab.views.story import dependencies

    edges = [(one["from"], one["to"], one["kind"], *one["steps"]) for one in dependencies(told)]
    events = told["events"]
    for one, other, kind, _, after in edges:
        for reader, writer, back, before, change in edges:
            if (reader, writer, back) != (other, one, "rw"):
                continue
            if kind == "ww" and _same_rows(statements(events[before]), statements(events[after])):
                return "lost update"
            if kind == "wr" and not any(_writes(event) for event in events if event["session"] == other):
                return _of_reads(events[before], events[after], events[change])
    rw = {(one, other) for one, other, kind, _, _ in edges if kind == "rw"}
    return "write skew" if any(pair[::-1] in rw for pair in rw) and all(one[2] != "ww" for one in edges) else ""


def _a_step_for_each_message(told: dict[str, Any]) -> dict[str, Any] | None:
    """A function's round trips as steps of one transaction; None if a function has had several."""
    if not any(event["step"] == event["session"] for event in told["events"]):
        return told
    kept: list[dict[str, Any]] = []
    number: Counter[str] = Counter()
    place = {-1: 0}  # number of kept events before each event
    for at, event in enumerate(told["events"]):
        if event["sql"] != RETURN:
            number[event["session"]] += not event["resumed"]
            kept.append({**event, "step": f"{event['session']}{number[event['session']]}", "transaction": 1})
        place[at] = len(kept)
    ends = Counter(event["session"] for event in kept if any(one.ends for one in classify(event["sql"])))
    if any(count > 1 for count in ends.values()) or ends.keys() != set(told["sessions"]):
        return None
    glances = [{**one, "after": place[one["after"] - 1]} for one in told.get("glances", [])]
    return {**told, "events": kept, "glances": glances}


def _same_rows(read: Iterable[Any], written: Iterable[Any]) -> bool:
    """Whether a statement read what another one changed: same condition, same table."""
    changes = [(table, _text(where)) for table, where, kind in written if kind == "change"]
    return any(kind == "read" and (table, _text(where)) in changes for table, where, kind in read)


def _text(where: Any) -> str:
    """A condition without its columns' tables and quotes, which ORMs write inconsistently."""
    from sqlglot import exp

    if where is None:
        return ""
    bare = where.copy()
    for column in bare.find_all(exp.Column):
        column.set("table", None)
    text: str = bare.sql(dialect="postgres")
    return text.replace('"', "").lower()


def _writes(event: dict[str, Any]) -> bool:
    from zephyr_lab.views.edges import statements

    return any(kind != "read" for _, _, kind in statements(event))


def _of_reads(before: dict[str, Any], after: dict[str, Any], change: dict[str, Any]) -> str:
    """Two reads of one transaction on either side of another one's change: the same question twice, or two."""
    from zephyr_lab.views.edges import without_begin

    if without_begin(before["sql"]) != without_begin(after["sql"]):
        return "read skew"
    return "non-repeatable read" if "update" in change["sql"].lower() else "phantom"
