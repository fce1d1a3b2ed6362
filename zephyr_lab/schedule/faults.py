"""Faults, and what the clock does, as steps of a schedule.

In a schedule `A` is the next round trip of session A, `A:crash` its death before that round trip, `A:crash-after` its
death once the server has acted, `A:lost-commit` and `A:redis-timeout` the round trip without its answer. What the clock
does: `time:lock:18` is the expiry of the Redis key `lock:18`, and `A:timeout` the end of A's patience for a lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote

from zephyr_lab.errors import BadInput

CLOCK = "time"
"""The session that owns what a clock would do."""


class Fault(StrEnum):
    """What may befall a session at a round trip."""

    CRASH = "crash"
    CRASH_AFTER = "crash-after"
    LOST_COMMIT = "lost-commit"
    REDIS_TIMEOUT = "redis-timeout"
    TIMEOUT = "timeout"

    @property
    def is_crash(self) -> bool:
        return self in (Fault.CRASH, Fault.CRASH_AFTER)

    @property
    def loses_answer(self) -> bool:
        return self in (Fault.LOST_COMMIT, Fault.REDIS_TIMEOUT)


KINDS = (Fault.CRASH, Fault.LOST_COMMIT, Fault.REDIS_TIMEOUT)
"""The names that can be asked for; a crash is one before the server acts, or after."""


def fault_of(word: str) -> Fault | None:
    """The fault of a step's word, None for an ordinary step."""
    _, colon, name = word.rpartition(":")
    return Fault(name) if colon and name in list(Fault) else None


def is_expiry(word: str) -> bool:
    return word.startswith(f"{CLOCK}:")


def session_of(word: str) -> str:
    """The session that a step's word belongs to: `A` for `A:crash`, `time` for `time:lock:18`."""
    if is_expiry(word):
        return CLOCK
    return word.rpartition(":")[0] if fault_of(word) else word


def expiry_of(key: str) -> str:
    """The word for the expiry of a Redis key: what a shell would split or unquote is percent-encoded."""
    return f"{CLOCK}:{quote(key, safe=':/.,@+=-_{}[]')}"


def key_of(word: str) -> str:
    """The Redis key of the word of an expiry."""
    return unquote(word.removeprefix(f"{CLOCK}:"))


@dataclass(frozen=True)
class Faults:
    """How many faults of each kind, and how many steps of the clock (`ticks`), a schedule may have at most."""

    most: Mapping[Fault, int] = field(default_factory=dict)
    ticks: int = 0

    @classmethod
    def of(cls, faults: Mapping[str, int] | Sequence[str] | None, time: int) -> Faults:
        """`faults` by name, or as words: `crash`, `lost-commit=2`. Raises BadInput for one that does not exist, and for
        a number that is none."""
        asked = faults if isinstance(faults, Mapping) else dict(map(_counted, faults or ()))
        for name, number in asked.items():
            if name not in list(KINDS):
                raise BadInput(f"unknown fault {name!r}; there are: {', '.join(KINDS)}")
            if not isinstance(number, int) or number < 0:
                raise BadInput(f"faults says how many of each kind a schedule may have, not {name!r}: {number!r}")
        return cls({Fault(name): number for name, number in asked.items() if number}, time)

    def __bool__(self) -> bool:
        return bool(self.most or self.ticks)

    def check_names(self, names: Collection[str]) -> None:
        """Raises BadInput for a session's name that could be taken for a fault's."""
        for name in names:
            if self and (name == CLOCK or session_of(name) != name):
                raise BadInput(f"a session cannot be called {name!r} where faults or time are steps: rename it")

    def left(self, taken: Sequence[str]) -> set[Fault]:
        """The kinds that may still come after these steps."""
        had = Counter(Fault.CRASH if fault.is_crash else fault for fault in map(fault_of, taken) if fault)
        return {kind for kind, most in self.most.items() if had[kind] < most}

    def may_tick(self, taken: Sequence[str]) -> bool:
        """Whether the clock may still do something after these steps."""
        return sum(is_expiry(word) or fault_of(word) is Fault.TIMEOUT for word in taken) < self.ticks


def _counted(word: str) -> tuple[str, int]:
    """Of `crash`, or `crash=2`."""
    name, equals, number = word.partition("=")
    if equals and not number.isdecimal():
        raise BadInput(f"faults says how many of each kind a schedule may have, as in crash=1, not {word!r}")
    return name, int(number) if equals else 1
