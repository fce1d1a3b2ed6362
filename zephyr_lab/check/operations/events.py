"""Operations of a history: an invocation and its completion, and when they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from zephyr_lab.check.files import events_of
from zephyr_lab.check.others import client
from zephyr_lab.check.records import STATUS
from zephyr_lab.errors import BadInput

FOREVER = 1 << 62


def held(value: Any) -> Any:
    """A value as a key of a dict: true is not 1, and a list not the text that looks like it."""
    return (type(value).__name__, repr(value)) if isinstance(value, bool | list | dict) else value


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

    process: int | str
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


class _Invoked(NamedTuple):
    position: int
    line: int
    asked: Any
    f: str


def _paired(events: Iterator[tuple[int, Any]], source: str) -> Iterator[Operation]:
    """A history without any invocation is one of operations that took no time."""
    begun: dict[int | str, _Invoked] = {}
    invoked = False
    for position, (line, event) in enumerate(events):
        where = f"{source}, line {line}"
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise BadInput(f"{where}: {event!r:.60} is not an event with a type")
        process, kind, f = client(event, where), event["type"], event.get("f")
        if process is None or (kind == "info" and not isinstance(f, str)):
            continue
        if not isinstance(f, str):
            raise BadInput(f"{where}: {f!r:.40} is the name of no operation")
        if kind == "invoke":
            if process in begun:
                raise BadInput(
                    f"{where}: process {process} invokes again before its invocation of line {begun[process].line} "
                    "has ended"
                )
            begun[process], invoked = _Invoked(position, line, event.get("value"), f), True
            continue
        if kind not in STATUS:
            raise BadInput(f"{where}: type {kind!r:.40} of an event; it is invoke, ok, fail or info")
        one = begun.pop(process, None)
        if one is None:
            if invoked:
                raise BadInput(f"{where}: process {process} ends {f}, which it has not invoked; is a part missing?")
            one = _Invoked(position, line, event.get("value"), f)
        if one.f != f:
            raise BadInput(f"{where}: process {process} ends {f}, but invoked {one.f} in line {one.line}")
        end = FOREVER if kind == "info" else position
        yield Operation(process, f, kind, one.asked, event.get("value"), one.position, end, line)
    for process, one in begun.items():
        yield Operation(process, one.f, "info", one.asked, None, one.position, FOREVER, one.line)
