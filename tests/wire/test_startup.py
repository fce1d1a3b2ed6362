"""The start of a client's connection: its messages, in however many pieces they come."""

from __future__ import annotations

import struct

import pytest

from zephyr_lab.wire import backends
from zephyr_lab.wire.startup import NO_TLS, Rejected, Startup

TLS, GSS, CANCEL = 80877103, 80877104, 80877102


def message(code: int, content: bytes = b"") -> bytes:
    return struct.pack("!ii", 8 + len(content), code) + content


def password(text: bytes) -> bytes:
    return b"p" + struct.pack("!i", 5 + len(text)) + text + b"\0"


HELLO = message(3 << 16, b"user\0lab\0options\0-c jit=off\0\0")
NEWER = message(3 << 16 | 2, b"user\0lab\0_pq_.wish\0yes\0\0")
PIECES = pytest.mark.parametrize("size", [1, 3, 10_000])


def fed(data: bytes, size: int) -> tuple[Startup, bytes]:
    """In pieces of this size, as far as it is read."""
    startup, answers = Startup("secret"), b""
    for begin in range(0, len(data), size):
        answers += b"".join(startup.feed(data[begin : begin + size]))
    return startup, answers


@PIECES
def test_a_client_is_in_with_the_right_password(size: int) -> None:
    """Each request is answered in its order; what comes after the password is kept."""
    startup, answers = fed(message(TLS) + message(GSS) + HELLO + password(b"secret") + b"Q", size)
    assert answers == b"NN" + backends.ask_password()
    assert (startup.is_over, startup.rest, startup.asked_tls) == (True, b"Q", True)
    assert startup.settings == {"user": "lab", "options": "-c jit=off"}


@PIECES
def test_a_newer_protocol_is_negotiated_down(size: int) -> None:
    """With the options that are not known; nobody is in before the password."""
    startup, answers = fed(NEWER, size)
    assert answers == backends.negotiate([b"_pq_.wish"]) + backends.ask_password()
    assert (startup.is_over, startup.asked_tls, startup.rest) == (False, False, b"")


@PIECES
def test_a_cancel_request_names_its_backend(size: int) -> None:
    startup, answers = fed(message(CANCEL, struct.pack("!i", 4711) + b"key"), size)
    assert (startup.cancels, answers, startup.is_over) == ((4711, b"key"), b"", False)


REJECTED = {
    "TLS at once": (b"\x16\x03\x01\x02\x00\x01", "08P01", NO_TLS),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "08P01", "this is not PostgreSQL's protocol"),
    "too short": (struct.pack("!i", 7) + b"abcd", "08P01", "this is not PostgreSQL's protocol"),
    "protocol 2": (message(2 << 16), "0A000", "protocol 2.0 is not spoken here"),
    "replication": (message(3 << 16, b"replication\0database\0\0"), "0A000", "replication does not go by"),
    "a wrong password": (HELLO + password(b"secre"), "28P01", "this is not the password of the lab's DSN"),
    "no password": (HELLO + password(b""), "28P01", "this is not the password of the lab's DSN"),
    "an endless password": (HELLO + b"p\x7f\xff\xff\xff", "08P01", "this is not PostgreSQL's protocol"),
}


@PIECES
@pytest.mark.parametrize("name", REJECTED)
def test_who_is_rejected_is_told_why(name: str, size: int) -> None:
    """With an SQLSTATE, as soon as it is known."""
    data, state, text = REJECTED[name]
    with pytest.raises(Rejected, match=text.replace("(", r"\(")) as error:
        fed(data, size)
    assert error.value.state == state
