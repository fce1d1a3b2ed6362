"""The structure of a value, for comparison: nodes with parts, and leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Incomparable(Exception):
    """The text says what cannot be compared, and what to do."""


@dataclass(frozen=True)
class Leaf:
    """A value without parts; `kind` distinguishes what `==` distinguishes. `text` is how it is shown."""

    kind: str
    value: Any
    text: str = dataclasses.field(compare=False)

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


@dataclass(frozen=True)
class Parts:
    """A value with parts: ordered (a tuple), or unordered (a frozenset), but shown in the order of `order`."""

    kind: str
    parts: tuple[Told, ...] | frozenset[Told]
    order: tuple[Told, ...] = dataclasses.field(default=(), compare=False)

    def in_order(self) -> tuple[Told, ...]:
        return self.order or tuple(sorted(self.parts, key=str) if isinstance(self.parts, frozenset) else self.parts)

    def __str__(self) -> str:
        shown = [str(one) for one in self.in_order()]
        if self.kind in _BRACKETS:
            begin, end = _BRACKETS[self.kind]
            if self.kind == "set" and not shown:
                return "set()"
            return f"{begin}{', '.join(shown)}{',' if self.kind == 'tuple' and len(shown) == 1 else ''}{end}"
        return _PAIRS[self.kind].join(shown) if self.kind in _PAIRS else f"{self.kind}({', '.join(shown)})"

    __repr__ = __str__


Told = Leaf | Parts
_BRACKETS = {"list": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}"), "dict": ("{", "}")}
_PAIRS = {"item": ": ", "field": "="}


def replaced(value: Told, leaf: Callable[[Leaf], Told]) -> Told:
    """The same with `leaf` applied to every leaf."""
    if isinstance(value, Leaf):
        return leaf(value)
    parts = tuple(replaced(one, leaf) for one in value.in_order())
    return (
        Parts(value.kind, frozenset(parts), parts) if isinstance(value.parts, frozenset) else Parts(value.kind, parts)
    )


def not_run(kind: type) -> Incomparable:
    return Incomparable(
        f"cannot compare {article(kind)}, of which nothing has been run: return what it gives, as in list(...)"
    )


def article(kind: type) -> str:
    return f"{'an' if kind.__name__[:1].lower() in 'aeiou' else 'a'} {kind.__name__}"
