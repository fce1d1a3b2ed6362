"""The log: a line an event, as text or JSON, with time (UTC), level, call, order and status; not too many of them."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from typing import Any

FIELDS = ("call", "order", "status", "sqlstate", "seconds", "left_out")
"""Of an event, where it has them."""

MOST_A_SECOND = 10
"""Lines with the same call and status; the next one says how many were left out."""


class Form(logging.Formatter):
    """`2026-03-02T18:00:00.123Z WARNING CreateOrder order=... status=...: the reason`, or an object."""

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        said = _line(record.getMessage())
        if record.exc_info and record.exc_info[0]:
            said += f" ({record.exc_info[0].__name__}: {_line(str(record.exc_info[1]))})"
        fields = {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) not in (None, "", 0)}
        if self._as_json:
            return json.dumps({"at": at, "level": record.levelname, "from": record.name, **fields, "said": said})
        words = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{at} {record.levelname} {record.name}{words}: {said}"


def _line(text: str) -> str:
    return (text.splitlines() or [""])[0]


def set_up(*, as_json: bool = False, level: str = "INFO") -> None:
    """On standard error, for the whole process."""
    handler = logging.StreamHandler()
    handler.setFormatter(Form(as_json=as_json))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("zephyr_lab").setLevel(level)


@dataclass
class Limited:
    """Of each kind of event `MOST_A_SECOND` are logged."""

    log: logging.Logger
    _seen: dict[tuple[str, str], tuple[int, int, int]] = field(default_factory=dict)

    def event(self, level: int, call: str, status: str, said: str, **fields: Any) -> None:
        if not self.log.isEnabledFor(level):
            return
        second = int(time.monotonic())
        then, number, left_out = self._seen.get((call, status), (second, 0, 0))
        if then != second:
            then, number = second, 0
        if number >= MOST_A_SECOND:
            self._seen[call, status] = then, number, left_out + 1
            return
        self._seen[call, status] = then, number + 1, 0
        self.log.log(level, said, extra={"call": call, "status": status, "left_out": left_out, **fields})
