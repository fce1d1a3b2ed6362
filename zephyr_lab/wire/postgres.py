"""PostgreSQL's protocol as a proxy needs it: a client's messages in batches, and when each has been answered.

Version 3 (PostgreSQL's manual, "Frontend/Backend Protocol"). No sockets: bytes in, values out.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from zephyr_lab.schedule.transcript import Failure, Result, Value
from zephyr_lab.sql.classify import Kind, classify, is_local
from zephyr_lab.wire.values import as_text, decoded, filled, literal

SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
ROWS_KEPT, BYTES_KEPT = 1_000, 1_000_000  # rows of an answer that the transcript keeps; the client gets all of them
FUNCTION_CALL = "function call "  # of a function that is known by its number only
_ENDS = b"QSHFcf"
_TAGS = {b"I"[0]: "EMPTY", b"s"[0]: "SELECT"}  # of an empty query, and of a portal with more rows to come
_OWED = {b"P"[0]: 1, b"B"[0]: 1, b"E"[0]: 1, b"C"[0]: 1}


class Messages:
    """Typed messages of one direction. Payloads of the types in `skipped` are passed over without being kept."""

    def __init__(self, skipped: bytes = b"") -> None:
        self._buffer = bytearray()
        self._skipped, self._left = skipped, 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """The messages that are complete: type, payload and raw bytes; of a skipped one only the type."""
        if self._left:
            passed = min(self._left, len(data))
            self._left -= passed
            data = data[passed:]
        self._buffer += data
        place = 0
        try:
            while len(self._buffer) >= place + 5:
                kind = self._buffer[place]
                end = place + 1 + int.from_bytes(self._buffer[place + 1 : place + 5])
                if end < place + 5:
                    raise ValueError("a message shorter than its own length")
                if kind in self._skipped:
                    yield kind, b"", b""
                    self._left = max(0, end - len(self._buffer))
                    place = min(end, len(self._buffer))
                    continue
                if len(self._buffer) < end:
                    break
                whole = bytes(self._buffer[place:end])
                place = end
                yield kind, whole[5:], whole
        finally:
            del self._buffer[:place]

    def skip(self, skipped: bytes) -> None:
        """From now on, passes over messages of these types."""
        self._skipped = skipped


Fields = Sequence[tuple[str, int, int]]  # of rows: name, type, whether it is binary


@dataclass(frozen=True)
class Portal:
    """A prepared statement with its parameters in `sql`, without them in `pattern`. `formats` are those of its columns:
    one for each, or one for all, or none for text."""

    sql: str = ""
    pattern: str = ""
    statement: str = ""
    formats: tuple[int, ...] = ()

    def fields(self, described: Fields) -> list[tuple[str, int, int]]:
        """Its columns, by those of its statement."""
        formats = self.formats if len(self.formats) == len(described) else (self.formats or (0,))[:1] * len(described)
        return [(name, oid, binary) for (name, oid, _), binary in zip(described, formats, strict=True)]


@dataclass
class Batch:
    """What a client sends before it waits: `statements` are executed; `sql` is them with their parameters filled in.

    `prepares`: it executes nothing, and only parses or describes statements. `owed` is the number of messages that
    answer it if it ends with Flush, else 0: then ReadyForQuery ends the answer. `pattern` is `sql` without parameters.
    `texts` are all SQL in it, executed or not, and `portals` what is executed by the extended protocol.
    """

    raw: bytes
    statements: tuple[str, ...] = ()
    prepares: bool = False
    owed: int = 0
    described: tuple[str, ...] = ()
    pattern: str = ""
    texts: tuple[str, ...] = ()
    portals: tuple[Portal, ...] = ()

    @property
    def sql(self) -> str:
        return "; ".join(one.rstrip("; \n") for one in self.statements)

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing, as an empty query does, or Sync alone."""
        return all(not classify(one) for one in self.statements)

    @property
    def is_local(self) -> bool:
        """Whether no other session can notice when it is executed."""
        return self.is_empty or is_local(self.sql)

    @property
    def only_ends(self) -> bool:
        """Whether it only ends a transaction, which without one does nothing."""
        kinds = [one.kind for sql in self.statements for one in classify(sql)]
        return bool(kinds) and all(one in (Kind.COMMIT, Kind.ROLLBACK) for one in kinds)


class Frontend:
    """A client's stream, cut into batches."""

    def __init__(self) -> None:
        self._messages = Messages()
        self._prepared: dict[str, tuple[str, list[int]]] = {}
        self._portals: dict[str, Portal] = {}
        self._columns: dict[str, Fields] = {}  # of prepared statements that return rows
        self.is_terminated = False
        self._clear()

    def _clear(self) -> None:
        self._raw, self._owed = bytearray(), 0
        self._statements: list[str] = []
        self._patterns: list[str] = []
        self._parsed: list[str] = []
        self._described: list[str] = []
        self._texts: list[str] = []
        self._executed: list[Portal] = []

    def feed(self, data: bytes) -> Iterator[Batch]:
        """The batches that are complete. Raises ValueError for bytes that are not a message of this protocol."""
        for kind, payload, whole in self._messages.feed(data):
            if kind == b"X"[0]:
                self.is_terminated = True
                return
            self._raw += whole
            self._note(kind, payload)
            if kind in _ENDS and (kind != b"H"[0] or self._owed):  # Flush alone has no answer
                owed = self._owed if kind == b"H"[0] else 0
                statements = self._statements or self._parsed
                batch = Batch(
                    bytes(self._raw), tuple(statements), not self._statements and bool(self._parsed or self._described),
                    owed, tuple(self._described), "; ".join(self._patterns or statements), tuple(self._texts),
                    tuple(self._executed),
                )  # fmt: skip
                self._clear()
                yield batch

    def _note(self, kind: int, payload: bytes) -> None:
        self._owed += _OWED.get(kind, 0)
        match bytes([kind]):
            case b"Q":
                self._statements.append(as_text(payload.rstrip(b"\0")))
                self._texts.append(self._statements[-1])
            case b"P":
                name, sql, rest = payload.split(b"\0", 2)
                oids = list(struct.unpack(f"!{len(rest[2:]) // 4}I", rest[2:])) if len(rest) > 2 else []
                self._prepared[as_text(name)] = as_text(sql), oids
                self._columns.pop(as_text(name), None)
                self._parsed.append(as_text(sql))
                self._texts.append(as_text(sql))
            case b"B":
                self._bind(payload)
            case b"E":
                executed = self._portals.get(as_text(payload.split(b"\0", 1)[0]), Portal())
                self._executed.append(executed)
                self._statements.append(executed.sql)
                self._patterns.append(executed.pattern)
            case b"D":
                is_statement = payload[:1] == b"S"
                self._owed += 2 if is_statement else 1
                if is_statement:
                    self._described.append(as_text(payload[1:].rstrip(b"\0")))
            case b"F":
                self._statements.append(f"{FUNCTION_CALL}{int.from_bytes(payload[:4])}")
                self._texts.append(self._statements[-1])

    def _bind(self, payload: bytes) -> None:
        portal, name, rest = payload.split(b"\0", 2)
        sql, oids = self._prepared.get(as_text(name), ("", []))
        numbers = int.from_bytes(rest[:2])
        formats = struct.unpack(f"!{numbers}h", rest[2 : 2 + 2 * numbers])
        place = 2 + 2 * numbers
        count = int.from_bytes(rest[place : place + 2])
        place += 2
        values: list[str] = []
        for number in range(count):
            length = int.from_bytes(rest[place : place + 4], signed=True)
            place += 4
            raw = None if length < 0 else rest[place : place + length]
            place += max(length, 0)
            binary = formats[number if len(formats) > 1 else 0] if formats else 0
            values.append(literal(raw, oids[number] if number < len(oids) else 0, binary))
        numbers = int.from_bytes(rest[place : place + 2])
        wanted = struct.unpack(f"!{numbers}h", rest[place + 2 : place + 2 + 2 * numbers])
        self._portals[as_text(portal)] = Portal(filled(sql, values), sql, as_text(name), wanted)

    def typed(self, name: str, oids: Sequence[int]) -> None:
        """Takes the types of a prepared statement's parameters, as the server reports them."""
        if name in self._prepared:
            self._prepared[name] = self._prepared[name][0], list(oids)

    def returns(self, name: str, columns: Fields) -> None:
        """The server has described the rows of a prepared statement."""
        self._columns[name] = columns

    def columns(self, portal: Portal) -> list[tuple[str, int, int]]:
        """Those of what is executed, as far as its statement has been described."""
        return portal.fields(self._columns.get(portal.statement, ()))


@dataclass
class Answer:
    """The server's answer to one batch, as far as it has arrived."""

    results: list[Result] = field(default_factory=list)
    failure: Failure | None = None
    message: str = ""
    is_done: bool = False


class Backend:
    """The server's stream of one connection. `status` is that of ReadyForQuery: I, T or E.

    It reports parameters' types to `frontend`. `copying`: the server waits for data of a COPY.
    """

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self._messages = Messages(skipped=b"d")
        self.status = b"I"
        self.copying = False
        self.answer = Answer(is_done=True)
        self._owed = 0
        self._described: deque[str] = deque()
        self._describes: str | None = None  # the prepared statement whose rows are described next
        self._executed: deque[Portal] = deque()

    def expect(self, batch: Batch) -> None:
        self.answer, self._owed = Answer(), batch.owed
        self._described, self._describes = deque(batch.described), None
        self._executed = deque(batch.portals)
        self._fields: list[tuple[str, int, int]] = []
        self._rows: list[tuple[Value, ...]] = []
        self._size = 0
        self._messages.skip(b"d")

    def feed(self, data: bytes) -> None:
        for kind, payload, _ in self._messages.feed(data):
            match bytes([kind]):
                case b"Z":
                    self.status, self.copying, self.answer.is_done = payload[:1], False, True
                case b"G":
                    self.copying = True
                case b"E":
                    self._fail(payload)
                case b"T":
                    self._note_columns(list(_fields(payload)))
                    self._note_owed()
                case b"t":
                    oids = struct.unpack(f"!{len(payload[2:]) // 4}I", payload[2:])
                    if self._described:
                        self._describes = self._described.popleft()
                        self._frontend.typed(self._describes, oids)
                    self._note_owed()
                case b"D":
                    self._row(payload)
                case b"C" | b"s" | b"I":
                    self._end(_TAGS.get(kind) or as_text(payload.rstrip(b"\0")))
                    self._note_owed()
                case b"1" | b"2" | b"3" | b"n":
                    self._describes = None if kind == b"n"[0] else self._describes
                    self._note_owed()

    def _note_columns(self, columns: list[tuple[str, int, int]]) -> None:
        """Of a prepared statement, in whose description their formats are missing, or of what is executed now."""
        if self._describes is None:
            self._fields = columns
        else:
            self._frontend.returns(self._describes, columns)
            self._describes = None

    def _know_columns(self) -> None:
        """A driver that has a prepared statement's description does not ask for it again."""
        if self._executed and not self._fields:
            self._fields = self._frontend.columns(self._executed[0])

    def _end(self, tag: str) -> None:
        """A statement has ended."""
        self._know_columns()
        self.answer.results.append(Result(tag, tuple(name for name, _, _ in self._fields), tuple(self._rows)))
        self._fields, self._rows, self._size = [], [], 0
        self._messages.skip(b"d")
        if self._executed:
            self._executed.popleft()

    def _note_owed(self) -> None:
        if self._owed:
            self._owed -= 1
            self.answer.is_done = self.answer.is_done or not self._owed

    def _fail(self, payload: bytes) -> None:
        fields = {one[:1]: as_text(one[1:]) for one in payload.split(b"\0") if one}
        raised = fields.get(b"M", "") if fields.get(b"C", "").startswith("P0") else ""
        self.answer.failure = Failure(fields.get(b"C", ""), fields.get(b"n", ""), raised, fields.get(b"F", ""))
        self.answer.message = fields.get(b"M", "")
        self.answer.is_done = self.answer.is_done or bool(self._owed)
        self._owed = 0

    def _row(self, payload: bytes) -> None:
        self._know_columns()
        values, place = [], 2
        for _, oid, binary in self._fields:
            length = int.from_bytes(payload[place : place + 4], signed=True)
            place += 4
            values.append(None if length < 0 else decoded(payload[place : place + length], oid, binary))
            place += max(length, 0)
        self._rows.append(tuple(values))
        self._size += len(payload)
        if len(self._rows) >= ROWS_KEPT or self._size > BYTES_KEPT:
            self._messages.skip(b"dD")


def _fields(payload: bytes) -> Iterator[tuple[str, int, int]]:
    """The columns of a RowDescription: name, type, format."""
    place = 2
    for _ in range(int.from_bytes(payload[:2])):
        end = payload.index(b"\0", place)
        _, _, oid, _, _, binary = struct.unpack("!IhIhih", payload[end + 1 : end + 19])
        yield as_text(payload[place:end]), oid, binary
        place = end + 19
