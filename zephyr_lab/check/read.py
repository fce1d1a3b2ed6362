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

import codecs
import gc
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from zephyr_lab.check import edn, foreign, mapping
from zephyr_lab.check.columns import STATUS, Columns, NeedsNames, NeedsRecords, Record, predicate_history
from zephyr_lab.check.history import NULL, READ, WRITE, History, Workload
from zephyr_lab.check.others import OTHERS, advice
from zephyr_lab.errors import BadInput

_File = io.BufferedReader | gzip.GzipFile
CHUNK = 2_000
BLOCK = 512 << 10  # a block that fits in the cache is read in two thirds of the time per byte of one ten times as large
_ALIASES = {
    "closed-predicate": "predicate",
    "list-append+predicate": "predicate",
    "append": "list-append",
    "register": "rw-register",
}
LONGEST_LINE = 64 << 20
LARGEST_TEXT = 2 << 30
_TEXT = re.compile(rb"\s*([rw])\(\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*\)\s*\Z")


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
        return _read(lambda: _chunked(mapping.records(path, Path(mapped))), path.name, workload, initial)
    if foreign.records(path) is not None:
        return _read(lambda: _chunked(foreign.records(path) or iter(())), path.name, workload, initial)
    return _read(lambda: _chunks(path), path.name, workload, initial)


def from_transactions(transactions: Iterable[dict[str, Any]], workload: Workload | str | None = None) -> History:
    """A history from transactions as JSON lines have them: `[{"session": 0, "type": "ok", "ops": [...]}, ...]`."""
    rows = list(transactions)
    return _read(lambda: _chunked(_of_objects(enumerate(rows, 1), "history")), "history", workload, None)


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
            chunk if isinstance(chunk, list) else _json_lines(_numbered(*chunk), source) for chunk in records()
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
        chunks = records()
        for chunk in chunks:
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
        columns.add(list(_json_lines(_numbered(first, block), columns.source)))


def _numbered(first: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    return enumerate(block.splitlines(keepends=True), first)


def _chunks(path: Path) -> Iterator[list[Record] | tuple[int, bytes]]:
    """Chunks of records, or blocks of whole JSON lines with the number of the first."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            lines = _lines(_text_file(file, path.name), path.name)
            head = next((numbered for numbered in lines if not numbered[1].isspace()), None)
            if head is None:
                return
            if not _is_transaction(head[1]):
                yield from _chunked(_by_form(head, lines, path.name))
                return
            number, block = head
            while block:
                yield number, block
                number += block.count(b"\n")
                block = file.read(BLOCK)
                if b"\0" in block:
                    number += block[: block.index(b"\0")].count(b"\n")
                    raise BadInput(f"{path.name}, line {number}: has a byte that is 0: it is no text")
                if block and not block.endswith(b"\n"):
                    block += file.readline(LONGEST_LINE)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInput(f"{path.name}: cannot be unpacked: {error}") from None


def _text_file(file: _File, source: str) -> _File:
    """The file from its first character on. Raises BadInput early, since a file without a newline is read whole."""
    begins = file.peek(BLOCK)[:BLOCK]
    if begins.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    if begins.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadInput(f"{source}: is UTF-16; a history is UTF-8")
    if b"\0" in begins:
        raise BadInput(f"{source}: has a byte that is 0: it is no text")
    return file


def events_of(path: Path) -> Iterator[tuple[int, Any]]:
    """The objects of a file of events, JSON or EDN, each with its line. Raises BadInput."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            lines = _lines(_text_file(file, path.name), path.name)
            head = next((numbered for numbered in lines if not numbered[1].isspace()), None)
            if head is None:
                return
            everything, begins = itertools.chain([head], lines), head[1].lstrip()
            if re.match(rb"\[\s*\{\s*\"", begins):
                yield from enumerate(_json_array(everything, path.name), 1)
            elif re.match(rb"\{\s*(\"|\})", begins):
                yield from (
                    (number, _json(line, number, path.name)) for number, line in everything if not line.isspace()
                )
            else:
                yield from _edn_maps(everything, path.name)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInput(f"{path.name}: cannot be unpacked: {error}") from None


def _chunked(records: Iterator[Record]) -> Iterator[list[Record]]:
    while chunk := list(itertools.islice(records, CHUNK)):
        yield chunk


def _is_transaction(line: bytes) -> bool:
    """Whether a line is a transaction in JSON, and not one of Jepsen's events."""
    try:
        one = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(one, dict) and "ops" in one


def _by_form(head: tuple[int, bytes], lines: Iterator[tuple[int, bytes]], source: str) -> Iterator[Record]:
    """Records, by the form of the first line."""
    everything = itertools.chain([head], lines)
    begins = head[1].lstrip()
    if _TEXT.match(head[1]):
        return _text(everything, source)
    if re.match(rb"\[\s*\{\s*\"", begins):
        return _of_objects(enumerate(_json_array(everything, source), 1), source)
    if re.match(rb"\{\s*(\"|\})", begins):
        return _json_lines(everything, source)
    if begins[:1] in (b"{", b"[", b"(", b"#", b";"):
        return _events(_edn_maps(everything, source), source)
    raise BadInput(f"{source}, line {head[0]}: {begins[:40]!r} begins no history: neither JSON, EDN, nor r(k,v,s,t)")


def _lines(file: _File, source: str) -> Iterator[tuple[int, bytes]]:
    for number in itertools.count(1):
        line = file.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            # One EDN vector of a whole history is a line, too; it is read as a text of its own.
            whole = line.lstrip()[:1] in (b"[", b"(", b"#") and b"\0" not in line
            rest = file.read(LARGEST_TEXT) if whole else b""
            if not whole or len(rest) >= LARGEST_TEXT:
                raise BadInput(f"{source}, line {number}: longer than {LONGEST_LINE >> 20} MiB")
            line += rest
        yield number, line


def _json_lines(lines: Iterable[tuple[int, bytes]], source: str) -> Iterator[Record]:
    return _of_objects(((number, _json(line, number, source)) for number, line in lines if not line.isspace()), source)


def _json(line: bytes, number: int, source: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        cut = " (the line is cut off?)" if not line.endswith(b"\n") else ""
        raise BadInput(f"{source}, line {number}: not JSON: {error}{cut}") from None


def _json_array(lines: Iterable[tuple[int, bytes]], source: str) -> list[Any]:
    try:
        array: list[Any] = orjson.loads(b"".join(line for _, line in lines))
        return array
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{source}, line {error.lineno}: not JSON: {error}") from None


def _of_objects(objects: Iterable[tuple[int, Any]], source: str) -> Iterator[Record]:
    """Transactions or Jepsen's events, as the first object is."""
    objects = iter(objects)
    first = next(objects, None)
    if first is None:
        return iter(())
    everything = itertools.chain([first], objects)
    if isinstance(first[1], dict) and "ops" not in first[1] and {"value", "f"} & first[1].keys():
        return _events(everything, source)
    return _transactions(everything, source)


def _transactions(objects: Iterable[tuple[int, Any]], source: str) -> Iterator[Record]:
    for number, one in objects:
        try:
            yield Record(number, one["session"], one["type"], one["ops"], one.get("t0"), one.get("t1"))
        except (KeyError, TypeError, AttributeError, IndexError):
            if not isinstance(one, dict):
                raise BadInput(f"{source}, line {number}: {one!r:.40} is not an object") from None
            missing = ", ".join(name for name in ("session", "type", "ops") if name not in one)
            raise BadInput(f"{source}, line {number}: a transaction without {missing}") from None


def _edn_maps(lines: Iterable[tuple[int, bytes]], source: str) -> Iterator[tuple[int, Any]]:
    first, parts = 0, []
    for number, line in lines:
        first = first or number
        parts.append(line)
    try:
        text = "\n" * (first - 1) + b"".join(parts).decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{source}: not UTF-8 at byte {error.start}") from None
    for begun, form in edn.forms(text, source):
        for one in form if isinstance(form, list) else [form]:
            if not isinstance(one, dict):
                raise BadInput(f"{source}, line {begun}: {one!r:.40} is not a map")
            yield begun, one


def _events(events: Iterable[tuple[int, Any]], source: str) -> Iterator[Record]:
    """Pairs invocations with completions; positions among the events are the times."""
    open_: dict[Any, tuple[int, int, Any]] = {}
    found, others, kinds = 0, set[str](), set[str]()
    for position, (line, event) in enumerate(events):
        if not isinstance(event, dict) or "type" not in event:
            raise BadInput(f"{source}, line {line}: {event!r:.60} is not an event with a type")
        process, kind, value = event.get("process", 0), event["type"], event.get("value")
        if not isinstance(process, int):
            continue  # the nemesis
        if event.get("f") not in (None, "txn", "init"):
            others.add(f"{event['f']!s:.20}")
            kinds |= {type(value).__name__} if event["type"] == "ok" and event["f"] == "read" else set()
            continue
        found += 1
        if kind == "invoke":
            if process in open_:
                raise BadInput(
                    f"{source}, line {line}: process {process} invokes again before its invocation of line "
                    f"{open_[process][1]} has ended"
                )
            open_[process] = (position, line, value)
            continue
        if not isinstance(kind, str) or kind not in STATUS:
            raise BadInput(f"{source}, line {line}: type {kind!r:.40} of an event; it is invoke, ok, fail or info")
        begun, _, asked = open_.pop(process, (None, 0, None))
        done = asked if value is None and kind != "ok" else value
        yield Record(line, process, kind, done if done is not None else [], begun, position if kind != "info" else None)
    for process, (begun, line, asked) in open_.items():
        yield Record(line, process, "info", asked if asked is not None else [], begun, None)
    if others and not found:
        said = ", ".join(sorted(others))
        raise BadInput(f"{source}: no transactions, but operations called {said}: {advice(others, kinds)}")


def _text(lines: Iterable[tuple[int, bytes]], source: str) -> Iterator[Record]:
    """Transactions in the order of their first operation; session order is the order of lines."""
    transactions: dict[tuple[int, int], tuple[int, list[Any]]] = {}
    for number, line in lines:
        if line.isspace():
            continue
        match = _TEXT.match(line)
        if not match:
            raise BadInput(f"{source}, line {number}: {line[:40]!r} is not r(key,value,session,transaction) or w(...)")
        key, value, session, transaction = map(int, match.groups()[1:])
        ops = transactions.setdefault((session, transaction), (number, []))[1]
        ops.append([match[1].decode(), key, value])
    for (session, _), (number, ops) in transactions.items():
        yield Record(number, session, "ok", ops, None, None)


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
