"""Histories with reads by predicate, inserts and deletes: few transactions, kept as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from zephyr_lab.check.history import History, Status, Transaction, Workload
from zephyr_lab.check.numbering import Numbering, plain
from zephyr_lab.check.records import STATUS, Record, check_frame, times
from zephyr_lab.errors import BadInput


def predicate_history(source: str, records: Iterable[Record]) -> History:
    """A history with predicates: few transactions, kept as records. Raises BadInput with the line."""
    kept: list[Transaction] = []
    for number, record in enumerate(records):
        where = f"{source}, line {record.line}"
        check_frame(where, record)
        ops = [["init", record.ops]] if isinstance(record.ops, dict) else record.ops
        for op in ops:
            _check_predicate_op(where, op)
        status = Status(STATUS[record.type])
        kept.append(Transaction(number, record.session, status, ops, record.begin, record.end, record.line))
    _check_one_workload(source, kept)
    n = len(kept)
    sessions = Numbering()
    empty = np.zeros(0, np.int64)
    return History(
        Workload.PREDICATE,
        np.fromiter((sessions[plain(one.session)] for one in kept), np.int32, n),
        np.fromiter((one.status for one in kept), np.int8, n),
        times([one.begin for one in kept]),
        times([one.end for one in kept]),
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
