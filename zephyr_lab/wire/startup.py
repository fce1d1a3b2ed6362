"""The start of a client's connection to PostgreSQL, up to the right password. No sockets: bytes in, bytes out.

As in PostgreSQL's manual, "Frontend/Backend Protocol", "Start-up".
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from zephyr_lab.wire import backends
from zephyr_lab.wire.postgres import CANCEL_REQUEST, GSSENC_REQUEST, SSL_REQUEST

LONGEST = 10_000  # bytes, as in PostgreSQL's own postmaster
NO_TLS = "the lab's socket speaks no TLS: use sslmode=disable, or prefer"


class Rejected(Exception):
    """The client cannot connect; `state` is the SQLSTATE of the error that it is sent."""

    def __init__(self, state: str, text: str) -> None:
        super().__init__(text)
        self.state = state


class Startup:
    """Reads what a client sends before its connection is open.

    `settings` are those of the startup message, `cancels` is the pid and the key of a cancel request. `is_over` once
    the password was right; `rest` is what came after it.
    """

    def __init__(self, password: str) -> None:
        self._password, self._data = password.encode(), bytearray()
        self._has_begun = False  # the startup message has come
        self.settings: dict[str, str] = {}
        self.cancels: tuple[int, bytes] | None = None
        self.asked_tls = self.is_over = False

    @property
    def rest(self) -> bytes:
        return bytes(self._data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The answers to the messages that are complete now. Raises Rejected."""
        self._data += data
        while not (self.is_over or self.cancels) and (message := self._message()) is not None:
            yield self._check_password(message) if self._has_begun else self._answer(message)

    def _message(self) -> bytes | None:
        """The next message, without its length, if it is complete."""
        begin, shortest = (1, 4) if self._has_begun else (0, 8)  # only the password's message has a type
        if not begin and self._data[:1] == b"\x16":  # the handshake of TLS
            raise Rejected("08P01", NO_TLS)
        if len(self._data) < begin + 4:
            return None
        end = int.from_bytes(self._data[begin : begin + 4])
        if not shortest <= end <= LONGEST:
            raise Rejected("08P01", "this is not PostgreSQL's protocol")
        if len(self._data) < begin + end:
            return None
        message = bytes(self._data[begin + 4 : begin + end])
        del self._data[: begin + end]
        return message

    def _answer(self, message: bytes) -> bytes:
        code, content = int.from_bytes(message[:4]), message[4:]
        if code in (SSL_REQUEST, GSSENC_REQUEST):
            self.asked_tls = self.asked_tls or code == SSL_REQUEST
            return b"N"
        if code == CANCEL_REQUEST:
            self.cancels = int.from_bytes(content[:4]), content[4:]
            return b""
        if code >> 16 != 3:
            raise Rejected("0A000", f"protocol {code >> 16}.{code & 0xFFFF} is not spoken here")
        words = content.split(b"\0")
        self.settings = {k.decode(): v.decode() for k, v in zip(words[::2], words[1::2], strict=False) if k}
        self._has_begun = True
        if self.settings.get("replication", "").lower() not in ("", "0", "false", "off", "no"):
            raise Rejected("0A000", "replication does not go by the lab's socket")
        unknown = [name.encode() for name in self.settings if name.startswith("_pq_.")]
        negotiated = backends.negotiate(unknown) if code & 0xFFFF or unknown else b""
        return negotiated + backends.ask_password()

    def _check_password(self, message: bytes) -> bytes:
        if not hmac.compare_digest(message.removesuffix(b"\0"), self._password):
            raise Rejected("28P01", "this is not the password of the lab's DSN")
        self.is_over = True
        return b""
