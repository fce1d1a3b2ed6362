"""A client of Redis's and its connection: passwords, transactions, scripts; what arrives in one piece is one turn."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import unquote, urlsplit

from zephyr_lab.errors import ScheduleError, WireError
from zephyr_lab.functions.stream_ids import packed, with_stream_id
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.redis_commands import Kind
from zephyr_lab.schedule.transcript import Failure, Result
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.link import Link, Owner, Traffic
from zephyr_lab.wire.resp import Command, Commands, Replies
from zephyr_lab.wire.streams import Stream


class RedisTraffic(Traffic, Protocol):
    stream_ids: int

    def knows_script(self, sha: str) -> bool:
        """Whether the server will run the script of this hash."""
        ...

    def note(self, trouble: str) -> None:
        """Keeps what went wrong with a client, to be told with what came of it."""


class RedisLink(Link):
    """One connection; the client has to know `password`, which the server behind it does not ask for."""

    wire: RedisTraffic

    def __init__(
        self, wire: RedisTraffic, client: socket.socket, session: Owner | None, password: str, url: str
    ) -> None:
        self._password: str | None = password
        self._commands, self._replies = Commands(), Replies()
        self._transaction: list[str] | None = None  # what MULTI has begun, as text
        self._writes = self._watches = self._subscribed = False
        self._owed = 0
        super().__init__(wire, client, session)
        self.server = Stream(wire.loop, connect(url), self._from_server)
        self.server.peer, self.client.peer = self.client, self.server

    @property
    def keeps_owner(self) -> bool:
        return self._transaction is not None or self._watches or self.flying is not None

    def _from_client(self, data: bytes) -> None:
        if not data:
            self.close()
            return
        try:
            commands = self._commands.feed(data)
        except WireError as error:
            self.wire.note(str(error))
            self.client.send(b"-ERR " + str(error).encode() + b"\r\n")
            self.close()
            return
        known = list(self._known(commands))
        if known and self.is_open:
            self._check_shared()
            self.ask(self._ask_of(known))

    def _check_shared(self) -> None:
        """Redis answers in the order in which a connection was asked: who has asked later cannot be let go first."""
        asker = self.wire.current
        if self.session is None and self.asked and not self.flying and asker not in (None, self.owner):
            asker.misuses(_SHARED)

    def _known(self, commands: list[Command]) -> Iterator[Command]:
        """Those that the server is to be asked, once the client has said the password."""
        for command in commands:
            words = [word.upper() for word in command.words]
            told = b""
            if command.name == "AUTH":
                told = command.words[-1]
            elif command.name == "HELLO" and b"AUTH" in words:
                place = words.index(b"AUTH")
                told = command.words[place + 2] if len(words) > place + 2 else b""
                rest = [*command.words[:place], *command.words[place + 3 :]]
                command = Command(packed(rest), tuple(rest))
            if told:
                if not hmac.compare_digest(told, (self._password or told.decode(errors="replace")).encode()):
                    self.client.send(b"-WRONGPASS this is not the password of the lab's Redis URL\r\n")
                    continue
                self._password = None
                if words[0] == b"AUTH":
                    self.client.send(b"+OK\r\n")
                    continue
            if self._password is not None and command.name != "QUIT":
                self.client.send(b"-NOAUTH the lab's Redis URL has a password\r\n")
                continue
            yield command

    def _ask_of(self, commands: list[Command]) -> Ask:
        """One question of all of them. What is in a transaction goes with its EXEC."""
        texts: list[str] = []
        private, writes, raw = True, False, bytearray()
        for command in commands:
            words = with_stream_id(list(command.words), self.wire.stream_ids)
            raw += command.raw if words == list(command.words) else packed(words)
            kind = command.kind
            within = self._transaction is not None
            self._subscribed = self._subscribed or kind is Kind.SUBSCRIBES
            match command.name:
                case "MULTI":
                    self._transaction, self._writes = ["MULTI"], False
                    continue
                case "EXEC" if self._transaction is not None:
                    texts += [*self._transaction, command.text]
                    private, writes = False, writes or self._writes
                    self._transaction, self._watches = None, False
                    continue
                case "DISCARD" | "RESET":
                    self._transaction, self._watches = None, False
                    continue
                case "UNWATCH":
                    self._watches = False
                case "WATCH":
                    self._watches, private = True, False
            if within and self._transaction is not None:
                self._transaction.append(command.text)
                self._writes = self._writes or kind is not Kind.READS
                continue
            texts.append(command.text)
            if kind is Kind.PRIVATE or self._is_unknown(command):
                continue
            private = False
            writes = writes or kind not in (Kind.READS, Kind.TRANSACTION)
        text = "redis: " + "; ".join(texts)
        blocks = any(one.kind in (Kind.BLOCKING, Kind.SUBSCRIBES) for one in commands)
        trip = RoundTrip(text, private=private, redis=RedisAccess.WRITES if writes else RedisAccess.READS)
        return Ask(bytes(raw), trip, batch=len(commands), refusal=_blocks(text) if blocks else None)

    def _is_unknown(self, command: Command) -> bool:
        """Whether the server will not know the script, so that nothing is done, and the client sends it first."""
        return command.name == "EVALSHA" and not self.wire.knows_script(command.words[1].decode(errors="replace"))

    def send(self, ask: Ask) -> None:
        self._owed = ask.batch
        super().send(ask)

    def _from_server(self, data: bytes) -> None:
        if not data:
            if self.flying:
                self.flying.trip.lost = True
            self.landed()
            self.close()
            return
        self.client.send(data)
        for reply in self._replies.feed(data):
            if reply.push or not self.flying:
                continue
            trip = self.flying.trip
            trip.results.append(Result("REDIS", ("reply",), ((reply.summary,),)))
            if reply.error:
                trip.failure = Failure("", reply.error.split()[0])
            self._owed -= 1
            if not self._owed or self._subscribed:
                self.landed()


_SHARED = ScheduleError(
    "two sessions ask Redis by one connection, which answers them in the order in which they have asked, so that only "
    "this order could be had: let the service take its Redis connections from a pool (createClientPool of node-redis, "
    "for example)"
)


def _blocks(text: str) -> ScheduleError:
    return ScheduleError(
        f"a session sent {text!r}, which waits inside Redis, where nobody can tell for whom: explore the command that "
        "does not block (LPOP for BLPOP), in a loop that sleeps"
    )


def connect(url: str) -> socket.socket:
    """A connection to the lab's Redis, authenticated. Raises OSError."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(unquote(parts.path))
    else:
        made = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), 5)
    if parts.password:
        made.sendall(packed([b"AUTH", unquote(parts.password).encode()]))
        made.recv(64)
    return made
