"""Operations as they are named in a shell: functions of a file or a module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from zephyr_lab.errors import BadInput
from zephyr_lab.functions.places import is_library

_FORM = "functions are named as in shop.py:book,cancel, or shop.orders:book; a mapping of them by its name alone"


def functions_named(targets: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """By their names, of targets such as `shop.py:book,cancel`; the name of a mapping is all that is in it.

    A file is imported by its name, so that other processes can import it as well. Raises BadInput.
    """
    found: dict[str, Callable[..., Any]] = {}
    for target in targets:
        place, colon, names = target.rpartition(":")
        if not (colon and place and names):
            raise BadInput(f"{target!r} names no function: {_FORM}")
        module = _imported(place)
        for name in names.split(","):
            for one, function in _of(module, name.strip(), place).items():
                if found.setdefault(one, function) is not function:
                    raise BadInput(f"two functions are called {one!r}: give a mapping with a name for each")
    return found


def setup_of(words: Iterable[str]) -> list[str | Callable[..., Any]]:
    """A setup of files of SQL, functions such as `shop.py:make`, and SQL as it is. Raises BadInput."""
    parts: list[str | Callable[..., Any]] = []
    for one in words:
        if one.endswith(".sql"):
            try:
                parts.append(Path(one).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                why = getattr(error, "strerror", None) or error
                raise BadInput(f"cannot read the setup {one}: {why}") from None
        elif " " not in one and ":" in one:
            parts += functions_named([one]).values()
        else:
            parts.append(one)
    return parts


def send_code_of(parts: Iterable[Any]) -> None:
    """Has functions travel to other machines with the code of their modules, but for those of installed libraries."""
    import cloudpickle

    for one in parts:
        module = sys.modules.get(getattr(getattr(one, "func", one), "__module__", ""))
        if module is not None and not is_library(getattr(module, "__file__", None) or ""):
            cloudpickle.register_pickle_by_value(module)


def _of(module: ModuleType, name: str, place: str) -> Mapping[str, Callable[..., Any]]:
    one = getattr(module, name, None)
    if isinstance(one, Mapping) and all(isinstance(key, str) and callable(value) for key, value in one.items()):
        return one
    if not callable(one):
        there = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise BadInput(f"{place} has no function {name!r}; there are: {', '.join(there) or 'none'}")
    return {name: one}


def _imported(place: str) -> ModuleType:
    """A module by its name, or by its file, whose folder is then searched for modules. Raises BadInput."""
    file = Path(place).resolve() if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise BadInput(f"there is no file {place}")
    folder = str(file.parent if file else Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(file.stem if file else place)
    except Exception as error:  # of the module's own code as well
        raise BadInput(f"cannot import {place}: {type(error).__name__}: {error}") from error
    if file is not None and Path(str(module.__file__)).resolve() != file:
        raise BadInput(f"{place} has the name of another module, {module.__file__}: give it one of its own")
    return module
