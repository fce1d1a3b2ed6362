"""Redis commands that wait inside the server: in a schedule no clock ends such a wait, but a turn of its session's.

A time limit of a second may pass at any point of a schedule, or at none. So the command is sent without one, and that
it passes is a step that the schedule chooses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from zephyr_lab.redis_commands import Kind, kind

_SECONDS = re.compile(rb"\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MILLISECONDS = re.compile(rb"\d+")
_LIMITS = {
    **dict.fromkeys(["BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX"], (-1, _SECONDS)),
    "BLMPOP": (1, _SECONDS), "BZMPOP": (1, _SECONDS), "WAIT": (2, _MILLISECONDS), "WAITAOF": (3, _MILLISECONDS),
}  # fmt: skip
"""Where the time limit stands among the words, and how it is written."""

Words = Sequence[bytes]


@dataclass
class Patient:
    """The commands of a message, without time limits.

    `waits` are the places of those that may wait, and `limited` of those among them that had a limit.
    """

    commands: list[Words] = field(default_factory=list)
    waits: set[int] = field(default_factory=set)
    limited: set[int] = field(default_factory=set)


def patient(commands: Sequence[Words], *, in_transaction: bool = False) -> Patient:
    """A message that waits until it is woken. `in_transaction`: MULTI was sent before it; nothing waits until EXEC."""
    found = Patient()
    for place, words in enumerate(commands):
        match words[0].upper():
            case b"MULTI":
                in_transaction = True
            case b"EXEC" | b"DISCARD" | b"RESET":
                in_transaction = False
        if not in_transaction and kind(words[0].decode(errors="replace"), *words[1:]) is Kind.BLOCKING:
            found.waits.add(place)
            limit, form = _limit(words)
            if limit < len(words) and form.fullmatch(words[limit]) and float(words[limit]):
                found.limited.add(place)
                words = [*words[:limit], b"0", *words[limit + 1 :]]
        found.commands.append(words)
    return found


def _limit(words: Words) -> tuple[int, re.Pattern[bytes]]:
    name = words[0].upper().decode(errors="replace")
    if name in _LIMITS:
        place, form = _LIMITS[name]
        return (place if place > 0 else len(words) - 1), form
    return [word.upper() for word in words].index(b"BLOCK") + 1, _MILLISECONDS  # of XREAD or XREADGROUP
