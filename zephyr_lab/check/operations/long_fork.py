"""Long fork: of two reads of the same keys, each written once, one saw all that the other one saw.

write [["w", 3, 1]]    read [["r", 3, 1], ["r", 4, null]]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from zephyr_lab.check.operations.events import Fault, Operation
from zephyr_lab.errors import BadInput


def check(operations: Sequence[Operation]) -> list[Fault]:
    """Pairs of reads of which each saw a write that the other one did not."""
    groups: dict[frozenset[str], dict[frozenset[str], Operation]] = {}
    for one in operations:
        if one.ok and one.f == "read":
            values = _values(one)
            seen = frozenset(key for key, value in values.items() if value is not None)
            groups.setdefault(frozenset(values), {}).setdefault(seen, one)
    found = []
    for states in groups.values():
        chain = sorted(states, key=lambda seen: (len(seen), states[seen].line))
        for smaller, larger in itertools.pairwise(chain):
            if not smaller <= larger:
                one, other = states[smaller], states[larger]
                text = f"one saw {_names(smaller - larger)}, not {_names(larger - smaller)}, the other the reverse"
                found.append(Fault("long-fork", (one.line, other.line), text))
    return found


def _names(keys: frozenset[str]) -> str:
    return ", ".join(sorted(keys))


def _values(one: Operation) -> dict[str, Any]:
    ops = one.value
    if not isinstance(ops, list) or not all(isinstance(op, list) and len(op) == 3 and op[0] == "r" for op in ops):
        raise BadInput(f'line {one.line}: a read gave {ops!r:.60}; it gives reads of keys, such as [["r", 3, 1]]')
    return {str(key): value for _, key, value in ops}
