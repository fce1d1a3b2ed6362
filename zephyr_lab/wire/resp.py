"""The Redis protocol as a proxy needs it: commands and replies, cut out of bytes that come in pieces.

RESP2 and RESP3; no sockets. Every byte is looked at once, in however many pieces a value comes: a line's end is
searched for from where the last search stopped, and of a bulk string only the length is compared.
After a WireError the connection is to be closed: what is fed later is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field

from zephyr_lab.errors import WireError
from zephyr_lab.redis_commands import Kind, kind
from zephyr_lab.wire.inline import inline_words

LONGEST_BULK = 512 * 1024 * 1024  # proto-max-bulk-len
LONGEST_LINE = 64 * 1024  # PROTO_INLINE_MAX_SIZE
SHOWN = 200
"""The most characters of a text in a transcript."""

Parts = Generator[None, None, bytes]  # yields while more bytes are needed


@dataclass(frozen=True, slots=True)
class Command:
    """A client's command: its bytes as they came, and its words."""

    raw: bytes
    words: tuple[bytes, ...]

    @property
    def name(self) -> str:
        return self.words[0].decode(errors="backslashreplace").upper()

    @property
    def kind(self) -> Kind:
        return kind(self.name, *self.words[1:])

    @property
    def database(self) -> int | None:
        """The database that SELECT or RESET has the connection use, if it is answered OK; None for other commands."""
        if self.name == "RESET":
            return 0
        is_select = self.name == "SELECT" and len(self.words) == 2 and self.words[1].isdigit()
        return int(self.words[1]) if is_select else None

    @property
    def text(self) -> str:
        """Its words in one line, abridged, without passwords."""
        parts: list[str] = []
        for word in self.words:
            if sum(map(len, parts)) > SHOWN:
                break
            parts.append(_shown(word) or '""')
        secret = 1 if self.name == "AUTH" else self._after_auth()
        return _abridged(" ".join([*parts[:secret], "***"] if secret else parts))

    def _after_auth(self) -> int:
        """The positions of the user name and password of a HELLO."""
        words = [word.upper() for word in self.words[:8]] if self.name == "HELLO" else []
        return words.index(b"AUTH") + 1 if b"AUTH" in words else 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's reply: its bytes, its text if it is an error, or '', and a summary in one line.

    A `push` of RESP3 answers no command.
    """

    raw: bytes
    push: bool
    error: str
    summary: str


class _Received:
    """Bytes that have arrived; `message` returns those read since its last call."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = self._at = self._searched = 0

    def add(self, data: bytes) -> None:
        del self._data[: self._start]
        self._at, self._searched = self._at - self._start, self._searched - self._start
        self._start = 0
        self._data += data

    def first(self) -> Parts:
        """The next byte, without reading it."""
        while self._at == len(self._data):
            yield
        return bytes(self._data[self._at : self._at + 1])

    def line(self, end: bytes = b"\r\n", longest: int = LONGEST_BULK) -> Parts:
        """A line without its end."""
        while (found := self._data.find(end, max(self._at, self._searched))) < 0:
            self._searched = max(self._at, len(self._data) - len(end) + 1)
            if len(self._data) - self._at > longest:
                raise WireError(f"no RESP: a line of more than {longest} bytes")
            yield
        line, self._at = bytes(self._data[self._at : found]), found + len(end)
        return line

    def block(self, length: int) -> Parts:
        """So many bytes; the end of line after them is read, and not returned."""
        end = self._at + length
        while len(self._data) < end + 2:
            yield
            end = self._at + length  # `add` has moved what was there
        if self._data[end : end + 2] != b"\r\n":
            raise WireError(f"no RESP: a bulk string of {length} bytes goes on behind its end")
        block, self._at = bytes(self._data[self._at : end]), end + 2
        return block

    def message(self) -> bytes:
        message, self._start = bytes(self._data[self._start : self._at]), self._at
        return message


class Commands:
    """A client's stream."""

    def __init__(self) -> None:
        self._received = _Received()
        self._parser = self._parse()

    def feed(self, data: bytes) -> list[Command]:
        """The commands that are complete now. Raises WireError."""
        self._received.add(data)
        return list(iter(lambda: next(self._parser, None), None))

    def _parse(self) -> Generator[Command | None, None, None]:
        while True:
            first = yield from self._received.first()
            if first == b"*":
                words = yield from self._array()
            else:
                _refuse_other_protocols(first)
                line = yield from self._received.line(b"\n", LONGEST_LINE)
                words = inline_words(line)
            raw = self._received.message()
            if words:  # an empty line or array is no command, and is not answered
                yield Command(raw, tuple(words))

    def _array(self) -> Generator[None, None, list[bytes]]:
        header = yield from self._received.line(longest=LONGEST_LINE)
        words = []
        for _ in range(_number(header[1:], "the length of an array", 2**31 - 1)):
            header = yield from self._received.line(longest=LONGEST_LINE)
            if header[:1] != b"$" or header[1:2] == b"-":
                raise WireError(f"no RESP: a command's word begins with {_shown(header[:20])!r} in place of $LENGTH")
            length = _number(header[1:], "the length of a bulk string", LONGEST_BULK)
            words.append((yield from self._received.block(length)))
        return words


class Replies:
    """A server's stream."""

    def __init__(self) -> None:
        self._received = _Received()
        self._parser = self._parse()

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that are complete now. Raises WireError."""
        self._received.add(data)
        return list(iter(lambda: next(self._parser, None), None))

    def _parse(self) -> Generator[Reply | None, None, None]:
        while True:
            mark, summary = yield from self._value()
            error = summary if mark in (b"-", b"!") else ""
            summary = f"(error) {summary}" if error else summary
            yield Reply(self._received.message(), mark == b">", error, _abridged(summary))

    def _value(self) -> Generator[None, None, tuple[bytes, str]]:
        """The type byte and the text of a value; aggregates may be nested to any depth."""
        open_: list[_Aggregate] = []
        while True:
            line = yield from self._received.line()
            mark, rest = line[:1], line[1:]
            if mark in _BRACKETS and rest != b"-1":
                if mark == b">" and open_:
                    raise WireError("no RESP: a push message inside of another reply")
                size = _number(rest, "the length of an aggregate", 2**31 - 1)
                open_.append(_Aggregate(mark, size * 2 if mark in b"%|" else size))
            else:
                text = yield from self._scalar(mark, rest)
                if not open_:
                    return mark, text
                open_[-1].add(f"(error) {text}" if mark in b"-!" else text)
            while open_ and not open_[-1].missing:
                ended = open_.pop()
                if ended.mark == b"|":
                    break  # attributes belong to the value that follows
                if not open_:
                    return ended.mark, ended.text()
                open_[-1].add(ended.text())

    def _scalar(self, mark: bytes, rest: bytes) -> Generator[None, None, str]:
        if mark in (b"$", b"!", b"=") and rest != b"-1":
            block = yield from self._received.block(_number(rest, "the length of a bulk string", LONGEST_BULK))
            return _shown(block[4:] if mark == b"=" else block)
        if mark in (b"$", b"*", b"_"):
            return "nil"
        form = _FORMS.get(mark)
        if form is None or not form.fullmatch(rest):
            raise WireError(f"no RESP: a reply that begins with {_shown(mark + rest[:20])!r}")
        return {b"#t": "true", b"#f": "false"}.get(mark + rest) or _shown(rest)


_BRACKETS = {b"*": ("[", "]"), b"~": ("{", "}"), b"%": ("{", "}"), b">": ("[", "]"), b"|": ("{", "}")}
_FORMS = {
    b"+": re.compile(rb"[^\r\n]*"), b"-": re.compile(rb"[^\r\n]*"), b":": re.compile(rb"[+-]?\d+"),
    b"#": re.compile(rb"[tf]"), b"(": re.compile(rb"[+-]?\d+"),
    b",": re.compile(rb"[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|inf|nan)"),
}  # fmt: skip


@dataclass
class _Aggregate:
    """An array, set, map, push message or attributes, with the number of values still to come."""

    mark: bytes
    missing: int
    _texts: list[str] = field(default_factory=list)
    _width: int = 0

    def add(self, text: str) -> None:
        self.missing -= 1
        if self._width <= SHOWN:
            self._texts.append(text)
            self._width += len(text)

    def text(self) -> str:
        before, after = _BRACKETS[self.mark]
        texts = self._texts
        if self.mark == b"%":
            texts = [": ".join(texts[place : place + 2]) for place in range(0, len(texts), 2)]
        return _abridged(f"{before}{', '.join(texts)}{after}")


def _refuse_other_protocols(first: bytes) -> None:
    if first == b"\x16":  # a TLS record of the handshake
        raise WireError("the lab's Redis socket speaks no TLS; use redis:// instead of rediss://")
    if first == b"\0":
        raise WireError("a PostgreSQL client has connected to the lab's Redis socket: swap the two addresses")
    if not (first.isalnum() or first in b" \t\r\n\"'_"):
        raise WireError(f"no RESP: a command that begins with {first!r}")


def _number(digits: bytes, what: str, most: int) -> int:
    """A length; -1, which represents a null array, is returned as 0."""
    if digits[:1] == b"?":
        raise WireError("a streamed value of RESP3 (length ?): no Redis or Valkey sends one, and the lab reads none")
    if digits == b"-1":
        return 0
    if not re.fullmatch(rb"\d{1,10}", digits) or int(digits) > most:
        raise WireError(f"no RESP: {what} is {_shown(digits[:20])!r}")
    return int(digits)


def _shown(data: bytes) -> str:
    """As text, escaped where it is not UTF-8 or not printable; a long one is cut beyond what is shown."""
    text = data[: 4 * SHOWN + 4].decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _abridged(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
