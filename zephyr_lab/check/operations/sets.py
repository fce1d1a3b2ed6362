"""A set to which elements are added: what was added, or read once, is in every later read (Jepsen's set-full).

add 5    read [1, 5, 7]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from zephyr_lab.check.operations.events import Fault, Operation, held
from zephyr_lab.errors import BadInput


def check(operations: Sequence[Operation]) -> list[Fault]:
    """Elements that nobody added before a read ended, that are twice in it, or that a read lacks after they were known
    to be there."""
    begun: dict[Any, int] = {}
    known: dict[Any, tuple[int, int]] = {}
    for one in operations:
        if one.f == "add":
            if isinstance(one.asked, list | dict):
                raise BadInput(
                    f"line {one.line}: add {one.asked!r:.40} to a set; an element is a number or a string (of several "
                    "sets, check each by itself)"
                )
            element = held(one.asked)
            if one.possible:
                begun[element] = min(begun.get(element, one.begin), one.begin)
            if one.ok:
                known[element] = min(known.get(element, (one.end, one.line)), (one.end, one.line))
    found = []
    reads = [(one, _elements(one)) for one in operations if one.ok and one.f == "read"]
    for one, elements in reads:
        names = {held(element): element for element in elements}
        for element, count in Counter(map(held, elements)).items():
            name = repr(names[element])
            if element not in begun:
                found.append(Fault("unexpected-element", (one.line,), f"{name} was never added"))
            elif begun[element] > one.end:
                found.append(Fault("unexpected-element", (one.line,), f"{name} was added only after that"))
            elif count > 1:
                found.append(Fault("duplicate-element", (one.line,), f"{name} is in the read {count} times"))
            known[element] = min(known.get(element, (one.end, one.line)), (one.end, one.line))
    return found + _lost(reads, known)


def _elements(one: Operation) -> list[Any]:
    if not isinstance(one.value, list) or any(isinstance(element, list | dict) for element in one.value):
        raise BadInput(f"line {one.line}: a read of the set gave {one.value!r:.60}; it gives a list of elements")
    return one.value


def _lost(reads: list[tuple[Operation, list[Any]]], known: dict[Any, tuple[int, int]]) -> list[Fault]:
    """Known elements that a later read lacks: lost if no read after that has them, and stale if one has."""
    missing: dict[Any, Operation] = {}
    last: dict[Any, int] = {}
    for one, elements in reads:
        here = set(map(held, elements))
        last.update(dict.fromkeys(here, one.begin))
        for element, (since, _) in known.items():
            if since < one.begin and element not in here:
                missing.setdefault(element, one)
    found = []
    for element, read in missing.items():
        name = "stale-read" if last.get(element, -1) > read.begin else "lost-element"
        text = f"the read lacks {element!r}, which was there by line {known[element][1]}"
        found.append(Fault(name, (read.line, known[element][1]), text))
    return found
