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
from typing import Any, NamedTuple

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.history import NULL, READ, UNKNOWN, WRITE, History, Status, Transaction, Workload
from zephyr_lab.check.scan import Scanned, Skeletons, Strange, scan
from zephyr_lab.errors import BadInput

STATUS = {"ok": 0, "fail": 1, "info": 2}
KINDS = {"r": READ, "append": WRITE, "w": WRITE}
PREDICATES = frozenset({"rp", "insert", "delete"})
LARGEST = 2**62
_MANY = 4_000_000  # operations, from which on memory counts more than the time to ask for it again
_FIELDS = itemgetter("session", "type", "ops")
_MALFORMED = (TypeError, ValueError, KeyError, OverflowError, AttributeError, IndexError)
_LIST, _REGISTER = Workload.LIST_APPEND, Workload.RW_REGISTER


class Record(NamedTuple):
    """A transaction from a reader, before its types are checked."""

    line: int
    session: Any
    type: Any
    ops: Any
    begin: Any
    end: Any


class NeedsRecords(Exception):
    """The history has reads by predicate, inserts or deletes: no columns."""


class NeedsNames(Exception):
    """The history has values that are not integers and must be numbered."""


class _Numbering(dict[Any, int]):
    """Numbers keys from 0 in the order of first access. True and 1.0 are not 1."""

    def __missing__(self, name: Any) -> int:
        self[name] = number = len(self)
        return number


def _plain(name: Any) -> Any:
    """A hashable name that is unequal to values of other types."""
    return name if type(name) in (int, str) else (type(name).__name__, repr(name))


class Columns:
    """Collects chunks; `history` completes it. `names`: values are names, to be numbered, not integers."""

    def __init__(self, source: str, workload: Workload | None, names: bool = False) -> None:
        self.source, self.workload = source, workload
        self.sessions, self.keys = _Numbering(), _Numbering()
        self.values = _Numbering() if names else None
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
            self._explain(records)

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
                _numbers(self.sessions, found.sessions),
                found.status,
                found.begin,
                found.end,
                np.arange(first, first + n),
                found.counts,
                found.kind,
                _numbers(self.keys, found.keys),
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
            _times(begins),
            _times(ends),
            np.array(lines, np.int64),
            counts,
            kind,
            self._numbered(self.keys, keys, m),
            value,
            *self._placed(size, elements),
        )

    def _numbered(self, numbering: _Numbering, names: Iterable[Any], count: int) -> Ints:
        if not set(map(type, names)) <= {int, str}:
            names = [_plain(name) for name in names]
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
            names = [_plain(value) for value in values]
            return np.fromiter(map(self.values.__getitem__, names), np.int64, len(names))
        held = array("q", list(values))  # refuses floats and strings, which numpy would convert to integers
        found: Ints = np.frombuffer(held, np.int64) if len(held) else np.zeros(0, np.int64)
        if len(found) and found.min() <= -LARGEST:  # NULL is no value
            raise OverflowError
        return found

    def _explain(self, records: Sequence[Record]) -> None:
        """Raises BadInput for the chunk's first error."""
        names = False
        if self.workload is None:
            kinds = {
                op[0]
                for one in records
                if isinstance(one.ops, list)
                for op in one.ops
                if isinstance(op, list) and op and isinstance(op[0], str)
            }
            lists = any(
                isinstance(op[2], list)
                for one in records
                if isinstance(one.ops, list)
                for op in one.ops
                if isinstance(op, list) and len(op) > 2
            )
            self.workload = _LIST if "append" in kinds or lists else _REGISTER if "w" in kinds else None
        for record in records:
            where = f"{self.source}, line {record.line}"
            names = self._explain_record(where, record) or names
        if names and self.values is None:
            raise NeedsNames
        raise BadInput(f"{self.source}, lines {records[0].line} to {records[-1].line}: cannot be read as a history")

    def _explain_record(self, where: str, record: Record) -> bool:
        _check_frame(where, record)
        if isinstance(record.ops, dict):
            raise NeedsRecords
        names = [self._explain_op(where, op) for op in record.ops]  # all of them, even if the first ones raise
        return any(names)

    def _explain_op(self, where: str, op: Any) -> bool:
        """Whether the operation has values that are no integers."""
        if not isinstance(op, list) or not op or not isinstance(op[0], str):
            raise BadInput(f'{where}: {op!r:.60} is no operation; one is ["r", "x", 1] or ["append", "x", 1]')
        kind, rest = op[0], op[1:]
        if kind in PREDICATES:
            raise NeedsRecords
        if kind not in KINDS:
            known = ", ".join([*KINDS, *sorted(PREDICATES)])
            raise BadInput(f"{where}: unknown operation {kind!r:.40}; known are {known}")
        if kind == "r" and len(rest) == 1:
            rest = [*rest, None]
        replaced = rest.pop() if kind == "w" and len(rest) == 3 else None
        if len(rest) != 2:
            raise BadInput(f"{where}: operation {op!r:.60} has {len(op)} parts; it has 3: kind, key, value")
        key, value = rest
        if key is None or isinstance(key, dict | float):
            raise BadInput(f"{where}: {key!r:.40} as a key; a key is a name or an integer")
        if (kind == "append" and self.workload is _REGISTER) or (kind == "w" and self.workload is _LIST):
            raise BadInput(f"{where}: operation {kind!r} in a history of {self.workload}")
        lists = kind == "r" and self.workload is _LIST
        if lists and not isinstance(value, list | None):
            raise BadInput(f"{where}: a read of a list gave {value!r:.40}; it gives a list, or null")
        if kind != "r" and value is None:
            raise BadInput(f"{where}: {op!r:.60} writes null, which means never written")
        if isinstance(value, list) and not lists:
            raise BadInput(
                f"{where}: {value!r:.40} as the value of {kind!r} in a history of {self.workload or 'registers'}"
            )
        values = value if lists and value else [value]
        if any(isinstance(one, list | dict) for one in [*values, replaced]):
            raise BadInput(f"{where}: {value!r:.60} as a value; a value is an integer or a string")
        values = [one for one in [*values, replaced] if one is not None]
        return any(type(one) is not int or not -LARGEST < one < LARGEST for one in values)

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
            [_told(name) for name in self.sessions],
            [_told(name) for name in self.keys],
            None if self.values is None else [_told(name) for name in self.values],
            self._replaced,
            source=self.source,
        )


def _give_back() -> None:
    """Has glibc give back what the blocks held, which else is kept, and of no use for larger arrays."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def narrow(values: Ints) -> Ints:
    """In as few bytes as hold all."""
    largest = max(int(values.max()), ~int(values.min())) if len(values) else 0
    for kind in (np.int8, np.int16, np.int32):
        if largest <= np.iinfo(kind).max:
            return values.astype(kind, copy=False)
    return values


def _numbers(numbering: _Numbering, names: Ints | list[bytes]) -> Ints:
    """Numbers in the order of first occurrence, as one after another would get them."""
    if isinstance(names, list):
        number = {name: numbering[name.decode()] for name in dict.fromkeys(names)}
        return np.fromiter(map(number.__getitem__, names), np.int32, len(names))
    if not len(names):
        return np.zeros(0, np.int32)
    low, span = int(names.min()), int(names.max()) - int(names.min()) + 1
    different: Ints
    place: Ints
    if span > 8 * len(names) + 1_000:
        different, place = np.unique(names, return_inverse=True)
    else:
        different, place = np.arange(low, low + span), names - low
    first = np.full(len(different), len(names), np.int64)
    first[place[::-1]] = np.arange(len(names) - 1, -1, -1)
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(names))]
    table = np.zeros(len(different), np.int32)
    table[order] = [numbering[name] for name in different[order].tolist()]
    return table[place]


def _padded(op: Any) -> Any:
    """Adds the null to `["r", "x"]`, Elle's read of nothing."""
    if len(op) == 2 and op[0] == "r":
        return [*op, None]
    if len(op) == 4 and op[0] == "w":
        return op[:3]
    if len(op) != 3:
        raise TypeError
    return op


def _told(name: Any) -> Any:
    return name if not isinstance(name, tuple) else name[1]


def _times(times: Sequence[Any]) -> Ints:
    if None in times:
        times = [UNKNOWN if time is None else time for time in times]
    held = array("q")
    held.extend(times)
    column = np.frombuffer(held, np.int64)
    if len(column) and (column < UNKNOWN).any():
        raise ValueError
    return column


def predicate_history(source: str, records: Iterable[Record]) -> History:
    """A history with predicates: few transactions, kept as records. Raises BadInput with the line."""
    kept: list[Transaction] = []
    for number, record in enumerate(records):
        where = f"{source}, line {record.line}"
        _check_frame(where, record)
        ops = [["init", record.ops]] if isinstance(record.ops, dict) else record.ops
        for op in ops:
            _check_predicate_op(where, op)
        status = Status(STATUS[record.type])
        kept.append(Transaction(number, record.session, status, ops, record.begin, record.end, record.line))
    _check_one_workload(source, kept)
    n = len(kept)
    sessions = _Numbering()
    empty = np.zeros(0, np.int64)
    return History(
        Workload.PREDICATE,
        np.fromiter((sessions[_plain(one.session)] for one in kept), np.int32, n),
        np.fromiter((one.status for one in kept), np.int8, n),
        _times([one.begin for one in kept]),
        _times([one.end for one in kept]),
        np.fromiter((one.line for one in kept), np.int64, n),
        np.zeros(n + 1, np.int64),
        empty,
        empty,
        empty,
        empty,
        empty,
        empty,
        list(sessions),
        [],
        None,
        {},
        kept,
        source=source,
    )


def _check_one_workload(source: str, transactions: Sequence[Transaction]) -> None:
    """Raises BadInput if lists and registers are mixed: the versions of either are inferred in another way."""
    lists = any(op[0] == "append" for one in transactions for op in one.ops)
    for one in transactions if lists else ():
        for op in one.ops:
            if op[0] in ("w", "insert", "delete", "init") or (op[0] == "r" and not isinstance(op[2], list | None)):
                raise BadInput(f"{source}, line {one.line}: operation {op!r:.60} in a history of lists with predicates")
            if (
                op[0] == "rp"
                and isinstance(op[2], dict)
                and not all(isinstance(v, list | None) for v in op[2].values())
            ):
                raise BadInput(f"{source}, line {one.line}: {op!r:.60} gave no lists, in a history of lists")


def _check_frame(where: str, record: Record) -> None:
    """Raises BadInput if a record's type, times or list of operations are invalid."""
    if not isinstance(record.type, str) or record.type not in STATUS:
        raise BadInput(f"{where}: type {record.type!r:.40} of a transaction; it is ok, fail or info")
    for name, time in (("t0", record.begin), ("t1", record.end)):
        if time is not None and (type(time) is not int or not 0 <= time < LARGEST):
            raise BadInput(f"{where}: {name} is {time!r:.40}; it is a number from 0, or null")
    if not isinstance(record.ops, list | dict):
        raise BadInput(f'{where}: ops is {record.ops!r:.60}; it is a list of operations such as ["r", "x", 1]')


def _check_predicate_op(where: str, op: Any) -> None:
    parts = {"r": 3, "w": 3, "append": 3, "insert": 3, "delete": (2, 3), "rp": 3, "init": 2}
    if not isinstance(op, list) or not op or not isinstance(op[0], str) or op[0] not in parts:
        raise BadInput(f"{where}: {op!r:.60} is no operation; known are {', '.join(parts)}")
    allowed = parts[op[0]]
    if len(op) not in (allowed if isinstance(allowed, tuple) else (allowed,)):
        raise BadInput(f"{where}: operation {op!r:.60} has {len(op)} parts")
    if op[0] not in ("rp", "init") and not isinstance(op[1], str | int):
        raise BadInput(f"{where}: {op[1]!r:.40} as a key; a key is a name or an integer")
    if op[0] == "rp" and not isinstance(op[2], dict | list | None):
        raise BadInput(f"{where}: a read by predicate gave {op[2]!r:.40}; it gives keys with their values")
    _check_predicate_values(where, op)


def _check_predicate_values(where: str, op: Any) -> None:
    if op[0] == "init" and (odd := [one for one in op[1].values() if isinstance(one, list | dict | None)]):
        raise BadInput(f"{where}: {odd[0]!r:.40} as an initial value; a value is an integer or a string")
    if op[0] == "rp" and isinstance(op[2], dict) and not all(map(_is_value_or_list, op[2].values())):
        raise BadInput(f"{where}: a read by predicate gave {op[2]!r:.60}; it gives keys with their values")
    if op[0] in ("w", "append", "insert") and isinstance(op[2], list | dict | None):
        raise BadInput(f"{where}: {op!r:.60} writes {op[2]!r:.40}; a value is an integer or a string")
    if op[0] == "r" and (
        isinstance(op[2], dict) or (isinstance(op[2], list) and any(isinstance(one, list | dict) for one in op[2]))
    ):
        raise BadInput(f"{where}: a read gave {op[2]!r:.40}; it gives a value, a list of values, or null")


def _is_value_or_list(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return not any(isinstance(one, list | dict) for one in values)
