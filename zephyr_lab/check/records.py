"""A transaction from a reader, before its types are checked, and what is wrong with one, with its line."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.history import READ, UNKNOWN, WRITE, Workload
from zephyr_lab.errors import BadInput

STATUS = {"ok": 0, "fail": 1, "info": 2}
KINDS = {"r": READ, "append": WRITE, "w": WRITE}
PREDICATES = frozenset({"rp", "insert", "delete"})
LARGEST = 2**62
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


def times(times: Sequence[Any]) -> Ints:
    if None in times:
        times = [UNKNOWN if time is None else time for time in times]
    held = array("q")
    held.extend(times)
    column = np.frombuffer(held, np.int64)
    if len(column) and (column < UNKNOWN).any():
        raise ValueError
    return column


def check_frame(where: str, record: Record) -> None:
    """Raises BadInput if a record's type, times or list of operations are invalid."""
    if not isinstance(record.type, str) or record.type not in STATUS:
        raise BadInput(f"{where}: type {record.type!r:.40} of a transaction; it is ok, fail or info")
    for name, time in (("t0", record.begin), ("t1", record.end)):
        if time is not None and (type(time) is not int or not 0 <= time < LARGEST):
            raise BadInput(f"{where}: {name} is {time!r:.40}; it is a number from 0, or null")
    if not isinstance(record.ops, list | dict):
        raise BadInput(f'{where}: ops is {record.ops!r:.60}; it is a list of operations such as ["r", "x", 1]')


def explain(source: str, workload: Workload | None, records: Sequence[Record]) -> bool:
    """Whether a chunk that cannot be read as columns only has values that are no integers; raises BadInput for its
    first error, NeedsRecords where it has predicates."""
    names = False
    if workload is None:
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
        workload = _LIST if "append" in kinds or lists else _REGISTER if "w" in kinds else None
    for record in records:
        where = f"{source}, line {record.line}"
        names = _explain_record(where, record, workload) or names
    return names


def _explain_record(where: str, record: Record, workload: Workload | None) -> bool:
    check_frame(where, record)
    if isinstance(record.ops, dict):
        raise NeedsRecords
    names = [_explain_op(where, op, workload) for op in record.ops]  # all of them, even if the first ones raise
    return any(names)


def _explain_op(where: str, op: Any, workload: Workload | None) -> bool:
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
    if (kind == "append" and workload is _REGISTER) or (kind == "w" and workload is _LIST):
        raise BadInput(f"{where}: operation {kind!r} in a history of {workload}")
    lists = kind == "r" and workload is _LIST
    if lists and not isinstance(value, list | None):
        raise BadInput(f"{where}: a read of a list gave {value!r:.40}; it gives a list, or null")
    if kind != "r" and value is None:
        raise BadInput(f"{where}: {op!r:.60} writes null, which means never written")
    if isinstance(value, list) and not lists:
        raise BadInput(f"{where}: {value!r:.40} as the value of {kind!r} in a history of {workload or 'registers'}")
    values = value if lists and value is not None else [value]
    if any(isinstance(one, list | dict) for one in [*values, replaced]):
        raise BadInput(f"{where}: {value!r:.60} as a value; a value is an integer or a string")
    values = [one for one in [*values, replaced] if one is not None]
    return any(type(one) is not int or not -LARGEST < one < LARGEST for one in values)
