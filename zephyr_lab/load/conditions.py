"""The incident's conditions: which orders, how often, by which strategy, and with which faults.

Everything here is plain data, so that a share of it can be sent to another process.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Self

import psycopg

from zephyr_lab.errors import BadInput
from zephyr_lab.load.faults import Fault, Line, faults_of, line_of
from zephyr_lab.load.strategies import lock_timed
from zephyr_lab.load.strategies.faulty import WRONG
from zephyr_lab.load.strategies.lock_held import HELD
from zephyr_lab.options import MOST_ORDERS, LoadOptions
from zephyr_lab.orders import retry
from zephyr_lab.orders.models import Plan, Window, menu
from zephyr_lab.orders.strategies import STRATEGIES, Load, Strategy
from zephyr_lab.schedule.levels import IsolationLevel

QUANTITIES = (1, 2, 3, 4)

# Slots of a minute, so that a run of seconds fills many, in blocks: an order may go into the slots of its block, and
# the clock moves on by a block when as many orders were asked for as fill 8 of its 12 slots. So some slot is hot at
# any time, and nobody has to look through hundreds of full ones.
MINUTES_A_SLOT, SLOTS_A_BLOCK, SLOTS_MEANT = 1, 12, 8
BLOCKS_A_DAY = 24 * 60 // (MINUTES_A_SLOT * SLOTS_A_BLOCK)
MOST_DAYS = 27  # this month's and the next month's partition have them all
CLOSED_PER_SECOND = 6_000  # orders that a closed loop is prepared for

FIXED_CAPACITY = tuple(one.name for one in STRATEGIES.values() if one.capacity is not None)
"""Strategies that are documented with a capacity in their code."""


KNOWN: dict[str, Strategy] = {**STRATEGIES, **WRONG, **HELD, lock_timed.STRATEGY.name: lock_timed.STRATEGY}
"""Every strategy that can be put under load."""


class Blocks(Plan):
    """A plan in which an order's moment determines its block."""

    def window(self, now: datetime) -> Window:
        return _block(now.date(), (now.hour * 60 + now.minute) // SLOTS_A_BLOCK)


@lru_cache(maxsize=4)
def _block(day: date, number: int) -> Window:
    """The window of a day's block; many orders, one after another, are of the same."""
    first = datetime.combine(day, time(), UTC) + timedelta(minutes=number * SLOTS_A_BLOCK)
    return Window(first=first, last=first + timedelta(minutes=SLOTS_A_BLOCK - 1), minutes=MINUTES_A_SLOT)


@dataclass(frozen=True)
class Incident(LoadOptions):
    """One run; see `LoadOptions`.

    Orders go through the service in the clients' processes (`direct`), through its gRPC API, or to the strategy's
    function without the service (`bare`, see `strategy_only`).

    `slots` are hot at the same time; `pool` connections are shared by `processes`; `connections` is how many clients a
    closed loop has. `attempts`, `base`, `jitter` and `full_jitter` change the strategy's retry; `per_slot` lets so
    many orders of a slot through at once. `stored` orders are there before. Without `index` the slots are searched by
    a sequential scan. `kill`, `stall`, `lock`, `cut` and `network` are as `faults` reads them. `check` raises BadInput.
    """

    # -- is it possible?

    def check(self) -> Self:
        """Itself, with the level's name in PostgreSQL's spelling and the number of processes. Raises BadInput."""
        if self.strategy not in KNOWN:
            raise BadInput(f"unknown strategy {self.strategy!r}; there are: {', '.join(KNOWN)}")
        super().check()
        processes = self._processes()
        self._check_slots()
        self._check_faults()
        level = None if self.isolation is None else str(IsolationLevel.of(self.isolation))
        return replace(self, isolation=level, processes=processes)

    def _processes(self) -> int:
        # Through gRPC the service is a process of its own, and a client costs a third of it.
        processes = self.processes or min(1 if self.through == "grpc" else 2, os.cpu_count() or 1, self.pool)
        if self.per_slot is not None:
            processes = self.processes or 1
            if processes > 1:
                raise BadInput("a limit per slot is kept by one process: add --processes 1")
        if processes > self.pool:
            raise BadInput(f"{processes} processes need a connection each, and the pool has {self.pool}")
        return processes

    def _check_slots(self) -> None:
        if self.expected > MOST_ORDERS:
            raise BadInput(f"{self.expected:,} orders are more than {MOST_ORDERS:,}: take a lower rate or less time")
        if self.days > MOST_DAYS:
            raise BadInput(
                f"{self.expected:,} orders need {self.blocks * SLOTS_A_BLOCK:,} slots of {self.capacity:,} roubles, "
                f"and {MOST_DAYS} days have {MOST_DAYS * 1440:,}: take a larger capacity or fewer orders"
            )
        fixed = KNOWN[self.strategy].capacity
        if fixed is not None and self.capacity != fixed:
            raise BadInput(f"{self.strategy} has a capacity of {fixed:,} in its code: leave it at that")

    def _check_faults(self) -> None:
        redis = [one for one in self.faults if one.target == "redis"]
        if redis and KNOWN[self.strategy].load is not Load.REDIS:
            raise BadInput(f"{self.strategy} has no Redis: take redis-lua-idempotent")
        line_of(self)
        others = LoadOptions()
        if self.through != "grpc" and (self.deadline, self.tries, self.shed) != (
            others.deadline, others.tries, others.shed
        ):  # fmt: skip
            raise BadInput("deadline, tries and shed are those of a client and a service: add --through grpc")

    # -- what follows from it

    @property
    def faults(self) -> list[Fault]:
        """Raises BadInput for what cannot be brought about."""
        return faults_of(self)

    @property
    def line(self) -> Line | None:
        """The way to PostgreSQL, where it is not as it is. Raises BadInput."""
        return line_of(self)

    @property
    def is_closed(self) -> bool:
        return self.arrivals == "closed"

    @property
    def expected(self) -> int:
        """The expected number of orders; for a closed loop the maximum."""
        return math.ceil((CLOSED_PER_SECOND if self.is_closed else self.rate) * self.seconds)

    @property
    def orders_a_block(self) -> int:
        """The number of orders after which the clock moves on to the next block."""
        prices: list[int] = [one["price"] for one in menu().values()]
        mean = sum(prices) / len(prices) * sum(QUANTITIES) / len(QUANTITIES)
        return max(1, round(SLOTS_MEANT * self.capacity / mean))

    @property
    def blocks(self) -> int:
        return (math.ceil(1.1 * self.expected / (self.orders_a_block * self.slots)) + 1) * self.slots

    @property
    def days(self) -> int:
        return math.ceil(self.blocks / BLOCKS_A_DAY)

    def opened(self, today: date) -> list[date]:
        """The days of the slots."""
        return [today + timedelta(days=number) for number in range(self.days)]

    def moment(self, number: int, lane: int, today: date) -> datetime:
        """The time on the incident's clock at which order `number`, for hot slot `lane`, is made."""
        block = (number // (self.orders_a_block * self.slots)) * self.slots + lane
        day, within = divmod(block % self.blocks, BLOCKS_A_DAY)
        start = datetime.combine(today + timedelta(days=day), time(), UTC)
        return start + timedelta(minutes=within * SLOTS_A_BLOCK * MINUTES_A_SLOT)

    def as_strategy(self) -> Strategy:
        """The strategy, with the level and the retry of these conditions."""
        chosen = KNOWN[self.strategy]
        if self.isolation is not None:
            level = psycopg.IsolationLevel[IsolationLevel.of(self.isolation).name]
            chosen = replace(chosen, isolation=level)
        if (self.attempts, self.base, self.jitter, self.full_jitter) != (None, None, None, False):
            policy = chosen.retry or retry.SAVE
            given = {name: getattr(self, name) for name in ("attempts", "base", "jitter")}
            asked = {name: value for name, value in given.items() if value is not None}
            chosen = replace(chosen, retry=replace(policy, **asked, full_jitter=self.full_jitter))
        return chosen

    @property
    def name(self) -> str:
        """`redis-lua at serializable`."""
        return self.strategy + (f" at {self.isolation}" if self.isolation else "")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, known: dict[str, Any]) -> Self:
        return cls(**{one.name: known[one.name] for one in fields(cls) if one.name in known})
