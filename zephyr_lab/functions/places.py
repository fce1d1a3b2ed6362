"""The line of application code that a thread is at: the innermost one that is neither a library's nor the lab's."""

from __future__ import annotations

import inspect
import linecache
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

_FRAMES, _AWAITED = ("cr_frame", "gi_frame", "ag_frame"), ("cr_await", "gi_yieldfrom", "ag_await")


def line_of_yours() -> str:
    """`shop.py:41`, or `cell line 3` of a notebook; '' if only libraries are on the stack."""
    return next(filter(None, map(_line, stacks())), "")


def stands_at(thread: int | None) -> str:
    """The line of application code that another thread is in, with its text: `stock.py:12: with lock:`."""
    return _told(_yours(sys._current_frames().get(thread or 0)))


def stands_in(coroutine: Any) -> str:
    """The same for a coroutine that waits."""
    found = None
    while coroutine is not None:
        frame = next(filter(None, (getattr(coroutine, name, None) for name in _FRAMES)), None)
        found = frame if frame and _shown(frame.f_code.co_filename) else found
        coroutine = next(filter(None, (getattr(coroutine, name, None) for name in _AWAITED)), None)
    return _told(found)


def place_of(function: Any) -> str:
    """Where a function is defined, such as `shop.py:12`; '' if that is unknown, or in a library."""
    code = getattr(inspect.unwrap(getattr(function, "func", function)), "__code__", None)
    return f"{shown}{code.co_firstlineno}" if code and (shown := _shown(code.co_filename)) else ""


def _told(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return f"{_line(frame)}: {linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()}".rstrip(": ")


def _yours(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not _shown(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def _line(innermost: FrameType) -> str:
    frame = _yours(innermost)
    return f"{_shown(frame.f_code.co_filename)}{frame.f_lineno}" if frame else ""


def stacks() -> Iterator[FrameType]:
    """The thread's own frames, and those of its greenlet's parents: SQLAlchemy's asyncio side runs in a greenlet."""
    yield sys._getframe(2)
    greenlet: Any = sys.modules.get("greenlet")
    current = greenlet.getcurrent().parent if greenlet else None
    while current is not None:
        if current.gr_frame is not None:
            yield current.gr_frame
        current = current.parent


@lru_cache(maxsize=4096)
def _shown(file: str) -> str:
    """The prefix of a line number in this file; '' for a library's."""
    if "ipykernel_" in file or file.startswith("<ipython-input"):
        return "cell line "
    if file.startswith("<") or is_library(file):
        return ""
    path = os.path.realpath(file)
    inside = os.path.relpath(path)
    # Elsewhere the last two parts: stored output must not depend on the machine.
    return f"{inside if not inside.startswith(os.pardir) else Path(*Path(path).parts[-2:])}:"


@lru_cache(maxsize=4096)
def is_library(file: str) -> bool:
    """Whether a file is the standard library's, an installed package's or the lab's."""
    if os.sep + "site-packages" + os.sep in file or os.sep + "dist-packages" + os.sep in file:
        return True
    return os.path.realpath(file).startswith(_LIBRARIES)
