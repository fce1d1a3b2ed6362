"""What a client asks in one piece, as a session's schedule sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import LabError
from zephyr_lab.functions.trips import RoundTrip


@dataclass
class Ask:
    """`raw` is to be sent in one turn; `trip` is what a transcript tells of it.

    `prepares`: it goes in one turn with what is asked next. `batch` is what its own protocol knows of it. `refusal` is
    why no session may ask it.
    """

    raw: bytes
    trip: RoundTrip
    prepares: bool = False
    batch: Any = None
    refusal: LabError | None = None
