"""A connection that is lost while it is used: real for libpq, which finds its socket at an end, and for the server.

`cut` puts a dead socket in the place of the connection's; whatever was under way on the old one is gone.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Generator
from typing import Any

import psycopg
from psycopg import waiting


def cut(connection: psycopg.Connection[Any]) -> None:
    """Puts a socket at its end in the place of the connection's; the server finds the other end of that one closed."""
    dead, other = socket.socketpair()
    other.close()
    with dead:
        os.dup2(dead.fileno(), connection.pgconn.socket)


def lost_on_the_way(connection: psycopg.Connection[Any], gone: Callable[[int], None]) -> None:
    """The connection is lost before what is sent next reaches the server. `gone` waits until its backend has ended."""
    pid = connection.info.backend_pid
    cut(connection)
    gone(pid)


def lost_on_the_way_back(connection: psycopg.Connection[Any], gen: Any) -> Generator[Any, Any, Any]:
    """Sends what `gen` sends; when the server has answered, the connection is lost before the answer is read."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if ready & waiting.Ready.R:
                select.select([connection.pgconn.socket], [], [])
                cut(connection)
            state = gen.send(ready)
    except StopIteration as end:
        return end.value
