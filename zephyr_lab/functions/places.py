"""Which line of somebody's own code a thread is at: the innermost one that is no library's and not the lab's."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

_LIBRARIES = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).resolve().parents[1]) + os.sep}
)


def line_of_yours() -> str:
    """`shop.py:41`, or `cell line 3` of a notebook; nothing where only libraries are at work."""
    for innermost in _stacks():
        frame: FrameType | None = innermost
        while frame is not None:
            if name := _shown(frame.f_code.co_filename):
                return f"{name}{frame.f_lineno}"
            frame = frame.f_back
    return ""


def _stacks() -> Iterator[FrameType]:
    """The thread's own, and those that its greenlet was switched to from: SQLAlchemy's asyncio side runs in one."""
    yield sys._getframe(2)
    greenlet: Any = sys.modules.get("greenlet")
    current = greenlet.getcurrent().parent if greenlet else None
    while current is not None:
        if current.gr_frame is not None:
            yield current.gr_frame
        current = current.parent


@lru_cache(maxsize=4096)
def _shown(file: str) -> str:
    """What stands before the number of a line of this file; nothing for a library's."""
    if "ipykernel_" in file or file.startswith("<ipython-input"):
        return "cell line "
    if file.startswith("<") or os.sep + "site-packages" + os.sep in file or os.sep + "dist-packages" + os.sep in file:
        return ""
    path = os.path.realpath(file)
    if path.startswith(_LIBRARIES):
        return ""
    inside = os.path.relpath(path)
    # Elsewhere the last two parts: what is stored does not depend on whose machine it is.
    return f"{inside if not inside.startswith(os.pardir) else Path(*Path(path).parts[-2:])}:"
