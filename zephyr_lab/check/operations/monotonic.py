"""A value that only increases: a read that began after another one had ended is not smaller.

inc    read 7    (or of several keys: read {"x": 7, "y": 3})
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zephyr_lab.check.operations.events import Fault, Operation
from zephyr_lab.errors import BadInput


def check(operations: Sequence[Operation]) -> list[Fault]:
    """Reads that are smaller than one that had ended before they began."""
    reads = [one for one in operations if one.ok and one.f == "read"]
    found = []
    best: dict[Any, tuple[int, int]] = {}
    ended = iter(sorted(reads, key=lambda one: one.end))
    waiting = next(ended, None)
    for one in sorted(reads, key=lambda one: one.begin):
        while waiting is not None and waiting.end < one.begin:
            for key, value in _values(waiting).items():
                best[key] = max(best.get(key, (value, waiting.line)), (value, waiting.line))
            waiting = next(ended, None)
        for key, value in _values(one).items():
            if key in best and value < best[key][0]:
                of = "" if key is None else f" of {key!r}"
                text = f"read {value}{of}, after {best[key][0]} had been read by line {best[key][1]}"
                found.append(Fault("non-monotonic-read", (one.line, best[key][1]), text))
    return found


def _values(one: Operation) -> dict[Any, int]:
    values = one.value if isinstance(one.value, dict) else {None: one.value}
    if not all(type(value) is int for value in values.values()):
        raise BadInput(f"line {one.line}: a read gave {one.value!r:.60}; it gives an integer, or one of each key")
    return values
