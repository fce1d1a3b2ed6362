"""Functions whose connections pass the wire: those of an engine or a pool that all sessions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.arguments import is_async
from zephyr_lab.wire.loop_thread import LoopThread, Running


class HasLoop(Protocol):
    """Where asynchronous functions run."""

    @property
    def loop_thread(self) -> LoopThread: ...


@dataclass(frozen=True)
class Call:
    """A session that calls `func`. Raises BadInput if it cannot be called."""

    wire: HasLoop = field(repr=False, compare=False)
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not callable(self.func):
            raise BadInput(f"a session calls a function, as in lab.wire.call(book, engine), and {self.func!r} is none")

    @property
    def bound(self) -> Callable[[], Any]:
        return partial(self.func, *self.args, **self.kwargs)

    def ask(self, opened: Callable[[Any], object] = lambda running: None) -> Any:
        """Calls it. If it is asynchronous, `opened` is called with an object whose `close()` cancels it.

        Raises what it raises.
        """
        if not is_async(self.func):
            return self.bound()
        running = Running(self.wire.loop_thread, self.bound())
        opened(running)
        return running.result()
