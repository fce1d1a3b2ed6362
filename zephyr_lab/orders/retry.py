"""Retries of refused transactions, by tenacity: whether, when and how often.

A retry runs the whole transaction again, its decisions included. The SQLSTATE in the chain of causes says which errors
are retried, never a message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random, wait_random_exponential

from zephyr_lab.errors import is_retryable
from zephyr_lab.orders.errors import SlotChanged


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

    def retrying(
        self, sleep: Callable[[float], Awaitable[None]], refused: Callable[[str], object] = lambda code: None
    ) -> AsyncRetrying:
        """Retries a coroutine function; the last error is raised as it is.

        `refused` is called before each retry, with the SQLSTATE or the name of the error.
        """

        def before_sleep(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            refused(getattr(error, "sqlstate", None) or type(error).__name__)

        pause = wait_random_exponential if self.full_jitter else wait_exponential
        return AsyncRetrying(
            sleep=sleep,
            stop=stop_after_attempt(self.attempts),
            wait=pause(multiplier=self.base) + wait_random(0, self.jitter),
            retry=retry_if_exception(self.wanted),
            before_sleep=before_sleep,
            reraise=True,
        )


SAVE = Policy(attempts=5, base=0.010, jitter=0.010)
"""The write-up's policy for saving an order."""

ASSIGN = Policy(attempts=3, base=0.005, jitter=0.005)
"""The write-up's policy for a slot, as far as numbers go: it also tries again after a time-out."""
