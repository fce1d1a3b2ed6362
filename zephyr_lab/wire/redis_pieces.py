"""What a client of Redis's has sent in one piece, how much of it is under way, and the connection that it goes by."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from zephyr_lab.errors import WireError
from zephyr_lab.functions.blocking import Patient
from zephyr_lab.functions.stream_ids import packed
from zephyr_lab.schedule.transcript import Failure, Result
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.link import Link
from zephyr_lab.wire.resp import Replies, Reply


@dataclass(frozen=True)
class Piece:
    """The commands that a client has sent in one piece, without time limits."""

    asked: Patient

    @property
    def number(self) -> int:
        return len(self.asked.commands)

    @property
    def without_limits(self) -> bytes:
        return b"".join(map(packed, self.asked.commands))


@dataclass
class Place:
    """Where the replies to a question stand among those to others."""

    link: Link
    ask: Ask
    replies: bytearray = field(default_factory=bytearray)
    is_over: bool = False


@dataclass
class Sent:
    """What is under way to the server, which owes so many replies."""

    link: Link
    ask: Ask
    owed: int

    @property
    def is_limited(self) -> bool:
        """Whether the command that is answered next has a time limit."""
        asked: Patient = self.ask.batch.asked
        return len(asked.commands) - self.owed in asked.limited

    def note(self, reply: Reply) -> None:
        self.owed -= 1
        self.ask.trip.results.append(Result("REDIS", ("reply",), ((reply.summary,),)))
        if reply.error:
            self.ask.trip.failure = Failure("", reply.error.split()[0])


def connect(url: str) -> tuple[socket.socket, int]:
    """A connection to the lab's Redis, authenticated, and its CLIENT ID. Raises OSError, WireError."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        made = socket.socket(socket.AF_UNIX)
        made.connect(unquote(parts.path))
    else:
        made = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), 5)
    password = [[b"AUTH", unquote(parts.password).encode()]] if parts.password else []
    asked = [*password, [b"CLIENT", b"ID"]]
    made.sendall(b"".join(map(packed, asked)))
    received, told = Replies(), list[Reply]()
    while len(told) < len(asked):
        told += received.feed(made.recv(1024) or b"-the connection has ended\r\n")
    if told[-1].error:
        made.close()
        raise WireError(f"the lab's Redis does not say which connection this is: {told[-1].error}")
    return made, int(told[-1].summary)
