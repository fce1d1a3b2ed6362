"""Files of histories, read piece by piece: blocks of JSON lines, which are scanned, or chunks of records."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from zephyr_lab.check.forms import by_form, edn_maps, json_array, json_of
from zephyr_lab.check.records import Record
from zephyr_lab.errors import BadInput

_File = io.BufferedReader | gzip.GzipFile
CHUNK = 2_000
BLOCK = 512 << 10  # a block that fits in the cache is read in two thirds of the time per byte of one ten times as large
LONGEST_LINE = 64 << 20
LARGEST_TEXT = 2 << 30


def chunks(path: Path) -> Iterator[list[Record] | tuple[int, bytes]]:
    """Chunks of records, or blocks of whole JSON lines with the number of the first."""
    with _opened(path) as (file, lines, head):
        if head is None:
            return
        if not _is_transaction(head[1]):
            yield from chunked(by_form(head, lines, path.name))
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


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_File, Iterator[tuple[int, bytes]], tuple[int, bytes] | None]]:
    """A file, its lines with their numbers, and the first that is not blank, which is read; None without one."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            lines = _lines(_text_file(file, path.name), path.name)
            yield file, lines, next((numbered for numbered in lines if not numbered[1].isspace()), None)
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
    with _opened(path) as (_, lines, head):
        if head is None:
            return
        everything, begins = itertools.chain([head], lines), head[1].lstrip()
        if re.match(rb"\[\s*\{\s*\"", begins):
            yield from enumerate(json_array(everything, path.name), 1)
        elif re.match(rb"\{\s*(\"|\})", begins):
            yield from ((number, json_of(line, number, path.name)) for number, line in everything if not line.isspace())
        else:
            yield from edn_maps(everything, path.name)


def chunked(records: Iterator[Record]) -> Iterator[list[Record]]:
    while chunk := list(itertools.islice(records, CHUNK)):
        yield chunk


def _is_transaction(line: bytes) -> bool:
    """Whether a line is a transaction in JSON, and not one of Jepsen's events."""
    try:
        one = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(one, dict) and "ops" in one


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


def numbered(first: int, block: bytes) -> Iterator[tuple[int, bytes]]:
    return enumerate(block.splitlines(keepends=True), first)
