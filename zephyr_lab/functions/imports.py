"""Hooks that run as soon as a module has been imported, however it is imported, and each time."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Then = Callable[[], contextlib.AbstractContextManager[None]]


class _Finder:
    """First on `sys.meta_path`: delegates to the other finders, and calls `ready` when a module has been executed."""

    def __init__(self, names: Mapping[str, Any], ready: Callable[[str], None]) -> None:
        self._names, self._ready = names, ready

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        finders = (one for one in list(sys.meta_path) if one is not self and hasattr(one, "find_spec"))
        spec = next(filter(None, (one.find_spec(name, path, target) for one in finders)), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, lambda: self._ready(name))  # type: ignore[assignment]
        return spec


class _Loader:
    def __init__(self, real: Any, ready: Callable[[], None]) -> None:
        self._real, self._ready = real, ready

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__
        module.__spec__.loader = module.__loader__ = self._real
        self._real.exec_module(module)
        self._ready()


@contextlib.contextmanager
def when_imported(what: Mapping[str, Then]) -> Iterator[None]:
    """Enters each context once the module of that name is imported, now or later, and leaves them all at the end."""
    with contextlib.ExitStack() as stack:

        def ready(name: str) -> None:
            if finder in sys.meta_path:
                stack.enter_context(what[name]())

        finder = _Finder(what, ready)
        sys.meta_path.insert(0, finder)
        stack.callback(lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None)
        for name in what:
            if name in sys.modules:
                importlib.import_module(name)  # another thread may be importing it
                stack.enter_context(what[name]())
        yield
