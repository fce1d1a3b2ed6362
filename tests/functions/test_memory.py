"""Which of Python's objects functions can reach, and which of them have changed, without a server."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import types
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import pytest

from zephyr_lab.functions import memory
from zephyr_lab.functions.memory import Memory

PRICES = {"mill": 3, "bread": {"white": 1, "rye": [2, 2]}}
STOCK: dict[str, Any] = {"mill": [1]}
TOTAL = 0
NUMBERS = itertools.count()
DICE = random.Random(1)
WORDS = iter(["mill", "bread"])
LOCK = threading.Lock()


class Shelf:
    slots: list[int] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.held = {1}

    def put(self) -> None:
        self.held.add(len(self.held) + 1)

    def put_on_class(self) -> None:
        self.slots.append(1)


class Narrow:
    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0


SHELF, NARROW = Shelf(), Narrow()


@lru_cache
def price(what: float) -> float:
    return what


def deepest() -> None:
    STOCK["mill"][0] += 1


def through_others() -> None:
    (lambda: [deepest() for _ in range(1)])()


def of_global() -> None:
    global TOTAL
    TOTAL += 1


def of_default(seen: list[int] = []) -> None:  # noqa: B006
    seen.append(1)


def of_attribute() -> None:
    of_attribute.calls = getattr(of_attribute, "calls", 0) + 1  # type: ignore[attr-defined]


def closing_over(held: Any, change: Callable[[Any], object]) -> Callable[[], None]:
    def function() -> None:
        change(held)

    return function


def of_module_imported_here() -> None:
    from tests.functions.test_memory import STOCK

    STOCK["bread"] = len(STOCK)


def changed(function: Callable[..., Any], run: Callable[..., Any] | None = None) -> set[str]:
    looked = Memory([function])
    looked.begin()
    (run or function)()
    looked.look()
    assert looked.is_shared == bool(looked.changed)
    return looked.changed


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (deepest, "STOCK of module"),
        (through_others, "STOCK of module"),
        (partial(through_others), "STOCK of module"),
        (of_module_imported_here, "STOCK of module"),
        (of_global, "TOTAL of module"),
        (of_default, "defaults of function of_default"),
        (of_attribute, "attributes of function of_attribute"),
        (SHELF.put, "functions"),
        (lambda: SHELF.put(), "SHELF of module"),
        (SHELF.put_on_class, "Shelf.slots of module"),
        (lambda: setattr(NARROW, "held", NARROW.held + 1), "NARROW of module"),
        (lambda: price(random.random()), "price of module"),
        (lambda: next(NUMBERS), "NUMBERS of module"),
        (lambda: DICE.random(), "DICE of module"),
        (lambda: LOCK.acquire(blocking=False), "LOCK of module"),
        (closing_over({}, lambda one: one.update(a=1)), "held of function"),
        (closing_over(deque(), lambda one: one.append(1)), "held of function"),
        (closing_over(Counter(), lambda one: one.update("a")), "held of function"),
        (closing_over(defaultdict(list), lambda one: one["a"]), "held of function"),
        (closing_over(bytearray(2), lambda one: one.append(1)), "held of function"),
        (closing_over([{"a": {1}}], lambda one: one[0]["a"].discard(1)), "held of function"),
    ],
)
def test_what_a_function_changes_is_seen_and_named(function: Callable[[], Any], name: str) -> None:
    """Wherever code of its own can reach it."""
    assert any(one.startswith(name) for one in changed(function))


def test_what_is_only_read_has_not_changed() -> None:
    """Nor what a function makes for itself, nor libraries' own."""

    def reads() -> list[Any]:
        mine = [PRICES["mill"], *STOCK, threading.active_count(), Shelf().held]
        mine.append(random.random())
        return mine

    assert changed(reads) == set()


def test_what_cannot_be_seen_may_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An iterator under way, and more objects than are looked at."""
    looked = Memory([lambda: next(WORDS)])
    looked.begin()
    assert looked.is_shared
    monkeypatch.setattr(memory, "MOST", 3)
    looked = Memory([deepest])
    looked.begin()
    assert looked.is_shared
    assert looked.changed == set()


def test_modules_are_known_by_their_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of yours may be called `test`, as one of Python's is."""
    yours = types.ModuleType("test.test_shop")
    yours.__file__ = __file__
    monkeypatch.setitem(sys.modules, yours.__name__, yours)
    assert not memory.is_of_library.__wrapped__(yours.__name__)
    assert all(map(memory.is_of_library.__wrapped__, ("queue", "sys", "pytest", "zephyr_lab.lab")))


def test_what_holds_itself_is_looked_at_once() -> None:
    """And a change inside of it is seen."""
    ring: list[Any] = []
    ring.append({"ring": ring})
    assert changed(closing_over(ring, lambda one: None)) == set()
    assert changed(closing_over(ring, lambda one: one[0].update(a=1)))
