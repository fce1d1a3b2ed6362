"""Long fork: of two reads of the same keys, each written once, one saw all that the other one saw.

write [["w", 3, 1]]    read [["r", 3, 1], ["r", 4, null]]
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from zephyr_lab.check.operations.events import Fault, Operation, held
from zephyr_lab.errors import BadInput

_Values = dict[Any, tuple[Any, Any]]


def check(operations: Sequence[Operation]) -> list[Fault]:
    """Pairs of reads of which each saw a write that the other one did not, and values that nobody had written.

    For each two keys, the reads that saw the first alone and those that saw the second alone: both exist in a fork.
    """
    reads = [(one, _values(one, "r")) for one in operations if one.ok and one.f == "read"]
    found = _unwritten(operations, reads)
    alone: dict[tuple[Any, Any], Operation] = {}
    forked: set[tuple[int, int]] = set()
    for one, values in reads:
        seen, unseen = (
            [key for key, (_, value) in values.items() if (value is None) is none] for none in (False, True)
        )
        for mine, other in itertools.product(seen, unseen):
            reverse = alone.get((other, mine))
            alone.setdefault((mine, other), one)
            if reverse is not None and (reverse.line, one.line) not in forked:
                forked.add((reverse.line, one.line))
                text = f"one saw {values[other][0]}, not {values[mine][0]}, the other the reverse"
                found.append(Fault("long-fork", (reverse.line, one.line), text))
    return found


def _unwritten(operations: Sequence[Operation], reads: Sequence[tuple[Operation, _Values]]) -> list[Fault]:
    """Raises BadInput if a key has two values. A history that tells no write is one of the reads alone."""
    written: dict[Any, tuple[Any, int]] = {}
    told = False
    for one in operations:
        told = told or one.f == "write"
        for key, (name, value) in _values(one, "w").items() if one.f == "write" and one.possible else ():
            if key in written:
                raise BadInput(f"line {one.line}: {name} is written twice; a long fork is told where each key is once")
            written[key] = (held(value), one.begin)
    found = []
    for one, values in reads:
        for key, (name, value) in values.items():
            if value is None:
                continue
            if not told and written.setdefault(key, (held(value), 0))[0] != held(value):
                raise BadInput(
                    f"line {one.line}: {name} has two values; a long fork is told where each key is written once"
                )
            if key not in written or written[key][0] != held(value) or written[key][1] > one.end:
                found.append(Fault("thin-air-read", (one.line,), f"{name} was {value!r}, which nobody had written"))
    return found


def _values(one: Operation, kind: str) -> _Values:
    """By key its name and value."""
    ops = one.value if one.f == "read" else one.asked
    if not isinstance(ops, list) or not all(isinstance(op, list) and len(op) == 3 and op[0] == kind for op in ops):
        raise BadInput(f'line {one.line}: a {one.f} of {ops!r:.60}; it is of keys, such as [["{kind}", 3, 1]]')
    found = {held(key): (key, value) for _, key, value in ops}
    if len(found) < len(ops):
        raise BadInput(f"line {one.line}: a {one.f} of {ops!r:.60}, in which a key is twice")
    return found
