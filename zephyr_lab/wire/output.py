"""What a program has printed, and how it has ended, as the outcome of a session."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from typing import Any

MOST_BYTES = 1_048_576
"""How much a command may print for one schedule: it is an outcome, and each is kept."""


@dataclass(frozen=True)
class Exit:
    """How a process has ended: its exit status (negative: by that signal), and what it printed, as data where it is
    JSON, as text without its last end of line, or as bytes where it is not UTF-8. `refused` is not empty where the
    status says that it was refused on account of another session. `errors` is the end of what it said beside."""

    status: int
    output: Any = None
    refused: str = field(default="", repr=False, compare=False)
    errors: str = field(default="", compare=False)

    def parts(self) -> tuple[str, Any]:
        """How it is told, and compared."""
        ended = f"ended by {signal.Signals(-self.status).name}" if self.status < 0 else f"exit {self.status}"
        return ended, self.output

    @property
    def failed(self) -> bool:
        """Whether it says that something went wrong."""
        return self.status != 0


def data_of(raw: bytes) -> Any:
    """What was printed: data where it is JSON, else text, or bytes where it is neither."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    try:
        return json.loads(text)
    except ValueError:
        return text.removesuffix("\n")


def as_bytes(input: Any) -> bytes:
    if input is None or isinstance(input, bytes):
        return input or b""
    return (input if isinstance(input, str) else json.dumps(input)).encode()
