"""Ids of Redis streams that do not depend on the clock: `XADD key *` becomes `XADD key ms-*`."""

from __future__ import annotations

from collections.abc import Sequence


def with_stream_id(words: list[bytes], ms: int) -> list[bytes]:
    """A command; in an XADD that leaves the id to the server, `ms` becomes the id's time."""
    place = _place_of_id(words)
    if place and words[place] == b"*":
        return [*words[:place], b"%d-*" % ms, *words[place + 1 :]]
    return words


def packed(words: Sequence[bytes]) -> bytes:
    """A command in RESP."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def _place_of_id(words: list[bytes]) -> int:
    """The position of the entry's id in an XADD, or 0."""
    if words[0].upper() != b"XADD":
        return 0
    place = 2
    while place < len(words):
        match words[place].upper():
            case b"NOMKSTREAM" | b"KEEPREF" | b"DELREF" | b"ACKED":
                place += 1
            case b"MAXLEN" | b"MINID":
                place += 3 if words[place + 1 : place + 2] in ([b"="], [b"~"]) else 2
            case b"LIMIT":
                place += 2
            case _:
                return place
    return 0
