"""Inline commands of Redis: a line of words, as people type them, cut as the server cuts them (`sdssplitargs`)."""

from __future__ import annotations

import re

from zephyr_lab.errors import WireError

_PART = re.compile(
    rb"""(?P<plain>[^ \t\r\n\0"']+)
    | "(?P<double>(?:\\.|[^"\\])*)"
    | '(?P<single>(?:\\'|[^'])*)'
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = b" \t\r\n\v\f"
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_CONTROL = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def inline_words(line: bytes) -> list[bytes]:
    """The words of a line. Raises WireError for unbalanced quotes, or if it belongs to another protocol."""
    words: list[bytes] = []
    rest = line.lstrip(_BLANK)
    while rest:
        word, place = b"", 0
        while part := _PART.match(rest, place):
            word, place = word + _text(part), part.end()
        if rest[place : place + 1] not in (b"", b" ", b"\t", b"\r", b"\n") or not place:
            raise WireError(f"no RESP: unbalanced quotes, or a NUL, in {line[:80]!r}")
        words.append(word)
        rest = rest[place:].lstrip(_BLANK)
    if len(words) == 3 and words[0] in (b"GET", b"HEAD", b"POST") and words[2].startswith(b"HTTP/"):
        raise WireError("an HTTP client has connected to the lab's Redis socket")
    return words


def _text(part: re.Match[bytes]) -> bytes:
    """The bytes that a part of a word represents."""
    match part.lastgroup:
        case "double":
            return _ESCAPE.sub(_meant, part["double"])
        case "single":
            return part["single"].replace(b"\\'", b"'")
        case _:
            return part[0]


def _meant(escape: re.Match[bytes]) -> bytes:
    text: bytes = escape[1]
    return bytes.fromhex(text[1:].decode()) if len(text) == 3 else _CONTROL.get(text, text)
