"""Replaces attributes, and restores them."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replaces an attribute by `make(attribute)`; also a method of a type that is written in C."""
    before = vars(owner)[name]
    _put(owner, name, make(before))
    try:
        yield
    finally:
        _put(owner, name, before)


def _put(owner: Any, name: str, value: Any) -> None:
    try:
        setattr(owner, name, value)
    except TypeError:  # a type written in C: its dictionary is behind a read-only view
        (names,) = (one for one in gc.get_referents(vars(owner)) if isinstance(one, dict))
        names[name] = value
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))
