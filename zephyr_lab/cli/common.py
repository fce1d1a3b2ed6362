"""What all commands print with, and what they import late."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn


class Late:
    """A module imported when something of it is asked for: `check` needs no server, and starts in half the time."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


labs = Late("zephyr_lab.lab")

out, err = Console(highlight=False), Console(stderr=True, highlight=False)


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A bar that is there as long as it moves, for whoever looks at a terminal."""
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
