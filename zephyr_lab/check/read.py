"""Reads histories: JSON lines, EDN as Jepsen and Elle write it, and the text form of PolySI, Plume and Cobra's kin.

JSON lines, one transaction a line, in the order of completion:
    {"session": 0, "type": "ok", "ops": [["append", "x", 1], ["r", "y", [2, 3]]], "t0": 4, "t1": 9}
`type` is ok, fail or info (indeterminate); `t0` and `t1`, positions of invocation and completion, may be left out or
null. An operation is `["r", key, value]`, `["append", key, value]`, `["w", key, value]`, or by predicate
(`check/predicates.py`). Jepsen's events ({:process 0, :type :invoke, :value [[:r 1 nil]]} ...) are paired by process,
in EDN or as JSON. Text: `r(key,value,session,transaction)` and `w(...)`, one per line; every transaction committed, 0
is the initial value. What `foreign` reads, dbcop's and Cobra's, is told by its beginning, and what `mapping` does has a
description of its own.

Errors raise BadInput with the line. A file that ends in `.gz` is unpacked as it is read.
"""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from zephyr_lab.check import foreign
from zephyr_lab.check.columns import Columns
from zephyr_lab.check.files import chunked, chunks, numbered
from zephyr_lab.check.forms import json_lines, of_objects
from zephyr_lab.check.history import NULL, READ, WRITE, History, Workload
from zephyr_lab.check.others import OTHERS
from zephyr_lab.check.predicate_records import predicate_history
from zephyr_lab.check.records import NeedsNames, NeedsRecords
from zephyr_lab.errors import BadInput

_ALIASES = {
    "closed-predicate": "predicate",
    "list-append+predicate": "predicate",
    "append": "list-append",
    "register": "rw-register",
}


def read(
    path: Path | str,
    workload: Workload | str | None = None,
    initial: Any = None,
    mapped: Path | str | None = None,
) -> History:
    """The history in a file, or in a folder of Cobra's. Without a workload, it is determined by the operations.

    `mapped`: a TOML file that says what the columns of a log are (see `mapping`).

    `initial` is the value of unwritten registers, besides null. Without one it is 0 in histories
    without any time in which 0 is never written, which is what Cobra, dbcop and PolySI mean by 0.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"there is no file {path}")
    if mapped is not None:
        from zephyr_lab.check import mapping

        return _read(lambda: chunked(mapping.records(path, Path(mapped))), path.name, workload, initial)
    if foreign.records(path) is not None:
        return _read(lambda: chunked(foreign.records(path) or iter(())), path.name, workload, initial)
    return _read(lambda: chunks(path), path.name, workload, initial)


def from_transactions(transactions: Iterable[dict[str, Any]], workload: Workload | str | None = None) -> History:
    """A history from transactions as JSON lines have them: `[{"session": 0, "type": "ok", "ops": [...]}, ...]`."""
    rows = list(transactions)
    return _read(lambda: chunked(of_objects(enumerate(rows, 1), "history")), "history", workload, None)


def parse(text: str) -> History:
    """A small history as printed in a report, one transaction per line: `A: r x [1 2], append y 3`, `B (fail): ...`.

    A read without a value found nothing; `w x 1` writes a register, and then reads have single values.
    """
    rows = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        match = re.match(r"\s*(\w+)\s*(?:\((ok|fail|info)\))?\s*:(.*)", line)
        if not match:
            raise BadInput(f"history, line {number}: {line.strip()!r:.60} is not `session: operation, operation`")
        ops = [_parsed(op.split(maxsplit=2), number) for op in match[3].split(",") if op.strip()]
        rows.append({"session": match[1], "type": match[2] or "ok", "ops": ops})
    return from_transactions(rows)


def _parsed(words: list[str], number: int) -> list[Any]:
    if len(words) < 2:
        raise BadInput(
            f"history, line {number}: {' '.join(words)!r} is not `r key value`, `append key value` or `w key value`"
        )
    value: Any = words[2].strip() if len(words) > 2 else None
    try:
        if value is not None:
            value = [int(one) for one in value.strip("[]").split()] if value.startswith("[") else int(value)
    except ValueError:
        raise BadInput(f"history, line {number}: {words[2]!r} is neither a number nor a list such as [1 2]") from None
    return [words[0], words[1], value]


def _read(records: Any, source: str, workload: Workload | str | None, initial: Any) -> History:
    if workload is not None:
        try:
            workload = Workload(_ALIASES.get(str(workload), str(workload)))
        except ValueError:
            known = ", ".join([*Workload, *OTHERS])
            raise BadInput(f"unknown workload {workload!r}; known are {known}") from None
    try:
        if workload is Workload.PREDICATE:
            raise NeedsRecords
        try:
            history = _fill(records, Columns(source, workload))
        except NeedsNames:
            history = _fill(records, Columns(source, workload, names=True))
    except NeedsRecords:
        every = itertools.chain.from_iterable(
            chunk if isinstance(chunk, list) else json_lines(numbered(*chunk), source) for chunk in records()
        )
        history = predicate_history(source, every)
    history = _with_initial(history, initial)
    _check_values(history)
    return history


@contextmanager
def no_collector() -> Iterator[None]:
    """Pauses the cycle collector, which would traverse millions of lists again and again, and find nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _fill(records: Any, columns: Columns) -> History:
    with no_collector():
        for chunk in records():
            if isinstance(chunk, list):
                columns.add(chunk)
            else:
                first, block = chunk
                _add_lines(first, block, columns)
    return columns.history()


def _add_lines(first: int, block: bytes, columns: Columns) -> None:
    """JSON lines, scanned or parsed at once; if that fails one by one, to report the line and the reason."""
    if columns.add_block(first, block):
        return
    text = block.rstrip()
    count = text.count(b"\n") + 1
    try:
        objects = orjson.loads(b"[" + text.replace(b"\n", b",") + b"]")
        whole = len(objects) == count and columns.add_objects(range(first, first + count), objects)
    except orjson.JSONDecodeError:
        whole = False
    if not whole:
        columns.add(list(json_lines(numbered(first, block), columns.source)))


def _with_initial(history: History, initial: Any) -> History:
    """Reads of the initial value become reads of null."""
    if history.workload is not Workload.RW_REGISTER or not len(history.kind):
        return history
    writes = history.kind == WRITE
    if initial is None:
        absent = history.values is not None or bool((history.value[writes] == 0).any())
        if absent or history.timed or (history.begin >= 0).any():
            return history
        code = 0
    elif history.values is None:
        if type(initial) is not int:
            return history
        code = initial
    elif initial in history.values:
        code = list(history.values).index(initial)
    else:
        return history
    value = history.value.copy()
    value[(history.kind == READ) & (value == code)] = NULL
    return replace(history, value=value, initial=initial if initial is not None else 0)


def _check_values(history: History) -> None:
    """Refuses two committed writes of one value to one key: a read could be from either."""
    from zephyr_lab.check.versions import duplicate_write

    if history.workload is not Workload.PREDICATE and (found := duplicate_write(history)):
        first, second, key, value = found
        raise BadInput(
            f"{history.source}, line {second}: writes {value!r} to {key!r}, which line {first} has written already; "
            "every write of a key needs a value of its own"
        )


def write(history: History, path: Path | str) -> None:
    """The history as JSON lines."""
    Path(path).write_text(history.to_lines())
