"""The functions of an exploration as another file can name them: by the module that they are imported from."""

from __future__ import annotations

import ast
import functools
import importlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from zephyr_lab.functions.once import Once
from zephyr_lab.options import RunOptions

T = TypeVar("T")
_NOWHERE = ("__main__", "builtins")
_OPTIONS = ("ignore", "refusals", "retry", "compare", "faults", "time")


@dataclass(frozen=True)
class Expression:
    """Python, and the modules that are to be imported for it."""

    text: str
    modules: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Imported:
    """Functions by session; the parts of the setup, SQL or functions, or None if one cannot be imported; the other
    options by name, and the names of those that are lost."""

    functions: Mapping[str, Expression]
    setup: Sequence[str | Expression] | None
    options: Mapping[str, Expression]
    lost: tuple[str, ...] = ()


def imported(functions: Mapping[str, Any], setup: Sequence[Any], options: RunOptions) -> Imported | None:
    """What can be imported of an exploration; None if a function cannot be."""
    named = {session: expression(one) for session, one in functions.items()}
    known = {session: one for session, one in named.items() if one}
    if len(known) < len(functions):
        return None
    given = {name: value for name in _OPTIONS if (value := getattr(options, name))}
    written = {name: _value(value) for name, value in given.items()}
    return Imported(
        known,
        _all(one if isinstance(one, str) else expression(one) for one in setup),
        {name: one for name, one in written.items() if one},
        tuple(name for name, one in written.items() if not one),
    )


def expression(function: Callable[..., Any]) -> Expression | None:
    """An expression that gives a function or a class; None if there is none.

    `shop.book`, or of a partial with plain arguments `functools.partial(shop.book, '18:00')`.
    """
    if isinstance(function, functools.partial):
        inner = expression(function.func)
        given = _all(map(_value, [*function.args, *function.keywords.values()]))
        if inner is None or given is None:
            return None
        names = [*itertools.repeat("", len(function.args)), *(f"{name}=" for name in function.keywords)]
        arguments = [f"{name}{one.text}" for name, one in zip(names, given, strict=True)]
        return Expression(
            f"functools.partial({', '.join([inner.text, *arguments])})", _modules([inner, *given]) | {"functools"}
        )
    if isinstance(function, Once):
        inner = expression(function.func)
        return None if inner is None else Expression(f"zephyr_lab.once({inner.text})", inner.modules | {"zephyr_lab"})
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module in _NOWHERE:
        return None
    try:
        there: Any = importlib.import_module(module)
        for part in name.split("."):
            there = getattr(there, part)
    except (ImportError, AttributeError):  # `<lambda>` and `<locals>` are no attributes
        return None
    return Expression(f"{module}.{name}", frozenset({module})) if there is function else None


def _value(value: Any) -> Expression | None:
    """Plain data as they are written, lists and mappings of what can be imported, and that itself."""
    try:
        if ast.literal_eval(repr(value)) == value:
            return Expression(repr(value))
    except (ValueError, SyntaxError):
        pass
    if isinstance(value, Mapping):
        pairs = _all(_value(one) for pair in value.items() for one in pair)
        if pairs is None:
            return None
        text = ", ".join(f"{key.text}: {one.text}" for key, one in zip(pairs[::2], pairs[1::2], strict=True))
        return Expression(f"{{{text}}}", _modules(pairs))
    if isinstance(value, list | tuple):
        some = _all(map(_value, value))
        return None if some is None else Expression(f"[{', '.join(one.text for one in some)}]", _modules(some))
    return expression(value) if callable(value) else None


def _all(some: Iterable[T | None]) -> list[T] | None:
    told = list(some)
    known = [one for one in told if one is not None]
    return known if len(known) == len(told) else None


def _modules(some: Sequence[Expression]) -> frozenset[str]:
    return frozenset[str]().union(*(one.modules for one in some))
