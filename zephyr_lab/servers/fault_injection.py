"""Loses a connection during its use, for libpq, whose socket is at its end, and for the server.

`cut` replaces the connection's socket by a dead one; data in flight is lost.
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
    """Replaces the connection's socket by one at its end; the server finds the old one closed."""
    dead, other = socket.socketpair()
    other.close()
    with dead:
        os.dup2(dead.fileno(), connection.pgconn.socket)


def lost_on_the_way(connection: psycopg.Connection[Any], gone: Callable[[int], None]) -> None:
    """Loses the connection before the next request reaches the server. `gone` waits until its backend has ended."""
    pid = connection.info.backend_pid
    cut(connection)
    gone(pid)


def lost_on_the_way_back(connection: psycopg.Connection[Any], gen: Any) -> Generator[Any, Any, Any]:
    """Sends what `gen` sends; loses the connection when the server has replied, before the reply is read."""
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
