"""A setup that is run once; afterwards its rows are restored."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class Once:
    """A setup function whose rows are restored before each schedule, instead of running it again."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        update_wrapper(self, func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)


def once(function: Callable[..., Any]) -> Once:
    """Declares that a setup function changes only the lab's PostgreSQL and Redis, which the lab can restore.

    It is run again only if restoring rows is not enough. For what takes long, such as migrations:
    `setup=[once(migrate), clear_mailbox]`, or as a decorator. What it does in Python's memory is done once.
    """
    return Once(function)
