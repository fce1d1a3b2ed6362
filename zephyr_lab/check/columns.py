"""Records of transactions, chunk by chunk, turned into the columns of a History.

The fast path assumes that a chunk is well formed; numpy and the C loops of itertools fail if it is not, and then the
chunk is checked operation by operation, to report the line and the reason.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain, compress, repeat
from operator import is_, itemgetter
from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.history import NULL, READ, WRITE, History, Workload
from zephyr_lab.check.numbering import Numbering, as_given, numbers, plain
from zephyr_lab.check.records import KINDS, LARGEST, STATUS, NeedsNames, NeedsRecords, Record, explain, times
from zephyr_lab.check.scan import Scanned, scan
from zephyr_lab.check.skeletons import Skeletons, Strange
from zephyr_lab.errors import BadInput

_MANY = 4_000_000  # operations, from which on memory counts more than the time to ask for it again
_MMAP_THRESHOLD, _MMAP_MAX = -3, -4  # of glibc's malloc.h
_FIELDS = itemgetter("session", "type", "ops")
_MALFORMED = (TypeError, ValueError, KeyError, OverflowError, AttributeError, IndexError)
_LIST, _REGISTER = Workload.LIST_APPEND, Workload.RW_REGISTER


class Columns:
    """Collects chunks; `history` completes it. `names`: values are names, to be numbered, not integers."""

    def __init__(self, source: str, workload: Workload | None, names: bool = False) -> None:
        self.source, self.workload = source, workload
        self.sessions, self.keys = Numbering(), Numbering()
        self.values = Numbering() if names else None
        self._replaced: dict[int, int] = {}
        self._operations = self._elements = 0
        self._skeletons = Skeletons()
        self._parts: list[tuple[Ints, ...]] = []

    def add(self, records: Sequence[Record]) -> None:
        """One chunk. Raises BadInput with the line, NeedsRecords, NeedsNames."""
        if not records:
            return
        try:
            self._parts.append(self._columns(*zip(*records, strict=True)))
        except _MALFORMED:
            if explain(self.source, self.workload, records) and self.values is None:
                raise NeedsNames from None
            lines = f"lines {records[0].line} to {records[-1].line}"
            raise BadInput(f"{self.source}, {lines}: cannot be read as a history") from None

    def add_objects(self, lines: Sequence[int], objects: Sequence[dict[str, Any]]) -> bool:
        """Adds one chunk of JSON objects, without a record for each; False if each must be checked."""
        try:
            sessions, types, ops = zip(*map(_FIELDS, objects), strict=True)
            begins, ends = ([one.get(name) for one in objects] for name in ("t0", "t1"))
            self._parts.append(self._columns(lines, sessions, types, ops, begins, ends))
        except (NeedsRecords, *_MALFORMED):
            return False
        return True

    def add_block(self, first: int, block: bytes) -> bool:
        """Adds a block of whole JSON lines without an object per value, the first line's number being `first`; False if
        it is not of the usual form."""
        if self.values is not None:
            return False
        try:
            found = scan(block if block.endswith(b"\n") else block + b"\n", self._skeletons)
        except Strange:
            return False
        workload = self.workload or (_LIST if found.appends or found.listed.any() else _REGISTER)
        if (found.registers if workload is _LIST else found.appends or found.listed.any()) or not (
            self.workload or found.appends or found.registers or found.listed.any()
        ):
            return False
        self.workload = workload
        self._add_scanned(first, found)
        return True

    def _add_scanned(self, first: int, found: Scanned) -> None:
        n, lists = len(found.status), self.workload is _LIST
        self._operations += len(found.kind)
        self._parts.append(
            (
                numbers(self.sessions, found.sessions),
                found.status,
                found.begin,
                found.end,
                np.arange(first, first + n),
                found.counts,
                found.kind,
                numbers(self.keys, found.keys),
                found.value,
                *self._placed(found.size if lists else np.zeros(0, np.int32), found.elements),
            )
        )

    def _placed(self, size: Ints, elements: Ints) -> tuple[Ints, Ints, Ints]:
        """Where the lists of the given sizes are among the elements of all parts, the sizes, and the elements."""
        length = np.maximum(size, 0)
        at = np.cumsum(length, dtype=np.int64)
        at -= length
        at += self._elements
        self._elements += len(elements)
        return at.astype(np.int32, copy=False) if self._elements < 1 << 31 else at, size, narrow(elements)

    def _columns(
        self,
        lines: Sequence[int],
        sessions: Sequence[Any],
        types: Sequence[Any],
        ops: Sequence[Any],
        begins: Sequence[Any],
        ends: Sequence[Any],
    ) -> tuple[Ints, ...]:
        n = len(lines)
        if not set(map(type, ops)) <= {list}:
            raise TypeError
        flat = list(chain.from_iterable(ops))
        m = len(flat)
        counts = np.fromiter(map(len, ops), np.int64, n)
        told: dict[int, Any] = {}
        if m:
            if set(map(len, flat)) != {3}:
                told = {i: op[3] for i, op in enumerate(flat) if len(op) == 4 and op[0] == "w"}
                flat = [_padded(op) for op in flat]
            kinds, keys, values = zip(*flat, strict=True)
        else:
            kinds = keys = values = ()
        kind = np.fromiter(map(KINDS.__getitem__, kinds), np.int8, m)
        self._workload(set(kinds), values)
        if self.workload is _LIST:
            value, size, elements = self._lists(kind, values)
        else:
            if any(map(is_, compress(values, kind == WRITE), repeat(None))):
                raise TypeError  # null is what was never written
            value, size, elements = self._registers(values), np.zeros(0, np.int32), np.zeros(0, np.int64)
        replaced = self._registers(told.values()).tolist()
        self._replaced.update(zip((self._operations + i for i in told), replaced, strict=True))
        self._operations += m
        return (
            self._numbered(self.sessions, sessions, n),
            np.fromiter(map(STATUS.__getitem__, types), np.int8, n),
            times(begins),
            times(ends),
            np.array(lines, np.int64),
            counts,
            kind,
            self._numbered(self.keys, keys, m),
            value,
            *self._placed(size, elements),
        )

    def _numbered(self, numbering: Numbering, names: Iterable[Any], count: int) -> Ints:
        if not set(map(type, names)) <= {int, str}:
            names = [plain(name) for name in names]
        return np.fromiter(map(numbering.__getitem__, names), np.int32, count)

    def _workload(self, kinds: set[str], values: Iterable[Any]) -> None:
        """Determines the workload by the first write, or by a list that was read."""
        if self.workload is None:
            if "append" in kinds or any(type(value) is list for value in values):
                self.workload = _LIST
            elif "w" in kinds or any(value is not None for value in values):
                self.workload = _REGISTER
        if kinds & ({"w"} if self.workload is _LIST else {"append"} if self.workload is _REGISTER else set()):
            raise TypeError

    def _lists(self, kind: Ints, values: Sequence[Any]) -> tuple[Ints, Ints, Ints]:
        reads = kind == READ
        lists = list(compress(values, reads))
        if not set(map(type, lists)) <= {list, type(None)}:
            raise TypeError
        null = np.fromiter(map(is_, lists, repeat(None)), np.bool_, len(lists))
        full = [one or () for one in lists]
        length = np.fromiter(map(len, full), np.int32, len(full))
        elements = self._integers(chain.from_iterable(full))
        value = np.full(len(values), NULL, np.int64)
        value[~reads] = self._integers(compress(values, ~reads))
        stop = np.cumsum(length, dtype=np.int64)
        last = np.full(len(full), NULL, np.int64)
        last[length > 0] = elements[stop[length > 0] - 1]
        value[reads] = last
        size = np.zeros(len(values), np.int32)
        size[reads] = np.where(null, -1, length)
        return value, size, elements

    def _registers(self, values: Iterable[Any]) -> Ints:
        values = list(values)
        null = np.fromiter(map(is_, values, repeat(None)), np.bool_, len(values))
        value = np.full(len(values), NULL, np.int64)
        value[~null] = self._integers(compress(values, ~null))
        return value

    def _integers(self, values: Iterable[Any]) -> Ints:
        if self.values is not None:
            names = [plain(value) for value in values]
            return np.fromiter(map(self.values.__getitem__, names), np.int64, len(names))
        values = list(values)
        if bool in set(map(type, values)):
            raise TypeError  # an array takes true for 1
        held = array("q", values)  # refuses floats and strings, which numpy would convert to integers
        found: Ints = np.frombuffer(held, np.int64) if len(held) else np.zeros(0, np.int64)
        if len(found) and found.min() <= -LARGEST:  # NULL is no value
            raise OverflowError
        return found

    def history(self) -> History:
        held = [list(column) for column in zip(*self._parts, strict=True)]
        self._parts.clear()
        parts = []
        for column in held:  # of ten million operations each is large: none is there twice
            parts.append(np.concatenate(column))
            column.clear()
        if self._operations > _MANY:
            _give_back()
        if not parts:
            empty = np.zeros(0, np.int64)
            parts = [empty] * 12
        session, status, begin, end, line, counts, kind, key, value, at, size, elements = parts
        workload = self.workload or _LIST
        if workload is _LIST and len(size) < len(kind):  # chunks of transactions without operations of a known kind
            missing = len(kind) - len(size)
            size = np.concatenate([np.full(missing, -1, np.int32), size])
            at = np.concatenate([np.zeros(missing, np.int32), at])
        start = np.zeros(len(session) + 1, np.int64)
        np.cumsum(counts, out=start[1:])
        return History(
            workload,
            session,
            status,
            begin,
            end,
            line,
            start,
            kind,
            key,
            value,
            at,
            size,
            elements,
            [as_given(name) for name in self.sessions],
            [as_given(name) for name in self.keys],
            None if self.values is None else [as_given(name) for name in self.values],
            self._replaced,
            source=self.source,
        )


def _give_back() -> None:
    """Has glibc give back what the blocks held, and from now on each large array when it is freed."""
    with suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 4 << 20)
        libc.mallopt(_MMAP_MAX, 1 << 16)
        libc.malloc_trim(0)


def narrow(values: Ints) -> Ints:
    """In as few bytes as hold all."""
    largest = max(int(values.max()), ~int(values.min())) if len(values) else 0
    for kind in (np.int8, np.int16, np.int32):
        if largest <= np.iinfo(kind).max:
            return values.astype(kind, copy=False)
    return values


def _padded(op: Any) -> Any:
    """Adds the null to `["r", "x"]`, Elle's read of nothing."""
    if len(op) == 2 and op[0] == "r":
        return [*op, None]
    if len(op) == 4 and op[0] == "w":
        return op[:3]
    if len(op) != 3:
        raise TypeError
    return op
