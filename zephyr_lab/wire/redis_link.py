"""A client of Redis and its connection: passwords, transactions, scripts. Commands that arrive at once are one turn."""

from __future__ import annotations

import hmac
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote, urlsplit

from zephyr_lab.errors import ScheduleError, WireError
from zephyr_lab.functions.stream_ids import packed, with_stream_id
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.redis_commands import Kind
from zephyr_lab.schedule.transcript import Failure, Result
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.link import Link, Owner, Traffic
from zephyr_lab.wire.resp import Command, Commands, Replies, Reply
from zephyr_lab.wire.streams import Stream


class RedisTraffic(Traffic, Protocol):
    stream_ids: int

    def knows_script(self, sha: str) -> bool:
        """Whether the server will run the script of this hash."""
        ...

    def note(self, trouble: str) -> None:
        """Keeps an error that a client was sent, for the report."""


class RedisLink(Link):
    """One connection; the client has to know `password`, which the server behind it does not ask for."""

    is_held = False  # no session waits inside Redis

    wire: RedisTraffic

    def __init__(
        self, wire: RedisTraffic, client: socket.socket, session: Owner | None, password: str, url: str
    ) -> None:
        self._password: str | None = password
        self._commands, self._replies = Commands(), Replies()
        self._transaction: list[str] | None = None  # the commands since MULTI, as text
        self._writes = self._watches = self._subscribed = False
        self._places: deque[_Place] = deque()
        self._sent: deque[_Sent] = deque()
        self._lanes: list[RedisLane] = []
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
            self.ask(self._ask_of(known))

    def ask(self, ask: Ask) -> None:
        asker = self.wire.current
        is_behind = asker is not None and any(one.link.owner is not asker for one in self._places)
        if self.session is None and is_behind and not self.keeps_owner:
            lane = RedisLane(self, ask)
            self._lanes.append(lane)
            self._places.append(_Place(lane, ask))
            lane.go_on()
        else:
            self._places.append(_Place(self, ask))
            super().ask(ask)

    def _known(self, commands: list[Command]) -> Iterator[Command]:
        """The commands to send to the server, from a client that has given the password."""
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
        """One question of all of them; the commands of a transaction are shown with its EXEC."""
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
        """Whether the server will not know the script: it does nothing, and the client sends the script next."""
        return command.name == "EVALSHA" and not self.wire.knows_script(command.words[1].decode(errors="replace"))

    def send(self, ask: Ask) -> None:
        self.submit(self, ask)

    def submit(self, link: Link, ask: Ask) -> None:
        """Sends a question of a link over this connection."""
        assert self.server
        self._sent.append(_Sent(link, ask, ask.batch))
        self.server.send(ask.raw)

    def hold(self, held: bool) -> None:
        """Answers on this link are those of the session that moves; only a lane's are held back."""

    def _from_server(self, data: bytes) -> None:
        if not data:
            for sent in list(self._sent):
                sent.ask.trip.lost = True
                sent.link.landed()
            self.close()
            return
        for reply in self._replies.feed(data):
            if reply.push or not self._sent:
                self.client.send(reply.raw)
                continue
            sent = self._sent[0]
            place = next(one for one in self._places if one.ask is sent.ask)
            if not sent.link.loses_answer:
                place.replies += reply.raw
            sent.note(reply)
            if not sent.owed or self._subscribed:
                place.is_over = True
                self._sent.popleft()
                sent.link.landed()
                if sent.link.loses_answer and not self._refuse_after(sent):
                    return
        self.hand_on()

    def _refuse_after(self, sent: _Sent) -> bool:
        """Whether the connection goes on although an answer is not handed on: with an error, where a session died."""
        owner, sent.link.loses_answer = sent.link.owner, False
        if self.session is not None or owner is None or not owner.died:
            self.break_off()
            return False
        self._answer_with_error(sent.ask)
        return True

    def refuse(self) -> None:
        while self.asked and self.is_open:
            self.refuse_one(self.asked.popleft())

    def refuse_one(self, ask: Ask) -> None:
        """A transaction that has begun earlier is in the way of going on."""
        if "EXEC" in ask.trip.sql.split("; "):
            self.break_off()
            return
        self._answer_with_error(ask)
        self.hand_on()

    def _answer_with_error(self, ask: Ask) -> None:
        place = next(one for one in self._places if one.ask is ask)
        place.replies += b"-ERR its session has died\r\n" * ask.batch
        place.is_over = True

    def break_off(self) -> None:
        """Whoever else has something to ask on this connection is befallen too."""
        for place in self._places:
            if place.link.owner is not None:
                place.link.owner.is_faulty = True
        self.close()

    def hand_on(self) -> None:
        """Sends the client its replies in the order of its commands, whichever session was resumed first."""
        while self._places and not self._places[0].link.is_held:
            place = self._places[0]
            self.client.send(bytes(place.replies))
            place.replies.clear()
            if not place.is_over:
                return
            self._places.popleft()
            if isinstance(place.link, RedisLane):
                place.link.retire()

    def close(self) -> None:
        super().close()
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            lane.close()

    def forget(self, lane: RedisLane) -> None:
        """Its question has been answered."""
        if lane in self._lanes:
            self._lanes.remove(lane)


class RedisLane(Link):
    """One session's question on a connection on which an earlier one, of another session, waits for its turn."""

    def __init__(self, main: RedisLink, ask: Ask) -> None:
        self._main, self.is_held = main, False
        self.wire, self.session, self.owner = main.wire, None, None
        self.client, self.server = main.client, main.server
        self.asked, self.flying, self.is_open, self.is_new_until = deque([ask]), None, True, 0.0

    @property
    def keeps_owner(self) -> bool:
        return self.flying is not None

    @property
    def owes(self) -> bool:  # type: ignore[override]
        return self.is_open

    def _from_client(self, data: bytes) -> None:
        """The main link reads the client's connection."""

    def send(self, ask: Ask) -> None:
        self._main.submit(self, ask)

    def hold(self, held: bool) -> None:
        self.is_held = held
        if not held:
            self._main.hand_on()

    def break_off(self) -> None:
        self._main.break_off()

    def refuse(self) -> None:
        if self.asked:
            self._main.refuse_one(self.asked.popleft())

    def retire(self) -> None:
        """Its client has been answered."""
        self.is_open = False
        if self.owner is not None:
            self.owner.left(self)
        self._main.forget(self)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.flying = None
            self.asked.clear()
            if self.owner is not None:
                self.owner.left(self)
            self._main.close()


@dataclass
class _Place:
    """The place of a question's replies among those to others."""

    link: RedisLink | RedisLane
    ask: Ask
    replies: bytearray = field(default_factory=bytearray)
    is_over: bool = False


@dataclass
class _Sent:
    """A question under way; the server owes so many replies."""

    link: Link
    ask: Ask
    owed: int

    def note(self, reply: Reply) -> None:
        self.owed -= 1
        self.ask.trip.results.append(Result("REDIS", ("reply",), ((reply.summary,),)))
        if reply.error:
            self.ask.trip.failure = Failure("", reply.error.split()[0])


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
