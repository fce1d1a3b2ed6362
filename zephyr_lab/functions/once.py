"""A setup that is run once, and put back by its rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class Once:
    """A setup function whose rows are put back before each schedule, where it would be run again otherwise."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        update_wrapper(self, func)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)


def once(function: Callable[..., Any]) -> Once:
    """Says of a setup function that all it does is in the lab's PostgreSQL and Redis, which the lab can put back.

    It is run again only where rows alone do not put it back. For what takes long, such as migrations:
    `setup=[once(migrate), clear_mailbox]`, or as a decorator. What it does in Python's memory is done once.
    """
    return Once(function)
