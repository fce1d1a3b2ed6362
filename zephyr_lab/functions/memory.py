"""Python objects that functions can reach, and which of them change while the functions run.

Reduction knows the effects of round trips, but not of a dict that two functions read and write. So plain objects are
inspected: those that application code names, closes over, or has as defaults or attributes.
"""

from __future__ import annotations

import array
import collections
import contextlib
import functools
import itertools
import random
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from zephyr_lab.functions.places import is_library

MOST = 20_000  # objects that are inspected; if there are more, memory counts as shared
MOST_OFTEN = 200  # objects that are cheap to inspect after every turn: 100 objects take a millisecond

_VALUES = (bool, int, float, complex, str, bytes, type(None))
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_CACHES = (type(lru_cache(lambda: None)),)
# Libraries' containers.
_HOLDERS = ("collections", "queue", "types", "weakref", "cachetools")
_DRIVERS = frozenset({"psycopg", "psycopg_pool", "redis", "valkey", "asyncpg", "psycopg2", "socket", "logging"})
# Process-wide storage of libraries, where applications put what they share.
_OF_LIBRARIES = {"django.core.cache.backends.locmem": "_caches", "django.core.mail": "outbox"}


class _Unclear(Exception):
    """There are too many objects, or one whose state cannot be inspected."""


class Memory:
    """The objects that `functions` can reach. `changed` names those that changed between a `begin` and a `look`.

    `is_shared`: one function may see what another one does to it.
    """

    def __init__(self, functions: Iterable[Callable[..., Any]]) -> None:
        self._functions = tuple(functions)
        self._before: _Picture | None = None
        self.changed: set[str] = set()
        self._unclear = False

    @property
    def is_shared(self) -> bool:
        return bool(self.changed) or self._unclear

    @property
    def is_small(self) -> bool:
        """Whether it can be inspected after every turn of every schedule."""
        return self._before is None or len(self._before.seen) <= MOST_OFTEN

    def begin(self) -> None:
        self._before = self._picture()

    def look(self) -> None:
        if self._before is None or (now := self._picture()) is None:
            return
        before = self._before.places
        self.changed |= {name for name in before | now.places if before.get(name) != now.places.get(name)}

    def _picture(self) -> _Picture | None:
        try:
            return None if self._unclear else _Picture(self._functions)
        except (_Unclear, RuntimeError):  # changed by a thread meanwhile
            self._unclear = True
            return None


class _Picture:
    """`places`: by name, the content as tokens; an object is named by its id, and `seen` keeps it alive."""

    def __init__(self, functions: Iterable[Callable[..., Any]]) -> None:
        self.seen: dict[int, Any] = {}
        self.places: dict[str, list[Any]] = {}
        self._todo: collections.deque[tuple[str, Any]] = collections.deque(("functions", one) for one in functions)
        for module, name in _OF_LIBRARIES.items():
            if module in sys.modules:
                self._todo.append((f"{name} of module {module}", getattr(sys.modules[module], name, None)))
        while self._todo:
            name, value = self._todo.popleft()
            self._read(self.places.setdefault(name, []), value)

    def _read(self, tokens: list[Any], value: Any) -> None:
        stack = [value]
        while stack:
            value = stack.pop()
            kind = type(value)
            if kind in _VALUES:
                tokens.append((kind, value))
                continue
            tokens.append(tuple if kind is tuple else id(value))  # equal values are interchangeable
            if id(value) in self.seen:
                continue
            self.seen[id(value)] = value
            if len(self.seen) + len(tokens) > MOST:
                raise _Unclear
            inside = list(self._inside(value))
            tokens.append(len(inside))
            stack += reversed(inside)

    def _inside(self, value: Any) -> Iterable[Any]:
        """The parts of an object; what has a name of its own is inspected under that name."""
        match value:
            case types.FunctionType():
                return self._of_function(value)
            case types.MethodType():
                return (value.__self__, value.__func__)
            case staticmethod() | classmethod():
                return (value.__func__,)
            case property():
                return (value.fget, value.fset, value.fdel)
            case functools.partial():
                return (value.func, value.args, value.keywords)
            case functools.cached_property():
                return (value.func,)
            case type():
                return self._of_class(value)
            case dict():
                return [*itertools.chain.from_iterable(list(value.items())), *_attributes(value)]
            case bytearray() | array.array():
                return (bytes(value),)
            case random.Random():
                return (value.getstate(),)
            case itertools.count():
                return (repr(value),)
            case types.GeneratorType() | types.CoroutineType() | types.AsyncGeneratorType():
                raise _Unclear
        if isinstance(value, _SEQUENCES):
            return [*value, *_attributes(value)]
        if isinstance(value, _LOCKS):
            return (repr(value),)
        if isinstance(value, _CACHES):
            return (value.cache_info()[1:], value.__wrapped__)
        if type(value).__module__ in ("builtins", "itertools") and hasattr(value, "__next__"):
            raise _Unclear
        return self._of_object(value)

    def _of_object(self, value: Any) -> Iterable[Any]:
        kind = type(value)
        packages = {one.__module__.partition(".")[0] for one in kind.__mro__}
        if packages & _DRIVERS:
            return ()
        if is_of_library(kind.__module__):
            if kind.__module__.partition(".")[0] in _HOLDERS:
                return _attributes(value)
            with contextlib.suppress(Exception):  # a decorator that is an object, such as a task
                return (getattr(value, "__wrapped__"),) if callable(value) else ()  # noqa: B009  # which may be missing
            return ()
        return [kind, *_attributes(value)]

    def _of_function(self, function: types.FunctionType) -> Iterator[Any]:
        title = f"function {function.__qualname__}"
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # it is empty yet
                self._todo.append((f"{name} of {title}", cell.cell_contents))
        self._todo.append((f"attributes of {title}", vars(function)))
        if is_library(function.__code__.co_filename) and is_of_library(function.__module__ or ""):
            return
        self._todo += [(f"defaults of {title}", one) for one in (function.__defaults__, function.__kwdefaults__)]
        names = _names(function.__code__)
        spaces = [(function.__module__, function.__globals__)]
        spaces += [(name, vars(sys.modules[name])) for name in names if name in sys.modules and not is_of_library(name)]
        for module, space in spaces:
            for name in names:
                value = space.get(name)
                if isinstance(value, types.ModuleType):
                    known = any(vars(value) is other for _, other in spaces)
                    if not known and not is_of_library(value.__name__):
                        spaces.append((value.__name__, vars(value)))
                elif name in space:
                    self._todo.append((f"{name} of module {module}", value))
        yield from ()

    def _of_class(self, kind: type) -> Iterator[Any]:
        if is_of_library(kind.__module__):
            return
        for name, value in list(vars(kind).items()):
            if not name.startswith("__") or isinstance(value, types.FunctionType):
                self._todo.append((f"{kind.__name__}.{name} of module {kind.__module__}", value))
        yield from kind.__bases__


def _attributes(value: Any) -> list[Any]:
    """Names and values of an object's attributes."""
    slots = [getattr(kind, "__slots__", ()) for kind in type(value).__mro__]
    names = {name for some in slots for name in ([some] if isinstance(some, str) else some) if name[:2] != "__"}
    found = {name: getattr(value, name, None) for name in sorted(names)} | dict(getattr(value, "__dict__", {}))
    return [*itertools.chain.from_iterable(found.items())]


@lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[str, ...]:
    """The names of globals, attributes and modules in code, and in code inside of it."""
    inside = [name for one in code.co_consts if isinstance(one, types.CodeType) for name in _names(one)]
    return tuple(dict.fromkeys((*code.co_names, *inside)))


@lru_cache(maxsize=4096)
def is_of_library(module: str | None) -> bool:
    """Whether a module is the standard library's, an installed package's or the lab's. A class may name none."""
    if module is None:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)  # a package of yours may be called test
    return is_library(file) if file else module.partition(".")[0] in sys.stdlib_module_names
