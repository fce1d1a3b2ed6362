"""Which call of application code asks: found on the stack."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType

from zephyr_lab.functions.places import is_library, stacks

_RESUMED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_FOLDERS = frozenset({"test", "tests", "testing"})
# Where a framework begins what stands for a request, before any line of the application.
_SERVES = str(Path("django", "core", "handlers"))
_DJANGO = str(Path("django", "db", "backends"))
_SESSION = str(Path("sqlalchemy", "orm", "session"))


class Whose(Enum):
    """Whose a file is."""

    LIBRARY = 0
    TESTS = 1
    APPLICATION = 2


@dataclass(frozen=True)
class Caller:
    """Application code that asks. `code` is of the outermost function, `frame` what tells its calls apart while they
    last, `name` its name, and `where` the file and line that ask. `errand` is the call in a test that this is for,
    whichever thread it is done in; () if none is seen.
    """

    code: CodeType
    frame: tuple[int, ...]
    where: tuple[str, int]
    errand: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.code.co_qualname.replace("<locals>.", "")


@dataclass(frozen=True)
class Stack:
    """`caller` is None where no application code asks. `is_served`: a framework does on its behalf; `by_django`:
    through Django's connections, each statement of which is a transaction of its own unless it says otherwise;
    `by_session`: through an ORM session of SQLAlchemy's, which may hold changes back."""

    caller: Caller | None
    is_served: bool
    by_django: bool
    by_session: bool = False


class Files:
    """Tells application code from tests and libraries. `root` is where the project is."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self.whose = lru_cache(maxsize=8192)(self._whose)

    def _whose(self, file: str) -> Whose:
        if file.startswith("<") or is_library(file):
            return Whose.LIBRARY
        *folders, name = Path(os.path.relpath(os.path.realpath(file), self._root)).parts
        stem = name.removesuffix(".py")
        is_test = stem == "conftest" or stem.startswith("test_") or stem.endswith("_test")
        return Whose.TESTS if is_test or _FOLDERS & set(folders) else Whose.APPLICATION

    def stack(self) -> Stack:
        """Of the calling thread, and of the greenlets that it is called from."""
        inner: FrameType | None = None
        outer: FrameType | None = None
        is_served = by_django = by_session = False
        errand: tuple[int, ...] = ()
        for frame in _frames():
            file = frame.f_code.co_filename
            whose = self.whose(file)
            if whose is Whose.TESTS:
                errand = self._errand(frame)
                break
            if whose is Whose.APPLICATION:
                inner, outer = inner or frame, frame
            elif "django" in file:
                is_served |= _SERVES in file
                by_django |= _DJANGO in file
            elif "sqlalchemy" in file:
                by_session |= _SESSION in file
        if inner is None or outer is None:
            return Stack(None, is_served, by_django, by_session)
        if not errand and threading.current_thread() is not threading.main_thread():
            errand = self._errand(sys._current_frames().get(threading.main_thread().ident or 0))
        where = inner.f_code.co_filename, inner.f_lineno
        caller = Caller(outer.f_code, (id(outer), *_called_at(outer)), where, errand)
        return Stack(caller, is_served, by_django, by_session)

    def _errand(self, frame: FrameType | None) -> tuple[int, ...]:
        """Where the tests' functions on a stack are."""
        found: list[int] = []
        while frame is not None:
            if self.whose(frame.f_code.co_filename) is Whose.TESTS:
                found += [id(frame.f_code), frame.f_lasti]
            frame = frame.f_back
        return tuple(found)


def _frames() -> Iterator[FrameType]:
    for first in stacks():
        frame: FrameType | None = first
        while frame is not None:
            yield frame
            frame = frame.f_back


def _called_at(frame: FrameType) -> tuple[int, ...]:
    """What tells calls apart whose frames are in the same place of memory, one after another."""
    if frame.f_code.co_flags & _RESUMED or frame.f_back is None:
        return (sys.maxsize,)  # an event loop goes on with it from elsewhere each time
    return id(frame.f_back), frame.f_back.f_lasti
