"""Calls of a service by other protocols than HTTP, such as gRPC."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.arguments import is_async, name_of
from zephyr_lab.wire.http import Served


@dataclass(frozen=True)
class Called:
    """A session: `function` calls `service`, and does not use the database itself.

    Raises BadInput for a function that takes arguments or is asynchronous.
    """

    function: Callable[[], Any]
    service: Served = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise BadInput(f"a call of a service is a function, as in lambda: stub.Book(order), not {self.function!r}")
        name = name_of(self.function)
        if is_async(self.function):
            raise BadInput(f"{name} is asynchronous: let a function run it, lambda: asyncio.run({name}())")
        try:
            inspect.signature(self.function).bind()
        except TypeError as error:
            raise BadInput(f"{name} is called without arguments, and {error}: give them by functools.partial") from None
        except ValueError:
            pass  # a function in C without a signature

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return name_of(self.function)

    def ask(self, opened: Callable[[Any], object] = lambda connection: None) -> Any:
        """Calls it. Raises what it raises, and ServerLost if the service has ended, with what it printed."""
        self.service.ensure_alive()
        try:
            return self.function()
        except Exception as error:
            if _is_lost(error) or not self.service.listens():
                self.service.ensure_alive(seconds=0.5)
            raise


def _is_lost(error: Exception) -> bool:
    """Whether a connection was lost, or may have been: a process that ends closes its port a moment later."""
    code = getattr(error, "code", None)
    return isinstance(error, OSError | EOFError) or (callable(code) and getattr(code(), "name", "") == "UNAVAILABLE")
