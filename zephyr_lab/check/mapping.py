"""A service's own log as a history: a row for each operation, in CSV or JSON lines, by what one TOML file says.

transaction = "txid"            # the column, or in JSON a path such as "span.txid", which tells transactions apart
session = "connection"          # and sessions
kind = "op"                     # what was done
key = ["table", "id"]           # one column or several
value = "val"                   # what was read or written
version = "xmin"                # instead of a value: which version was read or written, as the database numbers it
begin = "began"                 # optional: when the transaction began and ended, as numbers or ISO 8601; where its
end = "ended"                   # rows have several, the first and the last count
status = "outcome"              # optional; without it, a row whose kind is a word for ok or fail ends its transaction
delimiter = ","                 # of CSV

[words]                         # what the log calls these; all of them may be left out
r = ["select", "read", "r"]
w = ["insert", "update", "write", "w"]
append = ["append"]
ok = ["commit", "ok"]
fail = ["rollback", "fail"]
info = ["timeout", "info"]

Rows whose kind is none of the words are refused, unless it is in `ignore = ["ping"]`. A transaction of which no row
tells an end is indeterminate, where any end is told in the log; else all of them are committed.
"""

from __future__ import annotations

import csv
import gzip
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO, cast

import orjson

from zephyr_lab.check.records import LARGEST, Record
from zephyr_lab.errors import BadInput

NEEDED = ("transaction", "session", "kind", "key")
OPTIONAL = ("value", "version", "begin", "end", "status", "delimiter", "ignore", "words")
WORDS = {
    "r": ("select", "read", "r"),
    "w": ("insert", "update", "write", "w"),
    "append": ("append",),
    "ok": ("commit", "ok"),
    "fail": ("rollback", "fail"),
    "info": ("timeout", "info"),
}
_ENDS = ("ok", "fail", "info")
_MICROSECONDS = 1_000_000
_UNITS = "{where}: some times are numbers, others dates, or dates with a zone; write them alike, to be compared"


@dataclass
class _Transaction:
    line: int
    session: Any
    ops: list[Any] = field(default_factory=list)
    status: str = ""
    over: bool = False
    begin: Decimal | datetime | None = None
    end: Decimal | datetime | None = None


def records(path: Path, mapping: Path) -> Iterator[Record]:
    """The transactions of a log, in the order of their last rows. Raises BadInput with the line."""
    told = _description(mapping)
    words = {word: kind for kind, some in {**WORDS, **told.get("words", {})}.items() for word in some}
    found: dict[Any, _Transaction] = {}
    for line, row in _rows(path, told.get("delimiter", ",")):
        where = f"{path.name}, line {line}"
        name = _at(row, told["transaction"], where)
        one = found.pop(name, None) or _Transaction(line, _at(row, told["session"], where))
        found[name] = one  # the latest last
        _add(one, row, told, words, where)
    ended = any(one.status for one in found.values())
    whole = _whole_numbers(
        path.name, [time for one in found.values() for time in (one.begin, one.end) if time is not None]
    )
    for one in found.values():
        begin, end = (None if time is None else whole(time) for time in (one.begin, one.end))
        yield Record(one.line, one.session, one.status or ("info" if ended else "ok"), one.ops, begin, end)


def _add(one: _Transaction, row: Mapping[str, Any], told: dict[str, Any], words: dict[str, str], where: str) -> None:
    if one.session != _at(row, told["session"], where):
        raise BadInput(f"{where}: the transaction is of session {one.session} on line {one.line}, and of another here")
    if "status" in told and (said := _at(row, told["status"], where)) not in (None, ""):
        if words.get(str(said).lower()) not in _ENDS:
            raise BadInput(f"{where}: status {said!r:.40}; name it in [words], under ok, fail or info")
        _end(one, words[str(said).lower()], where)
    _stretch(one, row, told, where)
    said = str(_at(row, told["kind"], where)).lower()
    kind = words.get(said)
    if kind in _ENDS:
        _end(one, kind, where)
        one.over = True
    elif kind is not None:
        if one.over:
            raise BadInput(
                f"{where}: the transaction has ended before; sort the log, or name a column that tells two apart"
            )
        key = told["key"]
        names = [_at(row, each, where) for each in (key if isinstance(key, list) else [key])]
        value = _number(_at(row, told["version" if "version" in told else "value"], where))
        op = [kind, names[0] if len(names) == 1 else "/".join(map(_part, names)), value]
        # A transaction that writes a row twice makes one version of it.
        if not ("version" in told and kind == "w" and op in one.ops):
            one.ops.append(op)
    elif said not in told.get("ignore", ()):
        raise BadInput(f"{where}: {said!r:.40} is no kind of operation; name it in [words] or in ignore")


def _stretch(one: _Transaction, row: Mapping[str, Any], told: dict[str, Any], where: str) -> None:
    """From the first time of its rows to the last."""
    for name, which in (("begin", min), ("end", max)):
        if name in told and (time := _time(_at(row, told[name], where), where)) is not None:
            before = getattr(one, name)
            if before is not None and _unit(before) != _unit(time):
                raise BadInput(_UNITS.format(where=where))
            setattr(one, name, time if before is None else which(before, time))


def _end(one: _Transaction, status: str, where: str) -> None:
    if one.status not in ("", status):
        raise BadInput(f"{where}: the transaction ends as {status}, and on an earlier line as {one.status}")
    one.status = status


def _description(path: Path) -> dict[str, Any]:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name}: not TOML: {error}") from None
    except OSError as error:
        raise BadInput(f"there is no mapping {path}: {error.strerror}") from None
    _check(path.name, told)
    return told


def _check(name_of_file: str, told: dict[str, Any]) -> None:
    """Raises BadInput for what a description lacks, or has amiss."""
    if unknown := sorted(told.keys() - {*NEEDED, *OPTIONAL}):
        raise BadInput(f"{name_of_file}: unknown {', '.join(unknown)}; known are {', '.join((*NEEDED, *OPTIONAL))}")
    missing = [name for name in NEEDED if name not in told]
    if "value" not in told and "version" not in told:
        missing.append("value or version")
    if missing:
        raise BadInput(f"{name_of_file}: says nothing of {', '.join(missing)}")
    _check_values(name_of_file, told)


def _check_values(name_of_file: str, told: dict[str, Any]) -> None:
    words = told.get("words", {})
    if not isinstance(words, dict) or words.keys() - WORDS.keys() or not all(map(_are_words, words.values())):
        raise BadInput(f"{name_of_file}: [words] has lists of words, named {', '.join(WORDS)}")
    for name in (*NEEDED, *OPTIONAL[:-2]):
        if name in told and not (isinstance(told[name], str) or (name == "key" and _are_words(told[name]))):
            raise BadInput(f"{name_of_file}: {name} is {told[name]!r:.40}; it is the name of a column")
    if not _are_words(told.get("ignore", [])) or len(told.get("delimiter", ",")) != 1:
        raise BadInput(f"{name_of_file}: ignore is a list of words, and delimiter one character")


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows with their lines: JSON lines if the first begins with a brace, else CSV with a head."""
    try:
        with _opened(path) as file:
            first = file.readline(1 << 20)
            file.seek(0)
            if not first.lstrip().startswith("{"):
                yield from _csv(path, csv.DictReader(file, delimiter=delimiter, strict=True))
                return
            for line, text in enumerate(file, 1):
                if not text.isspace():
                    try:
                        row = orjson.loads(text)
                    except orjson.JSONDecodeError as error:
                        raise BadInput(f"{path.name}, line {line}: not JSON: {error}") from None
                    if not isinstance(row, dict):
                        raise BadInput(f"{path.name}, line {line}: {text[:40]!r} is not an object")
                    yield line, row
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name}: not UTF-8 at byte {error.start}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path.name}: cannot be unpacked: {error}") from None


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", newline="", encoding="utf-8-sig"))
    return path.open(newline="", encoding="utf-8-sig")


def _part(name: Any) -> str:
    """A part of a key, in which a slash is none between parts."""
    return str(name).replace("\\", "\\\\").replace("/", "\\/")


def _csv(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadInput(f"{path.name}, line {reader.line_num}: has another number of columns than its head")
            yield reader.line_num, row
    except csv.Error as error:
        raise BadInput(f"{path.name}, line {reader.line_num}: not CSV: {error}") from None


def _at(row: Mapping[str, Any], name: str, where: str) -> Any:
    """What a column has, or in JSON what is at a path; numbers in CSV are texts, and stay so as names."""
    if name in row:
        return row[name]
    held: Any = row
    for part in name.split("."):
        if not isinstance(held, dict) or part not in held:
            raise BadInput(f"{where}: has no {name!r}; it has {', '.join(map(str, row))[:200]}")
        held = held[part]
    return held


def _number(value: Any) -> Any:
    """A value as it is, or an integer in text; nothing, and in CSV an empty text, is null."""
    if isinstance(value, str):
        plain = value.strip().lower()
        if plain in ("", "null", "none"):
            return None
        if plain.startswith("[") and plain.endswith("]"):
            return [_number(one) for one in plain[1:-1].replace(",", " ").split()]
        return int(plain) if plain.removeprefix("-").isascii() and plain.removeprefix("-").isdecimal() else value
    return value


def _time(value: Any, where: str) -> Decimal | datetime | None:
    if value is None or value == "":
        return None
    text = str(value).strip()
    with suppress(InvalidOperation):
        if (number := Decimal(text)).is_finite() and not isinstance(value, bool):
            return number
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{where}: {value!r:.40} is no time; one is a number, or ISO 8601") from None


def _unit(time: Decimal | datetime) -> str:
    return "number" if isinstance(time, Decimal) else "date" if time.tzinfo is None else "date with a zone"


def _whole_numbers(source: str, times: list[Decimal | datetime]) -> Callable[[Decimal | datetime], int]:
    """Numbers as they are, in millionths if any is a fraction; dates in microseconds since 1970, of UTC if no zone is
    given. Raises BadInput where they cannot be compared."""
    if len({_unit(time) for time in times}) > 1:
        raise BadInput(_UNITS.format(where=source))
    scale = 1 if all(isinstance(time, Decimal) and time == int(time) for time in times) else _MICROSECONDS
    if any(isinstance(time, Decimal) and abs(time) * scale > LARGEST for time in times):
        raise BadInput(f"{source}: a time is too large for 64 bits, in millionths if any has a fraction")

    def whole(time: Decimal | datetime) -> int:
        if isinstance(time, datetime):
            since = time - datetime(1970, 1, 1, tzinfo=time.tzinfo and UTC)
            return (since.days * 86_400 + since.seconds) * _MICROSECONDS + since.microseconds
        return round(time * scale)

    return whole
