"""Values of PostgreSQL's as a transcript holds them, and as SQL has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from psycopg import adapt, pq
from psycopg.postgres import types

from zephyr_lab.schedule.transcript import Value
from zephyr_lab.sql.tokens import UnclearSQL, tokens

_INTEGERS = frozenset({20, 21, 23, 26})  # int8, int2, int4, oid


def as_text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def decoded(raw: bytes, oid: int, binary: int) -> Value:
    """A value for the transcript: integers and booleans as such, anything else as text."""
    if not binary:
        return int(raw) if oid in _INTEGERS else raw == b"t" if oid == 16 else as_text(raw)
    if oid == 16:
        return raw != b"\0"
    if oid in _INTEGERS:
        return int.from_bytes(raw, signed=oid != 26)
    try:
        value = _loader(oid)(raw)
    except Exception:  # a user-defined type: psycopg has no binary form of it
        return f"\\x{raw.hex()}"
    return value if isinstance(value, bool | int) else f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


@cache
def _loader(oid: int) -> Any:
    return adapt.Transformer().get_loader(oid, pq.Format.BINARY).load


def literal(raw: bytes | None, oid: int, binary: int) -> str:
    """A parameter as an SQL literal."""
    if raw is None:
        return "NULL"
    if binary and not (oid and types.get(oid)):
        return f"'\\x{raw.hex()}'"
    value = decoded(raw, oid, binary)
    if isinstance(value, bool | int):
        return str(value).lower()
    return "'" + str(value).replace("'", "''") + "'"


def filled(sql: str, values: Sequence[str]) -> str:
    """The statement with its parameters in place of $1, $2, ..., but not within quotes or comments."""
    if not values:
        return sql
    told, place = [], 0
    for start, end, number in _parameters(sql):
        if 0 < number <= len(values):
            told += [sql[place:start], values[number - 1]]
            place = end
    return "".join([*told, sql[place:]])


def _parameters(sql: str) -> list[tuple[int, int, int]]:
    """The positions of $1, $2, ...: begin, end, number."""
    try:
        found = tokens(sql)
    except UnclearSQL:
        return []
    return [
        (sign.start, number.end, int(number.text))
        for sign, number in pairwise(found)
        if sign.text == "$" and sign.end == number.start and number.kind == "number" and number.text.isdigit()
    ]
