"""Sockets of one event loop: reads are passed on, and writes wait until the other side can take them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

CHUNK = 262_144
FULL = 1_048_576  # bytes waiting to be written; with more, their source is not read


class Loop:
    """A selector whose entries are callbacks. Used by one thread at a time."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    @property
    def fileno(self) -> int:
        """A descriptor that is readable when there is something to do."""
        return self._selector.fileno()

    def watch(self, sock: socket.socket, events: int, callback: Callable[[int], None]) -> None:
        """Calls `callback` with the events that are ready; without `events`, stops that."""
        known = sock.fileno() in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(sock)
        elif known:
            self._selector.modify(sock, events, callback)
        else:
            self._selector.register(sock, events, callback)

    def pump(self, seconds: float | None) -> bool:
        """Waits at most so many seconds (None: for ever) and handles what is ready; returns whether anything was."""
        ready = self._selector.select(seconds)
        for key, events in ready:
            if key.fd in self._selector.get_map():  # no callback before this one has closed it
                key.data(events)
        return bool(ready)

    def close(self) -> None:
        self._selector.close()


class Stream:
    """One end of a connection. `received` is called with what arrives, and with b"" once when the other side leaves."""

    def __init__(self, loop: Loop, sock: socket.socket, received: Callable[[bytes], None]) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop, self._socket, self._received = loop, sock, received
        self._waiting = bytearray()
        self._held = False
        self.peer: Stream | None = None  # the other end of the proxy
        self.is_closed = False
        self._watch()

    def send(self, data: bytes) -> None:
        if self.is_closed or not data:
            return
        if not self._waiting:
            try:
                data = data[self._socket.send(data) :]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._leave()
                return
        if data:
            self._waiting += data
            self._watch()
            if self.peer:
                self.peer._watch()

    def hold(self, held: bool) -> None:
        """Stops reading, or resumes it."""
        self._held = held
        self._watch()

    @property
    def is_full(self) -> bool:
        return len(self._waiting) > FULL

    def _watch(self) -> None:
        if self.is_closed:
            return
        reads = not self._held and not (self.peer and self.peer.is_full)
        events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if self._waiting else 0)
        self._loop.watch(self._socket, events, self._ready)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            try:
                del self._waiting[: self._socket.send(self._waiting)]
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                self._leave()
                return
            self._watch()
            if self.peer:
                self.peer._watch()
        if events & selectors.EVENT_READ and not self.is_closed:
            try:
                data = self._socket.recv(CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if data:
                self._received(data)
            else:
                self._leave()

    def _leave(self) -> None:
        if not self.is_closed:
            self.close()
            self._received(b"")

    def close(self) -> None:
        """Closes it; nothing more is received."""
        if not self.is_closed:
            self._loop.watch(self._socket, 0, self._ready)
            self.is_closed = True
            self._socket.close()
