"""The finding of an experiment about a claim, and the bench for experiments."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import psycopg

from zephyr_lab.errors import BadInput
from zephyr_lab.load.conditions import Incident
from zephyr_lab.load.report import Report
from zephyr_lab.servers.keyvalue import KeyValue

T = TypeVar("T")

RATE, SECONDS = 800.0, 4.0


class Verdict(StrEnum):
    HOLDS = "holds"
    HOLDS_WHEN = "holds when"
    DOES_NOT_HOLD = "does not hold"


def either(good: bool) -> Verdict:
    return Verdict.HOLDS if good else Verdict.DOES_NOT_HOLD


@dataclass(frozen=True)
class Finding:
    """The result of an experiment: a verdict, its condition, if there is one, and the figures."""

    verdict: Verdict
    measured: str
    when: str = ""

    @property
    def said(self) -> str:
        return f"{self.verdict} {self.when}".strip()


@dataclass
class Bench:
    """Runs the loads of the experiments, each condition once.

    `connect` opens a connection into the lab's schema, on a server that is the lab's; `keyvalue` is a Valkey, started
    when first asked for.
    """

    run: Callable[[Incident], Report]
    connect: Callable[[], psycopg.Connection[Any]]
    keyvalue: Callable[[], KeyValue]
    rate: float = RATE
    seconds: float = SECONDS
    seed: int = 0
    reports: dict[Incident, Report] = field(default_factory=dict)
    ends: ExitStack = field(default_factory=ExitStack)
    _places: dict[Any, Any] = field(default_factory=dict)

    def load(self, strategy: str, **conditions: Any) -> Report:
        """A run at the bench's rate, open loop."""
        wanted = Incident(
            strategy=strategy, **{"rate": self.rate, "seconds": self.seconds, "seed": self.seed, **conditions}
        )
        if wanted not in self.reports:
            self.reports[wanted] = self.run(wanted)
        return self.reports[wanted]

    def once(self, place: Callable[[Bench], AbstractContextManager[T]]) -> T:
        """The value of a context manager, which is entered at the first use, and left with `ends`."""
        if place not in self._places:
            self._places[place] = self.ends.enter_context(place(self))
        there: T = self._places[place]
        return there

    def valkey(self) -> KeyValue:
        """The lab's Valkey; experiments empty it and stop it. Raises BadInput if it is external."""
        found = self.keyvalue()
        if not found.is_embedded:
            raise BadInput("this claim is decided by emptying a Redis: unset ZEPHYR_LAB_REDIS_URL to use the lab's own")
        return found

    @property
    def others_share(self) -> float:
        """The share of the machine that other processes used, in the worst of the runs."""
        return max((one.cpu.others_share for one in self.reports.values()), default=0.0)


Decide = Callable[[Bench], Finding]


class Chapter(list[tuple[str, Decide]]):
    """The claims of the write-up about one subject, in its order, each with its experiment."""

    def claim(self, said: str) -> Callable[[Decide], Decide]:
        """A decorator that adds a claim with its experiment."""

        def add(decide: Decide) -> Decide:
            self.append((said, decide))
            return decide

        return add
