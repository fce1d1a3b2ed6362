"""The counts of one client process, and their sum: outcomes by order, histograms, and the service's counts.

Durations go into histograms with the buckets of Gil Tene's HDR: three significant digits at every size, so that no
outlier is lost; they merge by addition.
"""

from __future__ import annotations

import base64
import math
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

BITS = 11  # of a duration that are kept: within 1 in 1024
PERIOD = 0.25  # seconds, of the course of a run
MOST_RETRIES = 5  # that are told apart


class Outcome(IntEnum):
    """The reply to the customer about an order."""

    UNSENT = 0  # the run was stopped before
    CREATED = 1  # saved, by the service's answer
    FULL = 2
    GIVEN_UP = 3  # refused at every attempt: 40001, 40P01, or another order was faster
    UNANSWERED = 4  # the connection broke, or the client gave up: may be saved or not
    NO_CONNECTION = 5  # every connection of the pool was taken for too long
    FAILED = 6  # another error


class Histogram(Counter[int]):
    """Durations in microseconds: how many there were, by the shortest that the bucket represents."""

    def record(self, seconds: float) -> None:
        micros = max(1, round(seconds * 1e6))
        small = max(0, micros.bit_length() - BITS)
        self[micros >> small << small] += 1

    def mean(self) -> float:
        """The mean in milliseconds; 0 if nothing was recorded."""
        counted = sum((_middle(value) * count for value, count in self.items()), 0.0)
        return counted / self.total() / 1000 if self else 0.0

    def percentile(self, percent: float) -> float:
        """A percentile in milliseconds; 0 if nothing was recorded."""
        left = math.ceil(self.total() * percent / 100)
        for value in sorted(self):
            if (left := left - self[value]) <= 0:
                return _middle(value) / 1000
        return 0.0


def _middle(value: int) -> float:
    return value + ((1 << max(0, value.bit_length() - BITS)) - 1) / 2


BY_ORDER = ("outcomes", "begun", "ended")
HISTOGRAMS = ("latency", "transaction", "pool_wait", "lock_wait")


@dataclass
class Counts:
    """`outcomes` has a byte for each order of the share, in the share's order; `begun` and `ended` are when it was
    sent, and answered or given up, in microseconds from the start.

    Histograms in microseconds: `latency` of created orders from their intended start, `transaction` of the time that a
    connection was held, `pool_wait` of the wait for one, `lock_wait` as the client sees it (statements that may wait).
    `retries` is how many orders needed 0, 1, 2, 3, 4, or at least `MOST_RETRIES` of them. `refusals` and `errors` are
    by SQLSTATE or status.
    """

    share: int = 0
    outcomes: bytearray = field(default_factory=bytearray)
    begun: array[int] = field(default_factory=lambda: array("I"))
    ended: array[int] = field(default_factory=lambda: array("I"))
    latency: Histogram = field(default_factory=Histogram)
    transaction: Histogram = field(default_factory=Histogram)
    pool_wait: Histogram = field(default_factory=Histogram)
    lock_wait: Histogram = field(default_factory=Histogram)
    attempts: int = 0
    most_waiting: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    retries: Counter[int] = field(default_factory=Counter)
    offered: Counter[int] = field(default_factory=Counter)  # by period of the run
    created: Counter[int] = field(default_factory=Counter)
    last_end: float = 0.0  # seconds from the start to the last answer
    hits: int = 0  # of the detector that asks the clients
    seconds_behind: float = 0.0  # the most by which the client itself was late in sending

    def of_outcome(self, outcome: Outcome) -> int:
        return self.outcomes.count(outcome)

    def to_dict(self) -> dict[str, Any]:
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}
        packed = {name: bytes(plain[name]) for name in BY_ORDER}
        return plain | {name: base64.b64encode(zlib.compress(some, 1)).decode() for name, some in packed.items()}

    @classmethod
    def of(cls, known: dict[str, Any]) -> Self:
        """From `to_dict`, JSON in between or not."""
        made = cls()
        for name, value in known.items():
            if name in BY_ORDER:
                bytes_ = zlib.decompress(base64.b64decode(value))
                setattr(made, name, bytearray(bytes_) if name == "outcomes" else array("I", bytes_))
            elif name in HISTOGRAMS:
                setattr(made, name, Histogram({int(key): count for key, count in value.items()}))
            elif name in ("retries", "offered", "created"):
                setattr(made, name, Counter({int(key): count for key, count in value.items()}))
            elif name in ("refusals", "errors"):
                setattr(made, name, Counter(value))
            else:
                setattr(made, name, value)
        return made


def add_up(parts: Iterable[Counts]) -> Counts:
    """The sum of all; outcomes are in the order of the run, of which part `share` has every n-th order from there.

    The service's counts may be a part without outcomes.
    """
    parts = list(parts)
    whole = Counts()
    for part in parts:
        for name in (*HISTOGRAMS, "refusals", "errors", "retries", "offered", "created"):
            getattr(whole, name).update(getattr(part, name))
        whole.attempts += part.attempts
        whole.hits += part.hits
        whole.most_waiting += part.most_waiting
        whole.last_end = max(whole.last_end, part.last_end)
        whole.seconds_behind = max(whole.seconds_behind, part.seconds_behind)
    clients = sorted((part for part in parts if part.outcomes), key=lambda part: part.share)
    if clients:
        step = max(part.share for part in clients) + 1
        longest = max(part.share + step * (len(part.outcomes) - 1) for part in clients) + 1
        for name, nothing in (("outcomes", bytearray(1)), ("begun", array("I", [0])), ("ended", array("I", [0]))):
            merged = nothing * longest
            for part in clients:
                known = getattr(part, name)
                merged[part.share :: step] = known + nothing * (len(range(part.share, longest, step)) - len(known))
            setattr(whole, name, merged)
    return whole
