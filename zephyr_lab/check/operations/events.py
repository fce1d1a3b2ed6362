"""Operations of a history: an invocation and its completion, and when they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zephyr_lab.check.files import events_of
from zephyr_lab.check.records import STATUS
from zephyr_lab.errors import BadInput

FOREVER = 1 << 62


class Undecided(Exception):
    """The text says why."""


@dataclass(frozen=True)
class Fault:
    """What breaks a promise: its name, the lines that show it, and what they say."""

    name: str
    lines: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Operation:
    """`begin`, `end`: positions of invocation and completion; an indeterminate operation has not ended. `asked` is the
    value of the invocation, `value` that of the completion."""

    process: int
    f: str
    type: str
    asked: Any
    value: Any
    begin: int
    end: int
    line: int

    @property
    def ok(self) -> bool:
        return self.type == "ok"

    @property
    def possible(self) -> bool:
        return self.type != "fail"


def operations(path: Path) -> list[Operation]:
    """In the order of completion; what never completed last."""
    found = list(_paired(events_of(path), path.name))
    return sorted(found, key=lambda one: (one.end, one.begin))


def _paired(events: Iterator[tuple[int, Any]], source: str) -> Iterator[Operation]:
    open_: dict[int, tuple[int, int, Any, str]] = {}
    for position, (line, event) in enumerate(events):
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise BadInput(f"{source}, line {line}: {event!r:.60} is not an event with a type")
        process, kind, f = event.get("process", 0), event["type"], event.get("f")
        if not isinstance(process, int) or not isinstance(f, str):
            continue  # the nemesis
        if kind == "invoke":
            if process in open_:
                raise BadInput(
                    f"{source}, line {line}: process {process} invokes again before its invocation of line "
                    f"{open_[process][1]} has ended"
                )
            open_[process] = (position, line, event.get("value"), f)
            continue
        if kind not in STATUS:
            raise BadInput(f"{source}, line {line}: type {kind!r:.40} of an event; it is invoke, ok, fail or info")
        begin, _, asked, _ = open_.pop(process, (position, line, event.get("value"), f))
        end = FOREVER if kind == "info" else position
        yield Operation(process, f, kind, asked, event.get("value"), begin, end, line)
    for process, (begin, line, asked, f) in open_.items():
        yield Operation(process, f, "info", asked, None, begin, FOREVER, line)
