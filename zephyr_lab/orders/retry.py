"""Retries of refused transactions, by tenacity: whether, when and how often.

A retry runs the whole transaction again, its decisions included. The SQLSTATE in the chain of causes says which errors
are retried, never a message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_any
from tenacity.stop import stop_base
from tenacity.wait import wait_exponential, wait_random, wait_random_exponential

from zephyr_lab.errors import is_retryable
from zephyr_lab.orders import deadline
from zephyr_lab.orders.errors import SlotChanged

T = TypeVar("T")


def is_refused(error: BaseException) -> bool:
    """Whether it is 40001, 40P01, or a slot that another order has booked meanwhile."""
    return isinstance(error, SlotChanged) or is_retryable(error)


@dataclass(frozen=True)
class Policy:
    """`attempts` in all; pauses of `base` seconds, doubled each time, plus up to `jitter` random seconds.

    With `full_jitter` a pause is random, up to the doubled one (Brooker, "Exponential Backoff And
    Jitter", AWS 2015).
    """

    attempts: int
    base: float
    jitter: float
    wanted: Callable[[BaseException], bool] = is_refused
    full_jitter: bool = False

    async def call(
        self,
        work: Callable[..., Awaitable[T]],
        *args: Any,
        sleep: Callable[[float], Awaitable[None]],
        refused: Callable[[str], object] = lambda code: None,
    ) -> T:
        """Calls a coroutine function, again while it is refused and the caller's deadline allows the pause.

        The last error is raised as it is. `refused` is called for each refused attempt, the last one included, with the
        SQLSTATE or the name of the error. The first call is made as it is: a retry costs more to build than an order.
        """

        def counted(error: Exception) -> bool:
            if wanted := self.wanted(error):
                refused(getattr(error, "sqlstate", None) or type(error).__name__)
            return wanted

        try:
            return await work(*args)
        except Exception as error:
            if not counted(error):
                raise
            before = [error]

        async def again() -> T:
            if before:
                raise before.pop()
            try:
                return await work(*args)
            except Exception as error:
                counted(error)
                raise

        return await self._retrying(sleep)(again)

    def _retrying(self, sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
        pause = wait_random_exponential if self.full_jitter else wait_exponential
        return AsyncRetrying(
            sleep=sleep,
            stop=stop_any(stop_after_attempt(self.attempts), _TooLate()),
            wait=pause(multiplier=self.base) + wait_random(0, self.jitter),
            retry=retry_if_exception(self.wanted),
            reraise=True,
        )


class _TooLate(stop_base):
    """The caller would be gone after the pause."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        left = deadline.left()
        return left is not None and left < retry_state.upcoming_sleep + deadline.LEAST_SECONDS


SAVE = Policy(attempts=5, base=0.010, jitter=0.010)
"""The write-up's policy for saving an order."""

ASSIGN = Policy(attempts=3, base=0.005, jitter=0.005)
"""The write-up's policy for a slot, as far as numbers go: it also tries again after a time-out."""
