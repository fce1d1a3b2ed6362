"""A question: what a client sends in one piece, which takes one turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import LabError
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.sql.classify import Kind, classify


@dataclass
class Ask:
    """`raw` are its bytes, `trip` is its round trip in the transcript.

    `prepares`: it shares the turn of the next one. `batch` is its form in its protocol. `refusal` is why no session may
    ask it. `pattern` is its text before parameters were filled in. `waits`: it may wait inside Redis.
    """

    raw: bytes
    trip: RoundTrip
    prepares: bool = False
    batch: Any = None
    refusal: LabError | None = None
    pattern: str = ""
    waits: bool = False

    @property
    def writes(self) -> bool:
        """Whether it is known to change what is stored."""
        if self.trip.redis:
            return self.trip.redis is RedisAccess.WRITES
        return any(one.kind is Kind.CHANGE for one in classify(self.trip.sql))

    @property
    def habit(self) -> str:
        """Its text, whatever its parameters."""
        return self.pattern or self.trip.sql
