"""A client of Redis and its connection: passwords, transactions, scripts. Commands that arrive at once are one turn."""

from __future__ import annotations

import hmac
import socket
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from zephyr_lab.errors import ScheduleError, WireError
from zephyr_lab.functions.blocking import patient
from zephyr_lab.functions.stream_ids import packed, with_stream_id
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.redis_commands import Kind
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.link import Link, Owner, Traffic
from zephyr_lab.wire.redis_pieces import Piece, Place, Sent, connect
from zephyr_lab.wire.resp import Command, Commands, Replies
from zephyr_lab.wire.streams import Stream

if TYPE_CHECKING:
    from zephyr_lab.servers.keyvalue import KeyValue


class RedisTraffic(Traffic, Protocol):
    stream_ids: int

    @property
    def keyvalue(self) -> KeyValue:
        """The server behind."""
        ...

    def knows_script(self, sha: str) -> bool:
        """Whether the server will run the script of this hash."""
        ...

    def note(self, trouble: str) -> None:
        """Keeps an error that a client was sent, for the report."""


class RedisLink(Link):
    """One connection; the client has to know `password`, which the server behind it does not ask for."""

    wire: RedisTraffic

    def __init__(
        self, wire: RedisTraffic, client: socket.socket, session: Owner | None, password: str, url: str
    ) -> None:
        self._password: str | None = password
        self._commands, self._replies = Commands(), Replies()
        self._transaction: list[str] | None = None  # the commands since MULTI, as text
        self._writes = self._watches = self._subscribed = False
        self._places: deque[Place] = deque()
        self._sent: deque[Sent] = deque()
        self._lanes: list[RedisLane] = []
        self.is_held = False
        super().__init__(wire, client, session)
        behind, self._number = connect(url)
        self.server = Stream(wire.loop, behind, self._from_server)
        self.server.peer, self.client.peer = self.client, self.server

    @property
    def keeps_owner(self) -> bool:
        return self._is_bound or self.flying is not None

    @property
    def _is_bound(self) -> bool:
        return self._transaction is not None or self._watches

    @property
    def owes(self) -> bool:  # type: ignore[override]
        return self.is_held

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
        is_short = self.flying is not None and not self.flying.waits  # what comes meanwhile is of who has asked it
        if self.session is None and is_behind and not (self._is_bound or is_short):
            lane = RedisLane(self, ask)
            self._lanes.append(lane)
            self._places.append(Place(lane, ask))
            lane.go_on()
        else:
            self._places.append(Place(self, ask))
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
        private, writes = True, False
        sent = [with_stream_id(list(command.words), self.wire.stream_ids) for command in commands]
        piece = Piece(patient(sent, in_transaction=self._transaction is not None))
        for command in commands:
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
        hears = any(one.kind is Kind.SUBSCRIBES for one in commands)
        trip = RoundTrip(text, private=private, redis=RedisAccess.WRITES if writes else RedisAccess.READS)
        raw = b"".join(map(packed, sent))
        return Ask(raw, trip, batch=piece, refusal=_hears(text) if hears else None, waits=bool(piece.asked.waits))

    def _is_unknown(self, command: Command) -> bool:
        """Whether the server will not know the script: it does nothing, and the client sends the script next."""
        return command.name == "EVALSHA" and not self.wire.knows_script(command.words[1].decode(errors="replace"))

    def send(self, ask: Ask) -> None:
        self.submit(self, ask)

    def submit(self, link: Link, ask: Ask) -> None:
        """Sends a question of a link over this connection."""
        assert self.server
        self._sent.append(Sent(link, ask, ask.batch.number))
        is_scheduled = link.owner is not None and self.wire.is_controlled
        self.server.send(ask.batch.without_limits if is_scheduled else ask.raw)

    def is_blocked(self) -> bool:
        return bool(self._sent and self._sent[0].ask.waits) and self.wire.keyvalue.is_blocked(self._number)

    @property
    def may_give_up(self) -> bool:  # type: ignore[override]
        return self.gives_up(self)

    def gives_up(self, link: Link) -> bool:
        """Whether what a link over this connection asks is what waits inside Redis, and has a time limit."""
        return bool(self._sent) and self._sent[0].link is link and self._sent[0].is_limited

    def unblock(self, *, by_error: bool = False) -> None:
        self.wire.keyvalue.unblock(self._number, by_error=by_error)

    def hold(self, held: bool) -> None:
        """Holds back the answer to a command that waits inside Redis: another session's turn brings it. Other answers
        on this link are those of the session that moves, or a lane's."""
        self.is_held = held and self.flying is not None and self.flying.waits
        if not held:
            self.hand_on()

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

    def _refuse_after(self, sent: Sent) -> bool:
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
        place.replies += b"-ERR its session has died\r\n" * ask.batch.number
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

    def is_blocked(self) -> bool:
        return self._main.is_blocked()

    @property
    def may_give_up(self) -> bool:  # type: ignore[override]
        return self._main.gives_up(self)

    def unblock(self, *, by_error: bool = False) -> None:
        self._main.unblock(by_error=by_error)

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


def _hears(text: str) -> ScheduleError:
    return ScheduleError(
        f"a session sent {text!r}, and what it would hear comes at a time that nobody can order: explore what is done "
        "when it has come, in a session that subscribes to nothing"
    )
