"""Where clients connect: sockets on the loopback interface that ask for a password, made up anew each time."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import quote

from zephyr_lab.wire.link import Link, Owner
from zephyr_lab.wire.postgres_link import PostgresLink, PostgresTraffic
from zephyr_lab.wire.redis_link import RedisLink, RedisTraffic
from zephyr_lab.wire.serving import Serving

NAME = "lab"  # of the role and the database that clients name; the lab's own are used instead


class Carrier(PostgresTraffic, RedisTraffic, Protocol):
    """The part of the wire that an endpoint and its links need."""

    serving: Serving

    def add(self, link: Link) -> None:
        """A client has connected."""

    def redis_url_behind(self) -> str:
        """The URL of the lab's Redis itself. Raises BadInput where it is not the lab's own."""
        ...


class Endpoint:
    """A socket for PostgreSQL, and one for Redis once it is asked for.

    `session` is the only one that connects here, or None if all may.
    """

    session: Owner | None

    def __init__(self, wire: Carrier) -> None:
        self._wire, self.session = wire, None
        self._password = secrets.token_urlsafe(12)
        self._listeners: list[socket.socket] = []
        self._port = self._listen(lambda client: PostgresLink(wire, client, self.session, self._password))

    def _listen(self, link: Callable[[socket.socket], Link]) -> int:
        """Gives each client that connects a link; returns the port."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.setblocking(False)

        def accept(events: int) -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                if self.session is not None and self.session.died:
                    client.close()
                    return
                self._wire.add(link(client))

        self._wire.loop.watch(listener, selectors.EVENT_READ, accept)
        self._listeners.append(listener)
        return int(listener.getsockname()[1])

    @property
    def dsn(self) -> str:
        """A URL of PostgreSQL, with sslmode=disable, without which lib/pq asks for TLS."""
        return f"{self.url('postgresql')}?sslmode=disable"

    def url(self, scheme: str) -> str:
        """The URL of a SQLAlchemy engine, such as `postgresql+asyncpg`."""
        return f"{scheme}://{NAME}:{quote(self._password)}@127.0.0.1:{self._port}/{NAME}"

    @property
    def jdbc_url(self) -> str:
        """A URL for JDBC, whose driver accepts no password before the host."""
        address = f"127.0.0.1:{self._port}/{NAME}"
        return f"jdbc:postgresql://{address}?user={NAME}&password={quote(self._password)}&sslmode=disable"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that libpq and other drivers read."""
        return {
            "PGHOST": "127.0.0.1", "PGPORT": str(self._port), "PGUSER": NAME, "PGDATABASE": NAME,
            "PGPASSWORD": self._password, "PGSSLMODE": "disable",
        }  # fmt: skip

    @property
    def django(self) -> dict[str, Any]:
        """A value of Django's `DATABASES`."""
        return {
            "ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": self._port,
            "USER": NAME, "PASSWORD": self._password, "NAME": NAME,
        }  # fmt: skip

    @cached_property
    def redis_url(self) -> str:
        """A URL of Redis; the first use starts it. Raises BadInput if it is not the lab's own."""
        url = self._wire.redis_url_behind()
        with self._wire.serving.paused():
            port = self._listen(lambda client: RedisLink(self._wire, client, self.session, self._password, url))
        return f"redis://:{quote(self._password)}@127.0.0.1:{port}/0"

    def close(self) -> None:
        for listener in self._listeners:
            self._wire.loop.watch(listener, 0, lambda events: None)
            listener.close()
