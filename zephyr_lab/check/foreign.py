"""Histories as other checkers have them: dbcop's, in JSON and in bincode, and Cobra's folders of binary logs.

dbcop (Biswas, Enea): sessions of transactions of events, `{"data": [[{"events": [{"Read": {"variable": 0, "version":
1}}, ...], "committed": true}, ...], ...]}`, also without the outer object, with events as `["r", 0, 1]`, and as the
older `{"write": true, "variable": 0, "value": 1, "success": true}`. In bincode (`.bincode`): little-endian, five
numbers, three texts, sessions; lengths before what they count. Cobra (Tan et al.): a file `*.log` for each session,
big-endian records: S and C with the number of a transaction, W with write, key, value, R with writer, write, key,
value. A value is the number of its write.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from zephyr_lab.check.records import Record
from zephyr_lab.errors import BadInput

_DBCOP = re.compile(rb'\s*(\[\s*\[\s*\{\s*"events"|\{\s*"(params|info|start|end|data)")')
_INITIAL = (0xBEBEEBEE, 0xDEADBEEF)
_COLLECTORS = (0x23332333, 0x66666666)  # what Cobra's own garbage collection writes
_KINDS = {"Read": "r", "Write": "w"}


def records(path: Path) -> Iterator[Record] | None:
    """The transactions of a folder or a file in one of these forms; None if it is in none. Raises BadInput."""
    if path.is_dir():
        return _cobra(path)
    if path.suffix == ".bincode":
        return _bincode(path)
    if path.suffix == ".gz" or not path.is_file():  # what is read from a pipe is gone
        return None
    with path.open("rb") as file:
        begins = file.read(4_096)
    return _json(path) if _DBCOP.match(begins) else None


def _json(path: Path) -> Iterator[Record]:
    try:
        told = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{path.name}, line {error.lineno}: not JSON: {error}") from None
    sessions = told.get("data") if isinstance(told, dict) else told
    if not isinstance(sessions, list) or not all(isinstance(one, list) for one in sessions):
        raise BadInput(f"{path.name}: has no data, which are lists of transactions, one for each session")
    line = 0
    for session, transactions in enumerate(sessions):
        for one in transactions:
            line += 1
            where = f"{path.name}, transaction {line}"
            if not isinstance(one, dict) or not isinstance(one.get("events"), list):
                raise BadInput(f"{where}: {one!r:.40} has no events")
            committed = one.get("committed", one.get("success", True))
            ops = [op for event in one["events"] if (op := _event(where, event)) is not None]
            yield Record(line, session, "ok" if committed else "fail", ops, None, None)


def _event(where: str, event: Any) -> list[Any] | None:
    """An operation; None for an event that failed."""
    if isinstance(event, list) and len(event) == 3:
        return event
    if isinstance(event, dict) and "variable" in event and "value" in event:
        return ["w" if event.get("write") else "r", event["variable"], event["value"]] if event.get("success") else None
    if isinstance(event, dict) and len(event) == 1:
        ((kind, held),) = event.items()
        if kind in _KINDS and isinstance(held, dict) and "variable" in held:
            return [_KINDS[kind], held["variable"], held.get("version")]
    raise BadInput(f"{where}: {event!r:.60} is no event of dbcop's")


class _Bytes:
    """The bytes of a file, taken one after another. Raises BadInput where they end too early."""

    def __init__(self, path: Path, order: str) -> None:
        self.path, self.held, self.at, self.order = path, path.read_bytes(), 0, order

    def __bool__(self) -> bool:
        return self.at < len(self.held)

    def take(self, form: str) -> tuple[Any, ...]:
        form = self.order + form
        size = struct.calcsize(form)
        if self.at + size > len(self.held):
            raise BadInput(f"{self.path.name}: ends in the middle of a record: cut off?")
        found = struct.unpack_from(form, self.held, self.at)
        self.at += size
        return found

    def count(self) -> int:
        """A length, each of whose items has a byte or more."""
        (count,) = self.take("Q")
        if count > len(self.held) - self.at:
            raise BadInput(f"{self.path.name}: a length of {count:,} at byte {self.at - 8}: no history of dbcop's?")
        return int(count)


def _bincode(path: Path) -> Iterator[Record]:
    taken = _Bytes(path, "<")
    taken.take("5q")
    for _ in range(3):
        taken.take(f"{taken.count()}s")
    line = 0
    for session in range(taken.count()):
        for _ in range(taken.count()):
            line += 1
            events = [taken.take("?qq?") for _ in range(taken.count())]
            (committed,) = taken.take("?")
            ops = [["w" if write else "r", key, value] for write, key, value, success in events if success]
            yield Record(line, session, "ok" if committed else "fail", ops, None, None)


def _cobra(folder: Path) -> Iterator[Record]:
    logs = sorted(folder.glob("*.log"), key=lambda path: (len(path.name), path.name))
    if not logs:
        raise BadInput(f"{folder}: is a folder without *.log, of which Cobra writes one for each session")
    line = 0
    for log in logs:
        taken = _Bytes(log, ">")
        ops: list[Any] | None = None
        while taken:
            kind = taken.take("c")[0].decode("latin-1")
            if kind == "S" and ops is None:
                taken.take("q")
                line, ops = line + 1, []
            elif kind == "C" and ops is not None:
                taken.take("q")
                yield Record(line, log.stem, "ok", ops, None, None)
                ops = None
            elif kind == "W" and ops is not None:
                write, key, _ = taken.take("3q")
                ops.append(["w", key, write])
            elif kind == "R" and ops is not None:
                writer, write, key, _ = taken.take("4q")
                if write not in _COLLECTORS:
                    ops.append(["r", key, None if writer in _INITIAL else write])
            else:
                raise BadInput(f"{log.name}: {kind!r} at byte {taken.at - 1}, where no record of Cobra's begins so")
        if ops is not None:
            yield Record(line, log.stem, "info", ops, None, None)
