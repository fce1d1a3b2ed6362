"""A history: what transactions read and wrote, as columns, so that a million operations are a few arrays.

Three workloads. *list-append*: a write appends a unique value to a list, a read returns the whole list, so that a read
tells the order of the writes before it (Kingsbury and Alvaro, "Elle", VLDB 2020). *rw-register*: a write sets a unique
value, a read returns one. *predicate*: registers with inserts, deletes and reads by predicate; few, and kept as they
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.codes import Codes

NULL = np.iinfo(np.int64).min
"""The value of a read that found nothing."""
UNKNOWN = -1
"""An unrecorded time."""


class Workload(StrEnum):
    LIST_APPEND = "list-append"
    RW_REGISTER = "rw-register"
    PREDICATE = "predicate"


class Status(IntEnum):
    """How a transaction ended: committed, aborted, or indeterminate (the connection died at COMMIT)."""

    OK = 0
    FAIL = 1
    INFO = 2


READ, WRITE = 0, 1


@dataclass(frozen=True)
class Transaction:
    """One transaction for display: `ops` are `[kind, key, value]` as in the file, `line` is its line there."""

    number: int
    session: Any
    status: Status
    ops: Sequence[Sequence[Any]]
    begin: int | None
    end: int | None
    line: int

    @property
    def name(self) -> str:
        return name(self.number)

    def text(self, width: int = 0) -> str:
        """`append x 3, r y [1 2]`; cut to `width` characters if that is not 0."""
        said = ", ".join(_op_text(op) for op in self.ops) or "nothing"
        return said if not width or len(said) <= width else said[: width - 3].rstrip() + "..."

    def to_dict(self) -> dict[str, Any]:
        return {
            "transaction": self.number,
            "line": self.line,
            "session": self.session,
            "type": self.status.name.lower(),
            "ops": [list(op) for op in self.ops],
            "t0": self.begin,
            "t1": self.end,
        }


def name(number: int) -> str:
    """T1 is the first transaction of a file, and in a file of JSON lines that on line 1."""
    return f"T{number + 1}"


def _op_text(op: Sequence[Any]) -> str:
    kind, *rest = op[:3]
    return " ".join([{"r": "r", "rp": "r where"}.get(kind, str(kind)), *(value_text(one) for one in rest)])


def value_text(value: Any) -> str:
    """A value in words: null, `[1 2 3]` (the middle of a long list left out), or itself."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        shown = [value_text(one) for one in value]
        if len(shown) > 8:
            shown = [*shown[:2], "...", *shown[-4:]]
        return "[" + " ".join(shown) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_text(one)}" for key, one in value.items()) + "}"
    return str(value)


@dataclass(frozen=True)
class History:
    """Transactions in the order of the file; n of them with m operations.

    `session`, `status`, `begin`, `end`, `line`: length n; sessions are numbered, names in `sessions`. `start`: length
    n+1, where each transaction's operations begin. `kind`, `key`, `value`: length m; a value is an integer of the
    file, or the number of a name in `values`; a read of a list has its last element, or NULL. `at`, `size`: where a
    read's list is in `elements`, and how long it is; -1 for null. `replaced`: of writes whose server told it, the value
    that they replaced, by operation; a file has it as a fourth part, ["w", "x", 2, 1]. `records`
    holds the transactions of a predicate history, which has no columns of operations.
    """

    workload: Workload
    session: Ints
    status: Ints
    begin: Ints
    end: Ints
    line: Ints
    start: Ints
    kind: Ints
    key: Ints
    value: Ints
    at: Ints
    size: Ints
    elements: Ints
    sessions: Sequence[Any]
    keys: Sequence[Any]
    values: Sequence[Any] | None = None
    replaced: Mapping[int, int] = field(default_factory=dict)
    records: Sequence[Transaction] = ()
    initial: Any = None
    source: str = ""
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.session)

    @property
    def operations(self) -> int:
        return sum(len(one.ops) for one in self.records) if self.records else len(self.kind)

    @cached_property
    def owner(self) -> Ints:
        """The transaction of each operation."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.start))

    @cached_property
    def codes(self) -> Codes:
        """A number for every version."""
        values = [self.elements, self.value]
        if self.replaced:
            values.append(np.array(list(self.replaced.values()), np.int64))
        return Codes(len(self.keys), values)

    @property
    def told_order(self) -> bool:
        """Whether the replaced values of the writes leave no order of versions open: from each key's initial state on,
        every version but the last is replaced by one other."""
        if not self.replaced:
            return False
        owner = self.status[self.owner]
        written = {
            (int(self.key[op]), int(self.value[op]))
            for op in np.flatnonzero((self.kind == WRITE) & (owner != Status.FAIL))
        }
        told = {(int(self.key[op]), value) for op, value in self.replaced.items() if owner[op] != Status.FAIL}
        firsts = {key for key, value in told if value == NULL}
        return (
            len(told) == len(written)
            and len(firsts) == len({key for key, _ in written})
            and all(value == NULL or (key, value) in written for key, value in told)
        )

    @property
    def timed(self) -> bool:
        """Whether any transaction has times."""
        return bool((self.end >= 0).any())

    def named(self, value: int) -> Any:
        """A value as in the file."""
        if value == NULL:
            return None
        return int(value) if self.values is None else self.values[int(value)]

    def key_of(self, op: int) -> Any:
        """The key of an operation as in the file."""
        return self.keys[self.key[op]]

    def value_of(self, op: int) -> Any:
        """What an operation wrote or read, as in the file."""
        return self.named(self.value[op])

    def transaction(self, number: int) -> Transaction:
        if self.records:
            return self.records[number]
        first, last = int(self.start[number]), int(self.start[number + 1])
        begin, end = int(self.begin[number]), int(self.end[number])
        return Transaction(
            int(number),
            self.sessions[self.session[number]],
            Status(int(self.status[number])),
            [self.op(i) for i in range(first, last)],
            None if begin < 0 else begin,
            None if end < 0 else end,
            int(self.line[number]),
        )

    def op(self, i: int) -> list[Any]:
        """One operation as in the file."""
        key = self.keys[self.key[i]]
        if self.kind[i] == WRITE:
            kind = "append" if self.workload is Workload.LIST_APPEND else "w"
            told = [self.named(self.replaced[i])] if i in self.replaced else []
            return [kind, key, self.named(self.value[i]), *told]
        if self.workload is Workload.LIST_APPEND:
            return ["r", key, self.list_of(i)]
        return ["r", key, self.named(self.value[i])]

    def list_of(self, i: int) -> list[Any] | None:
        """The list that a read returned."""
        if self.size[i] < 0:
            return None
        return [self.named(one) for one in self.elements[self.at[i] : self.at[i] + self.size[i]]]

    def transactions(self) -> list[Transaction]:
        return [self.transaction(number) for number in range(len(self))]

    def to_lines(self) -> str:
        """The history as JSON lines, which `read` takes."""
        import json

        lines = []
        for one in self.transactions():
            said = one.to_dict()
            lines.append(json.dumps({name: said[name] for name in ("session", "type", "ops", "t0", "t1")}))
        return "".join(line + "\n" for line in lines)
