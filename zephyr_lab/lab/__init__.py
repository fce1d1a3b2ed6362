"""The lab and its cases: `lab` has the verbs, `case` is a spec at a level and what can be asked of it.

Both run on an `engine`: a server with a runner, the Redis beside it, and how to open another such runner.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zephyr_lab.lab.lab import Lab

__all__ = ["Lab"]


def __getattr__(name: str) -> Any:
    # On first use: a worker of an exploration imports `engine` alone, in two thirds of the time.
    if name in __all__:
        from zephyr_lab.lab import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
