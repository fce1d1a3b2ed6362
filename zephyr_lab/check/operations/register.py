"""Linearizable registers: for each key some order of all operations, as each took effect at once, explains every read.

    read 3    write 4    cas [4, 5]    (of several keys: read ["x", 3])
The search is that of Wing and Gong (1993) with Lowe's memory of what was tried ("Testing for linearizability", 2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zephyr_lab.check.operations.events import FOREVER, Fault, Operation, Undecided, held
from zephyr_lab.errors import BadInput

MOST_STATES = 500_000
"""States, of what has happened and what the register holds, that are visited beside those of one order of each key."""


def check(operations: Sequence[Operation], initial: Any = None) -> list[Fault]:
    """Keys whose operations no order explains. Raises Undecided if no key is one, and some are not decided."""
    several = _of_keys(operations)
    found, left, undecided = [], MOST_STATES, False
    for name, some in _by_key(operations, several):
        search = _Search(some, held(initial), left + 2 * len(some))
        try:
            if stuck := search.stuck():
                of = f" of {name}" if several else ""
                found.append(Fault("not-linearizable", (stuck.one.line,), _text(of, stuck, some)))
        except Undecided:
            undecided = True
        left = max(left - search.more, 0)
    if undecided and not found:
        raise Undecided(f"no answer within {MOST_STATES:,} states of the search of a linearizable order")
    return found


def _by_key(operations: Sequence[Operation], several: bool) -> Iterable[tuple[Any, list[_Op]]]:
    """The name of each key, and what may have happened to it. Raises BadInput."""
    found: dict[Any, tuple[Any, list[_Op]]] = {}
    for one in operations:
        if not one.possible or (one.f == "read" and not one.ok):
            continue  # what failed has no effect, and nobody knows what an indeterminate read saw
        value = one.value if one.f == "read" else one.asked
        if several and not _pair(value):
            raise BadInput(f"line {one.line}: {one.f} {value!r:.40}; other operations have a key and a value")
        key, value = value if several else (None, value)
        if one.f == "cas" and not _pair(value):
            raise BadInput(f"line {one.line}: cas {value!r:.40}; it has the old and the new value")
        found.setdefault(held(key), (key, []))[1].append(_Op.of(one, value))
    return found.values()


def _text(of: str, stuck: _Op, some: Sequence[_Op]) -> str:
    text = f"no order of the operations{of} explains {stuck.one.f} {stuck.told!r}"
    if stuck.one.f != "read" or any(stuck.old == op.new for op in some if op.writes):
        return text
    remedy = f" (if it was there at first, say --initial {stuck.told})" if type(stuck.told) is int else ""
    return f"{text}, which nobody wrote{remedy}"


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _of_keys(operations: Sequence[Operation]) -> bool:
    """Whether values are pairs of a key and a value: every write's is then; where nothing is written, those of all
    others."""
    written = [one.asked for one in operations if one.f == "write"]
    if written:
        return all(map(_pair, written))
    swaps = [one.asked for one in operations if one.f == "cas"]
    reads = [one.value for one in operations if one.f == "read" and one.ok]
    return all(_pair(value) and _pair(value[1]) for value in swaps) and all(map(_pair, reads))


@dataclass(frozen=True, slots=True)
class _Op:
    """`old`: what the register must hold before, of a read and a compare-and-set; `new`: what it holds then."""

    one: Operation
    told: Any
    old: Any
    new: Any

    @classmethod
    def of(cls, one: Operation, told: Any) -> _Op:
        if one.f == "cas":
            return cls(one, told, held(told[0]), held(told[1]))
        return cls(one, told, held(told), held(told))

    @property
    def writes(self) -> bool:
        return self.one.f != "read"


class _State(NamedTuple):
    """All operations that ended before `low`, and of those after it the bits of `beyond`, have happened; and of each
    group of indeterminate ones, which are alike, so many."""

    low: int
    beyond: int
    lost: tuple[int, ...]
    value: Any


class _Search:
    def __init__(self, operations: list[_Op], initial: Any, most: int) -> None:
        self.ops = sorted((op for op in operations if op.one.end < FOREVER), key=lambda op: op.one.begin)
        self.most, self.visited = most, 0
        # A write that nobody saw to end, and whose value nobody needs, may as well not have happened.
        needed = {op.old for op in operations if op.one.f != "write"}
        groups: dict[Any, list[_Op]] = {}
        for op in operations:
            if op.one.end == FOREVER and op.new in needed:
                groups.setdefault((op.one.f, op.old, op.new), []).append(op)
        self.lost = [sorted(group, key=lambda op: op.one.begin) for group in groups.values()]
        self.initial = _State(0, 0, (0,) * len(self.lost), initial)

    @property
    def more(self) -> int:
        """States beyond those of one order."""
        return max(self.visited - 2 * len(self.ops), 0)

    def stuck(self) -> _Op | None:
        """The operation that the longest order could not go beyond; None if an order explains all."""
        begun, seen = [self.initial], {self.initial}
        best, at = -1, None
        while begun:
            state = begun.pop()
            if state.low == len(self.ops):
                return None
            first, following = self._next(state)
            if (count := state.low + state.beyond.bit_count()) > best:
                best, at = count, self.ops[first]
            for after in following:
                if after not in seen:
                    seen.add(after)
                    begun.append(after)
            self.visited = len(seen)
            if self.visited > self.most:
                raise Undecided
        return at

    def _next(self, state: _State) -> tuple[int, list[_State]]:
        """Of the operations that are left the first one to end, and the states after those that may be next: they
        began before that. A read of what is held may always be the next."""
        found: list[int] = []
        first, until = -1, FOREVER
        for i in range(state.low, len(self.ops)):
            op = self.ops[i]
            if op.one.begin > until:
                break
            if not state.beyond >> (i - state.low) & 1:
                if not op.writes and op.old == state.value:
                    return i, [self._after(state, i)]
                found.append(i)
                if op.one.end < until:
                    first, until = i, op.one.end
        following = []
        for group, count in enumerate(state.lost):
            if count == len(self.lost[group]) or (op := self.lost[group][count]).one.begin > until:
                continue
            if op.one.f == "write" or op.old == state.value:
                lost = (*state.lost[:group], count + 1, *state.lost[group + 1 :])
                following.append(state._replace(lost=lost, value=op.new))
        # What ends first is tried first, which is last on the stack.
        for i in sorted(found, key=lambda i: -self.ops[i].one.end):
            if self.ops[i].writes and (self.ops[i].one.f == "write" or self.ops[i].old == state.value):
                following.append(self._after(state, i))
        return first, following

    def _after(self, state: _State, i: int) -> _State:
        """With one operation more, that ended."""
        low, beyond = state.low, state.beyond | 1 << (i - state.low)
        many = (~beyond & (beyond + 1)).bit_length() - 1
        return _State(low + many, beyond >> many, state.lost, self.ops[i].new)
