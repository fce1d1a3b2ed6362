"""The queue before a pool of connections: only those come in who will be served in time.

An endless queue that is served in its order gives a connection to those who have waited longest, whose callers are
about to go: all work is done in vain, callers send again, and it stays so when its cause is over. Here a caller whose
turn would come too late is told so at once, and when to come back; who is let in is served. How long that takes is
known from those who have had a connection.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from psycopg_pool import AsyncConnectionPool

from zephyr_lab.orders import deadline
from zephyr_lab.orders.errors import Overloaded, TooLate
from zephyr_lab.orders.failures import RETRY_SECONDS

WEIGHT = 0.1
"""Of the latest in the mean of how long a connection is held."""


_IN_VAIN = "the deadline came before a connection was free; nothing was started for this attempt"


@dataclass
class Admission:
    """At most `most` callers wait for a connection, `seconds` at most, and none longer than its deadline allows.

    `held` is for how many seconds a connection is held on average, `shed` how many callers were turned away.
    """

    pool: AsyncConnectionPool
    most: int = 250
    seconds: float = 1.0
    waiting: int = field(default=0, init=False)
    busy: int = field(default=0, init=False)
    held: float = field(default=0.0, init=False)
    shed: int = field(default=0, init=False)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """For the wait and the work; gives the longest time to wait. Raises Overloaded, TooLate."""
        left = deadline.left()
        if left is not None and left < deadline.LEAST_SECONDS:
            raise TooLate(_IN_VAIN)
        longest = self.seconds if left is None else min(self.seconds, left / 2 - self.held)
        # Half of what is left is kept: an estimate that is just met is missed by half of them.
        # Where a connection is free the caller always has it: what `held` has become in a bad time is forgotten so.
        if self.busy + self.waiting >= self.pool.max_size and (
            self.waiting >= self.most or self.held * (self.waiting + 1) / self.pool.max_size > longest
        ):
            self.shed += 1
            raise Overloaded("more orders wait than can be served in time; try again later", _later())
        self.waiting += 1
        try:
            yield self.seconds if left is None else min(self.seconds, left)
        finally:
            self.waiting -= 1

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """For the work with a connection, which ends the wait. Raises TooLate: nothing is begun in vain."""
        left = deadline.left()
        if left is not None and left < max(deadline.LEAST_SECONDS, self.held):
            self.held *= 1 - WEIGHT
            raise TooLate(_IN_VAIN)
        self.waiting -= 1
        self.busy += 1
        began, took = time.perf_counter(), None
        try:
            yield
            took = time.perf_counter() - began
        finally:
            self.busy -= 1
            self.waiting += 1
            if took is not None:
                self.held += WEIGHT * (took - self.held) if self.held else took


def _later() -> float:
    """Random, or all who were told so would come back together."""
    return random.uniform(*RETRY_SECONDS)
