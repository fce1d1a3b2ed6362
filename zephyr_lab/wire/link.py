"""A client's connection and the one behind it: a question waits here for its session's turn.

One question is under way at a time. Inside a transaction it belongs to the transaction's session, outside of one to the
session that moves, since only one moves at a time. Questions that come while none moves belong to no session and are
passed on, as are those that a service asked again and again before the first schedule.
"""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from zephyr_lab.errors import LabError
from zephyr_lab.functions.trips import RoundTrip
from zephyr_lab.wire.asks import Ask
from zephyr_lab.wire.streams import Loop, Stream

NEW = 0.03  # seconds within which a new client asks its first question


class Owner(Protocol):
    """The session that questions belong to. `is_faulty`: a fault has befallen it; `died`: one that was its end."""

    is_faulty: bool
    died: bool

    def lets_through(self, link: Link, ask: Ask) -> bool:
        """Whether a link may send now what its client asks; else it waits for the session's turn."""
        ...

    def sends(self, link: Link, ask: Ask) -> None: ...
    def answered(self, link: Link, ask: Ask) -> None: ...
    def left(self, link: Link) -> None: ...
    def refuse(self, error: LabError) -> None:
        """Keeps the first error of what cannot be explored."""

    def disown(self, link: Link, trips: Sequence[RoundTrip]) -> None:
        """Takes back round trips that were attributed to it by mistake."""


class Traffic(Protocol):
    """The part of the wire that a link needs."""

    loop: Loop
    is_controlled: bool

    @property
    def current(self) -> Owner | None:
        """The session that moves."""
        ...

    def is_contested(self, link: Link) -> bool:
        """Whether several sessions may have asked this; the link is resumed when it is known which one has."""
        ...

    def stir(self) -> None:
        """Notes that something has come."""

    def is_habit(self, ask: Ask) -> bool:
        """Whether this is asked again and again while no session moves."""
        ...

    def pass_on(self, ask: Ask) -> None:
        """Notes a question that belongs to no session of the schedule."""

    def forget(self, link: Link) -> None:
        """The link has ended."""


class Link(ABC):
    """What both protocols share. `session` is the only one that connects here, or None; `owner` is its session now."""

    def __init__(self, wire: Traffic, client: socket.socket, session: Owner | None) -> None:
        self.wire, self.session = wire, session
        self.owner: Owner | None = session
        self.client = Stream(wire.loop, client, self._from_client)
        self.server: Stream | None = None
        self.asked: deque[Ask] = deque()
        self.flying: Ask | None = None
        self.is_open = True
        self.is_new_until = time.monotonic() + NEW

    # -- what a protocol says

    owes = False
    """Whether an answer is kept from the client, which asks nothing more for it until then."""

    pid = 0
    """Of the backend, where it is PostgreSQL."""

    loses_answer = False
    """Whether the client does not get the answer to what is under way: its connection breaks, or it gets an error."""

    is_held = False
    """Whether the answer to what was asked is kept until its session is let go on; of Redis only."""

    may_give_up = False
    """Whether what waits inside Redis has a time limit."""

    def is_blocked(self) -> bool:
        """Whether what is under way waits inside Redis for what another session does, as that says."""
        return False

    def unblock(self, *, by_error: bool = False) -> None:
        """Ends such a wait, as when its time limit has passed, or else with an error."""
        assert not self.is_blocked()

    @property
    @abstractmethod
    def keeps_owner(self) -> bool:
        """Whether the next question belongs to the session of the last one: inside a transaction."""

    @abstractmethod
    def _from_client(self, data: bytes) -> None:
        """Takes what the client has sent; nothing when it has left."""

    # -- questions

    def ask(self, ask: Ask) -> None:
        self.is_new_until = 0.0
        self.asked.append(ask)
        if len(self.asked) == 1:
            self.go_on()

    def go_on(self, claimed: Owner | None = None) -> None:
        """Sends what may be sent now; the rest waits for its session's turn. `claimed` is the session that has asked,
        where that was not clear."""
        while self.asked and not self.flying and self.is_open:
            ask, owner = self.asked[0], claimed or self._whose(self.asked[0])
            if not (claimed or self._is_owned or self.wire.is_habit(ask)) and self.wire.is_contested(self):
                return
            self._belongs_to(owner)
            if owner is not None:
                if not owner.lets_through(self, ask):
                    return
            elif self.wire.is_controlled:
                self.wire.pass_on(ask)
            self.asked.popleft()
            self._fly(ask, owner)

    @property
    def _is_owned(self) -> bool:
        return self.session is not None or self.keeps_owner

    def _whose(self, ask: Ask) -> Owner | None:
        if self._is_owned:
            return self.owner
        return None if self.wire.is_habit(ask) else self.wire.current

    def _belongs_to(self, owner: Owner | None) -> None:
        """A connection has one session at a time: another one has nothing under way or open on it."""
        if self.owner is not None and self.owner is not owner:
            self.owner.left(self)
        self.owner = owner

    def _fly(self, ask: Ask, owner: Owner | None) -> None:
        self.flying = ask
        if owner is not None:
            owner.sends(self, ask)
        self.send(ask)

    def send(self, ask: Ask) -> None:
        """Sends it to the server."""
        assert self.server
        self.server.send(ask.raw)

    def landed(self) -> None:
        """The question under way has been answered."""
        ask, self.flying = self.flying, None
        if ask and self.owner:
            self.owner.answered(self, ask)
        self.go_on()

    def hold(self, held: bool) -> None:
        """Whether what the server says is kept from the client."""
        if self.server:
            self.server.hold(held)

    def end(self) -> None:
        """Closes it as if its client had left."""
        self.close()

    def break_off(self) -> None:
        """Has its client's connection break now; what it has open is rolled back, and what it asks does not count."""
        self.end()

    def refuse(self) -> None:
        """Answers what its client asks with an error, and rolls back what it has open: its session has died."""
        self.break_off()

    def close(self) -> None:
        """Ends both connections."""
        if not self.is_open:
            return
        self.is_open = False
        self.client.close()
        if self.server:
            self.server.close()
        self.flying = None
        self.asked.clear()
        if self.owner:
            self.owner.left(self)
        self.wire.forget(self)
