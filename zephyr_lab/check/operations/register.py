"""Linearizable registers: for each key some order of all operations, as each took effect at once, explains every read.

    read 3    write 4    cas [4, 5]    (of several keys: read ["x", 3])
The search is that of Wing and Gong (1993) with Lowe's memory of what was tried ("Testing for linearizability", 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zephyr_lab.check.operations.events import FOREVER, Fault, Operation, Undecided
from zephyr_lab.errors import BadInput

MOST_STATES = 500_000
"""States, of what has happened and what the register holds, that are visited for one key."""


def check(operations: Sequence[Operation]) -> list[Fault]:
    """Keys whose operations no order explains. Raises Undecided."""
    several = _of_keys(operations)
    by_key: dict[Any, list[tuple[Operation, Any]]] = {}
    for one in operations:
        if not one.possible or (one.f == "read" and not one.ok):
            continue  # what failed has no effect, and nobody knows what an indeterminate read saw
        value = one.value if one.f == "read" else one.asked
        if several and (not isinstance(value, list) or len(value) != 2):
            raise BadInput(f"line {one.line}: {one.f} {value!r:.40}; other operations have a key and a value")
        key, value = value if several else (None, value)
        if one.f == "cas" and (not isinstance(value, list) or len(value) != 2):
            raise BadInput(f"line {one.line}: cas {value!r:.40}; it has the old and the new value")
        by_key.setdefault(str(key), []).append((one, value))
    found = []
    for key, some in by_key.items():
        if stuck := _Search(some).stuck():
            of = f" of {key}" if several else ""
            text = f"no order of the operations{of} explains {stuck[0].f} {stuck[1]!r}"
            found.append(Fault("not-linearizable", (stuck[0].line,), text))
    return found


def _of_keys(operations: Sequence[Operation]) -> bool:
    """Whether values are pairs of a key and a value: every write's is then."""
    written = [one.asked for one in operations if one.f == "write"]
    return bool(written) and all(isinstance(value, list) and len(value) == 2 for value in written)


class _Search:
    def __init__(self, operations: list[tuple[Operation, Any]]) -> None:
        self.ops = sorted(operations, key=lambda pair: pair[0].begin)
        self.all_ok = sum(1 << i for i, (one, _) in enumerate(self.ops) if one.end < FOREVER)

    def stuck(self) -> tuple[Operation, Any] | None:
        """The operation that the longest order could not go beyond; None if an order explains all."""
        begun: list[tuple[int, Any]] = [(0, None)]
        seen: set[tuple[int, Any]] = set(begun)
        best, at = -1, self.ops[0]
        while begun:
            done, value = begun.pop()
            if done & self.all_ok == self.all_ok:
                return None
            first, following = self._next(done)
            if (count := (done & self.all_ok).bit_count()) > best:
                best, at = count, self.ops[first]
            for i in following:
                after = self._after(i, value)
                state = (done | 1 << i, _held(after[0])) if after else None
                if state and state not in seen:
                    seen.add(state)
                    begun.append(state)
            if len(seen) > MOST_STATES:
                raise Undecided(f"no answer within {MOST_STATES:,} states of the search of a linearizable order")
        return at

    def _next(self, done: int) -> tuple[int, list[int]]:
        """Of the operations that are left the first one to end, and those that may be next: they began before that."""
        found: list[int] = []
        first = -1
        for i in range((~done & (done + 1)).bit_length() - 1, len(self.ops)):
            one = self.ops[i][0]
            if first >= 0 and one.begin > self.ops[first][0].end:
                break
            if not done >> i & 1:
                found.append(i)
                if first < 0 or one.end < self.ops[first][0].end:
                    first = i
        # What ends first is tried first, which is last on the stack.
        return first, sorted(found, key=lambda i: -self.ops[i][0].end)

    def _after(self, i: int, value: Any) -> tuple[Any] | None:
        """What the register holds after an operation; None if it could not be next."""
        one, told = self.ops[i]
        if one.f == "write":
            return (told,)
        if one.f == "cas":
            return (told[1],) if value == _held(told[0]) else None
        return (value,) if value == _held(told) else None


def _held(value: Any) -> Any:
    """A value that a set can hold."""
    return repr(value) if isinstance(value, list | dict) else value
