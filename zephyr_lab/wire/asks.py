"""What a client asks in one piece, as a session's schedule sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import LabError
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.sql.classify import Kind, classify


@dataclass
class Ask:
    """`raw` is to be sent in one turn; `trip` is what a transcript tells of it.

    `prepares`: it goes in one turn with what is asked next. `batch` is what its own protocol knows of it. `refusal` is
    why no session may ask it. `pattern` is its text before parameters were filled in.
    """

    raw: bytes
    trip: RoundTrip
    prepares: bool = False
    batch: Any = None
    refusal: LabError | None = None
    pattern: str = ""

    @property
    def writes(self) -> bool:
        """Whether it is seen to change what is stored."""
        if self.trip.redis:
            return self.trip.redis is RedisAccess.WRITES
        return any(one.kind is Kind.CHANGE for one in classify(self.trip.sql))

    @property
    def habit(self) -> str:
        """What it is known again by, whatever its parameters."""
        return self.pattern or self.trip.sql
