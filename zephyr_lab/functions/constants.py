"""Numbers and texts in the functions' source: ids must not be confused with them."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any


def constants_of(thing: Any, seen: dict[int, Any] | None = None) -> Iterator[str]:
    """The constants in a function's code, defaults and closure, and in what it names of its own module."""
    seen = {} if seen is None else seen
    kind = type(thing)  # isinstance would evaluate a lazy object
    if id(thing) in seen:
        return
    seen[id(thing)] = thing  # which keeps its id from being another's
    if issubclass(kind, int | str | bytes | float):
        yield str(thing)
    for part in _parts(thing, kind):
        yield from constants_of(part, seen)


def _parts(thing: Any, kind: type) -> list[Any]:
    if kind in (tuple, list, set, frozenset):
        return list(thing)
    if kind is dict:
        return [*thing.keys(), *thing.values()]
    if kind is functools.partial:
        return [thing.func, thing.args, thing.keywords]
    if kind is types.MethodType:
        return [thing.__func__, getattr(thing.__self__, "__dict__", {})]
    if kind is types.CodeType:
        return list(thing.co_consts)
    if kind is not types.FunctionType:
        return []
    named = [thing.__globals__[name] for name in thing.__code__.co_names if name in thing.__globals__]
    held = [cell.cell_contents for cell in thing.__closure__ or () if cell != types.CellType()]
    return [
        thing.__code__,
        thing.__defaults__,
        thing.__kwdefaults__,
        held,
        [one for one in named if type(one) is not types.FunctionType or one.__module__ == thing.__module__],
    ]
