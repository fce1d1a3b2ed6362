"""A Redis or Valkey to work on: the lab's own, or that of ZEPHYR_LAB_REDIS_URL, with keys of the lab's prefix only."""

from __future__ import annotations

import secrets
import weakref
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from zephyr_lab.errors import ServerLost, ServerUnavailable
from zephyr_lab.servers.janitor import Janitor


@dataclass(frozen=True)
class KeyValueFacts:
    """The server at `where` (the URL without its password)."""

    where: str
    version_name: str


def url_without_password(url: str) -> str:
    """A URL that may be shown: scheme, host, port and path. Raises ServerUnavailable if it is no Redis URL."""
    malformed = ServerUnavailable(
        "the Redis URL is malformed: write redis://user:password@host:6379/0, with special characters "
        "percent-encoded, or unix:///path"
    )
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise malformed from None
    # A password with a bare `/`, `?`, `#` or `@` ends up after the host, or in it.
    misplaced = "@" in parts.path + parts.query + parts.fragment or parts.netloc.count("@") > 1
    if parts.scheme not in ("redis", "rediss", "unix") or misplaced or parts.fragment:
        raise malformed
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


_ONCE: dict[str, Any] = {"socket_connect_timeout": 5, "retry_on_timeout": False}


def client(url: str, *, decode_responses: bool = True) -> redis.Redis:
    """A client that sends each command once: redis-py retries after a time-out by default, up to ten times."""
    return redis.Redis.from_url(url, decode_responses=decode_responses, retry=Retry(NoBackoff(), 0), **_ONCE)


def async_client(url: str) -> redis.asyncio.Redis:
    """The same for asyncio; it belongs to the event loop in which it is first used."""
    return redis.asyncio.Redis.from_url(url, decode_responses=True, retry=AsyncRetry(NoBackoff(), 0), **_ONCE)


def inspect(url: str) -> KeyValueFacts:
    """Connects once and reads the facts. Raises ServerUnavailable: unreachable, or a refused password."""
    where = url_without_password(url)
    try:
        with client(url) as connection:
            info = connection.info("server")
    except (redis.AuthenticationError, NoPermissionError):
        raise ServerUnavailable(f"{where} refused the user name and password: check both") from None
    except (redis.RedisError, OSError, ValueError, TypeError) as error:
        raise ServerUnavailable(
            f"no Redis answers at {where} ({type(error).__name__}): check host and port, or unset ZEPHYR_LAB_REDIS_URL "
            "to use the lab's own"
        ) from None
    name = "Valkey" if "valkey_version" in info else "Redis"
    return KeyValueFacts(where, f"{name} {info.get('valkey_version') or info['redis_version']}")


class KeyValue:
    """Keys with the lab's prefix on a server. On an `external` one, a janitor deletes them when the lab has ended."""

    def __init__(self, url: str, *, external: bool) -> None:
        self.facts = inspect(url)
        self.url, self.is_embedded = url, not external
        self.prefix = f"zephyr_lab_{secrets.token_hex(6)}:"
        self.client = client(url)
        janitor = Janitor({"redis_url": url, "prefix": self.prefix}) if external else None
        self._finalizer = weakref.finalize(self, janitor.close) if janitor else None

    def async_client(self) -> redis.asyncio.Redis:
        """A client for asyncio, yours to close."""
        return async_client(self.url)

    def is_blocked(self, connection: int) -> bool:
        """Whether the connection with this CLIENT ID waits inside Redis. Raises ServerLost where that is not said."""
        told = self._ask("CLIENT LIST", "ID", connection)
        return any("b" in one["flags"] for one in told)

    def unblock(self, connection: int, *, by_error: bool = False) -> None:
        """Ends such a wait, as when its time limit has passed, or else with an error. Raises ServerLost."""
        self._ask("CLIENT UNBLOCK", connection, "ERROR" if by_error else "TIMEOUT")

    def _ask(self, *words: str | int) -> Any:
        try:
            return self.client.execute_command(*words)
        except (redis.RedisError, OSError) as error:
            raise ServerLost(
                f"{self.facts.version_name} was asked for a session that waits inside it ({words[0]}), and answered "
                f"with {error}: use 6.2 or newer, as a user that may send that"
            ) from None

    def close(self) -> None:
        self.client.close()
        if self._finalizer is not None:
            self._finalizer()
