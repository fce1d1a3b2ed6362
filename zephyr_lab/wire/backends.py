"""A pool of connections to PostgreSQL for the wire's clients: opening one takes 2 to 4 ms."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import socket
import struct
from collections.abc import Mapping

import psycopg
from psycopg import pq

from zephyr_lab.errors import BadInput, ServerUnavailable
from zephyr_lab.servers.database import Database
from zephyr_lab.wire.postgres import FUNCTION_CALL, Batch

# Parameters that a server reports at the start and when they change (manual, 55.2.7).
_REPORTED = (
    "application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby",
    "integer_datetimes", "IntervalStyle", "is_superuser", "scram_iterations", "search_path", "server_encoding",
    "server_version", "session_authorization", "standard_conforming_strings", "TimeZone",
)  # fmt: skip
# Of a startup message: what the lab sets itself, and what is not a setting.
_OURS = {"user", "database", "application_name", "replication", "options", "search_path"}
PATIENCE_MS = 1_000
MOST_IDLE = 20  # sessions need a few each; a pool of a hundred has left

Settings = tuple[tuple[str, str], ...]


class PooledBackend:
    """A connection into the lab's schema, opened by libpq, whose socket the proxy uses directly.

    libpq's own calls may be used while nothing is under way. `level` is its default_transaction_isolation.
    """

    def __init__(self, database: Database, settings: Settings, level: str) -> None:
        self.settings, self.level, self._opened_at = settings, level, level
        self.connection = database.open("wire", **dict(settings), default_transaction_isolation=level)
        if self.connection.ssl_in_use:
            self.connection.finish()
            raise ServerUnavailable(
                "the wire cannot speak TLS with a server of yours: name it with sslmode=disable, on a network that you "
                "trust, or use the lab's own server"
            )
        self.pid = self.connection.backend_pid
        self.is_impatient = False
        self.key = secrets.token_bytes(4)
        key = _message(b"K", struct.pack("!I", self.pid) + self.key)
        self.greeting = b"".join([_message(b"R", struct.pack("!I", 0)), *self._reported(), key])

    def _reported(self) -> list[bytes]:
        values = [(name.encode(), self.connection.parameter_status(name.encode())) for name in _REPORTED]
        return [_message(b"S", name + b"\0" + value + b"\0") for name, value in values if value is not None]

    def socket(self) -> socket.socket:
        """Another handle of its socket."""
        return socket.socket(fileno=os.dup(self.connection.socket))

    @property
    def is_alive(self) -> bool:
        """Whether an idle one is still connected: if the server has ended it, it is readable."""
        return not select.select([self.connection.socket], [], [], 0)[0]

    def execute(self, sql: str) -> bool:
        """Executes a statement of the lab while nothing is under way; returns whether it succeeded."""
        result = self.connection.exec_(sql.encode())
        return result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)

    def holds_advisory_locks(self) -> bool:
        """Whether it holds any; only outside of a transaction, while nothing is under way."""
        result = self.connection.exec_(b"select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        return result.status != pq.ExecStatus.TUPLES_OK or result.ntuples > 0

    def forget_settings(self) -> None:
        """Its settings have been reset to those that it was opened with."""
        self.level, self.is_impatient = self._opened_at, False

    def set_level(self, level: str) -> None:
        if self.level != level and self.execute(f"set default_transaction_isolation = '{level}'"):
            self.level = level

    def cancel(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self.connection.get_cancel().cancel()

    def close(self) -> None:
        self.connection.finish()


class Backends:
    """The idle ones, by the settings that they were opened with."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._idle: dict[Settings, list[PooledBackend]] = {}

    def open(self, startup: Mapping[str, str], level: str) -> PooledBackend:
        """A connection with the settings of a client's startup message. Raises ServerUnavailable."""
        settings = self._settings(startup)
        idle = self._idle.get(settings, [])
        while idle:
            backend = idle.pop()
            if backend.is_alive:
                backend.set_level(level)
                return backend
            backend.close()
        try:
            return PooledBackend(self._database, settings, level)
        except ServerUnavailable:
            if not self._idle:
                raise
            self.close()  # others may have taken all that the server has
            return PooledBackend(self._database, settings, level)

    def check_bounds(self, batch: Batch) -> None:
        """Raises BadInput for what may leave the lab's schema on a server of the user's own."""
        if bounds := self._database.bounds:
            for sql in batch.texts:
                if sql.startswith(FUNCTION_CALL):
                    raise BadInput(f"a {sql} came by the lab's socket, of which nobody knows what it does: use SQL")
                bounds.check(sql, "what came by the lab's socket")

    def _settings(self, startup: Mapping[str, str]) -> Settings:
        wanted = {name: value for name, value in startup.items() if name not in _OURS and not name.startswith("_pq_.")}
        wanted |= _options(startup.get("options", ""))
        wanted.pop("search_path", None)
        if self._database.facts.may_set_deadlock_timeout:
            wanted.setdefault("deadlock_timeout", f"{PATIENCE_MS}ms")
        wanted.pop("default_transaction_isolation", None)
        return tuple(sorted(wanted.items()))

    def keep(self, backend: PooledBackend) -> None:
        """Takes back one that is not in a transaction, and discards the state of its session."""
        if sum(map(len, self._idle.values())) < MOST_IDLE and backend.execute("discard all"):
            backend.forget_settings()
            self._idle.setdefault(backend.settings, []).append(backend)
        else:
            backend.close()

    def close(self) -> None:
        for some in self._idle.values():
            for backend in some:
                backend.close()
        self._idle.clear()


def _options(text: str) -> dict[str, str]:
    """The settings in `options` of a startup message: `-c name=value`, `--name=value`."""
    words = text.replace("\\ ", "\0").split()
    found, place = {}, 0
    while place < len(words):
        word = words[place]
        if word == "-c" and place + 1 < len(words):
            place += 1
            word = words[place]
        else:
            word = word.removeprefix("-c").removeprefix("--")
        name, is_setting, value = word.partition("=")
        if is_setting:
            found[name.replace("-", "_")] = value.replace("\0", " ").replace("\\\\", "\\")
        place += 1
    return found


def _message(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("!I", len(payload) + 4) + payload


def error_message(state: str, text: str, severity: str = "FATAL") -> bytes:
    """An ErrorResponse of the proxy itself."""
    fields = (b"S" + severity.encode(), b"V" + severity.encode(), b"C" + state.encode(), b"M" + text.encode())
    return _message(b"E", b"\0".join(fields) + b"\0\0")


def ready(status: bytes = b"I") -> bytes:
    return _message(b"Z", status)


def ask_password() -> bytes:
    return _message(b"R", struct.pack("!I", 3))


def query(sql: str) -> bytes:
    return _message(b"Q", sql.encode() + b"\0")


def negotiate(unknown: list[bytes]) -> bytes:
    """A NegotiateProtocolVersion: minor version 0, and these options are unknown."""
    return _message(b"v", struct.pack("!II", 3 << 16, len(unknown)) + b"".join(name + b"\0" for name in unknown))
