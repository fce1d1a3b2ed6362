"""The forms of histories: JSON lines, Jepsen's events in EDN and JSON, and the text form of PolySI, Plume and Cobra."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Set
from typing import Any, NoReturn

import orjson

from zephyr_lab.check import edn
from zephyr_lab.check.others import advice, client
from zephyr_lab.check.records import STATUS, Record
from zephyr_lab.errors import BadInput

_TEXT = re.compile(rb"\s*([rw])\(\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*,\s*(-?\d{1,18})\s*\)\s*\Z")


def by_form(head: tuple[int, bytes], lines: Iterator[tuple[int, bytes]], source: str) -> Iterator[Record]:
    """Records, by the form of the first line."""
    everything = itertools.chain([head], lines)
    begins = head[1].lstrip()
    if _TEXT.match(head[1]):
        return _text(everything, source)
    if re.match(rb"\[\s*\{\s*\"", begins):
        return of_objects(enumerate(json_array(everything, source), 1), source)
    if re.match(rb"\{\s*(\"|\})", begins):
        return json_lines(everything, source)
    if begins[:1] in (b"{", b"[", b"(", b"#", b";"):
        return _events(edn_maps(everything, source), source)
    raise BadInput(f"{source}, line {head[0]}: {begins[:40]!r} begins no history: neither JSON, EDN, nor r(k,v,s,t)")


def json_lines(lines: Iterable[tuple[int, bytes]], source: str) -> Iterator[Record]:
    return of_objects(((number, json_of(line, number, source)) for number, line in lines if not line.isspace()), source)


def json_of(line: bytes, number: int, source: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        cut = " (the line is cut off?)" if not line.endswith(b"\n") else ""
        raise BadInput(f"{source}, line {number}: not JSON: {error}{cut}") from None


def json_array(lines: Iterable[tuple[int, bytes]], source: str) -> list[Any]:
    try:
        array: list[Any] = orjson.loads(b"".join(line for _, line in lines))
        return array
    except orjson.JSONDecodeError as error:
        raise BadInput(f"{source}, line {error.lineno}: not JSON: {error}") from None


def of_objects(objects: Iterable[tuple[int, Any]], source: str) -> Iterator[Record]:
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


def edn_maps(lines: Iterable[tuple[int, bytes]], source: str) -> Iterator[tuple[int, Any]]:
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
        process, kind, value = client(event, f"{source}, line {line}"), event["type"], event.get("value")
        if process is None:
            continue
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
    if others:
        _refuse(source, others, kinds, beside=found > 0)


def _refuse(source: str, others: Set[str], kinds: Set[str], beside: bool) -> NoReturn:
    said = f"operations called {', '.join(sorted(others))}"
    if beside:
        raise BadInput(f"{source}: {said} beside transactions: they would be passed over; leave them out")
    raise BadInput(f"{source}: no transactions, but {said}: {advice(others, kinds)}")


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
