"""What a program has printed, and how it has ended, as the outcome of a session."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from typing import Any

MOST_BYTES = 1_048_576
"""The most that a command may print in one schedule: each output is kept, as a part of an outcome."""


@dataclass(frozen=True)
class Exit:
    """How a process ended: its exit status (negative: the signal that ended it), and its standard output.

    `output` is data if it is JSON, else text without its last end of line, or bytes if it is not UTF-8. `refused` is
    the status in words if it is one of the command's refusals, or ''. `errors` is the end of its standard error.
    """

    status: int
    output: Any = None
    refused: str = field(default="", repr=False, compare=False)
    errors: str = field(default="", compare=False)

    def parts(self) -> tuple[str, Any]:
        """The status, such as `exit 1`, and the output, by which it is compared."""
        ended = f"ended by {signal.Signals(-self.status).name}" if self.status < 0 else f"exit {self.status}"
        return ended, self.output

    @property
    def failed(self) -> bool:
        """Whether the status is an error's."""
        return self.status != 0


def data_of(raw: bytes) -> Any:
    """Data if it is JSON, else text, or bytes if it is not UTF-8."""
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
