"""Transaction isolation, understood by running it on a real PostgreSQL.

from zephyr_lab import Lab

with Lab() as lab:
    lab.case("lost-update", isolation="repeatable read").run("A B A B A B")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zephyr_lab.functions.once import once
    from zephyr_lab.lab import Lab
    from zephyr_lab.lab.case import Case
    from zephyr_lab.schedule.levels import IsolationLevel
    from zephyr_lab.wire.description import Description

__version__ = "0.1.0"
__all__ = ["Case", "Description", "IsolationLevel", "Lab", "__version__", "once"]


def __getattr__(name: str) -> Any:
    # On first use: pytest loads `zephyr_lab.pytest_plugin` in every project of an environment that has it.
    if name == "once":
        from zephyr_lab.functions import once

        return once.once
    if name == "Description":
        from zephyr_lab.wire import description

        return description.Description
    if name in __all__:
        from zephyr_lab.lab import lab

        return getattr(lab, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext zephyr_lab`: cells that begin with `%%session A`; see `zephyr_lab.course.magics`."""
    from zephyr_lab.course import magics

    magics.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext zephyr_lab`: ends the sessions and their server."""
    from zephyr_lab.course import magics

    magics.unload(shell)
