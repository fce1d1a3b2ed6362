"""Redis in an exploration: commands take turns as round trips do, and what is left in it is part of the outcome.

redis-py sends everything through `send_packed_command`, whichever client it comes from; a pipeline, a transaction or a
script is one message, and one turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis
import redis.asyncio.connection
import redis.asyncio.lock
import redis.connection
import redis.lock

from zephyr_lab.errors import ScheduleError, SetupFailed
from zephyr_lab.functions.foreign import refused
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.turn import Owner, RoundTrip, here, owner
from zephyr_lab.schedule.transcript import Failure, Result, Table
from zephyr_lab.servers.keyvalue import KeyValue, client

# Nobody else can tell when it happens.
_PRIVATE = frozenset({"PING", "HELLO", "AUTH", "SELECT", "CLIENT", "COMMAND", "READONLY", "UNWATCH", "SCRIPT"})

_OF_TRANSACTIONS = {"MULTI", "EXEC", "DISCARD", "WATCH"}
_READING = {
    "GET", "MGET", "GETRANGE", "STRLEN", "EXISTS", "TYPE", "TTL", "PTTL", "HGET", "HMGET", "HGETALL", "HEXISTS", "HLEN",
    "HKEYS", "HVALS", "LRANGE", "LLEN", "LINDEX", "SMEMBERS", "SISMEMBER", "SCARD", "ZRANGE", "ZSCORE", "ZCARD", "KEYS",
    "SCAN",
}  # fmt: skip
_BLOCKING = {
    "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BLMPOP", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "WAIT", "WAITAOF", "MONITOR",
    "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE",
}  # fmt: skip

_CONTENT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind, value = redis.call('TYPE', key).ok
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key); table.sort(value)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then value = {redis.call('XLEN', key)}
  else value = kind end
  found[#found + 1] = {key, kind, value, redis.call('PTTL', key) >= 0 and 1 or 0}
end
return found"""

_KEEP = """
local kept = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  kept[#kept + 1] = {key, math.max(redis.call('PTTL', key), 0), redis.call('DUMP', key)}
end
return kept"""


class Content:
    """The keys of the lab's Redis: those with its prefix on somebody else's server, all on ours."""

    def __init__(self, keyvalue: KeyValue) -> None:
        self._client = client(keyvalue.url, decode_responses=False)
        self._address = _address(self._client.connection_pool.connection_kwargs)
        self._prefix = b"" if keyvalue.is_ours else keyvalue.prefix.encode()
        self._pattern = self._prefix.decode().replace("[", "\\[")
        self._kept: list[tuple[bytes, int, bytes]] = []

    def clear(self) -> None:
        """Deletes them. Raises SetupFailed."""
        self._put(())

    def keep(self) -> None:
        """Remembers what is there, for `restore`."""
        self._kept = [(bytes(key), int(ttl), bytes(value)) for key, ttl, value in self._ask(_KEEP)]

    def restore(self) -> None:
        """Makes it what it was when it was kept."""
        self._put(self._kept)

    def _put(self, kept: Iterable[tuple[bytes, int, bytes]]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipe:
                if not self._prefix:
                    pipe.flushdb()
                elif keys := list(self._client.scan_iter(match=self._prefix + b"*", count=1000)):
                    pipe.delete(*keys)
                for key, ttl, value in kept:
                    pipe.restore(key, ttl, value)
                pipe.execute()
        except redis.RedisError as error:
            raise SetupFailed(f"the lab's Redis could not be put back to what the setup made: {error}") from None

    def table(self) -> Table:
        """Keys, values as text, and whether they expire."""
        rows = []
        for key, kind, value, expires in self._ask(_CONTENT):
            shown = _as_text(bytes(kind).decode(), value) + (" (expires)" if expires else "")
            rows.append((bytes(key).removeprefix(self._prefix).decode(errors="replace"), shown))
        return Table(("key", "value"), tuple(sorted(rows)))

    def _ask(self, script: str) -> Any:
        try:
            return self._client.eval(script, 0, self._pattern)
        except redis.RedisError as error:
            raise SetupFailed(f"the lab's Redis could not be read: {error}") from None

    def is_behind(self, connection: Any) -> bool:
        """Whether a connection of redis-py's leads here."""
        return _address(vars(connection)) == self._address

    def is_free_to(self, command: list[str]) -> bool:
        """Whether a command that may write names a key of the lab's, as far as can be told, or none."""
        prefix = self._prefix.decode()
        return command[0].upper() in _OF_TRANSACTIONS or any(prefix in word for word in command[1:] or [""])

    def hide_prefix(self, text: str) -> str:
        return text.replace(self._prefix.decode(), "") if self._prefix else text

    def close(self) -> None:
        self._client.close()


def _address(of: Mapping[str, Any]) -> tuple[str, int]:
    """A unix socket's path, or a host and a port."""
    if of.get("path"):
        return str(of["path"]), 0
    host = of.get("host") or "localhost"
    return ("127.0.0.1" if host == "localhost" else host), int(of.get("port") or 6379)


def _as_text(kind: str, value: Any) -> str:
    if not isinstance(value, list):
        return _reply(value)
    parts = [_reply(one) for one in value]
    if kind in ("hash", "zset"):
        pairs = [f"{name}: {other}" for name, other in zip(parts[::2], parts[1::2], strict=True)]
        parts = sorted(pairs) if kind == "hash" else pairs
    return f"{kind} [{', '.join(parts)}]"


def _reply(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_reply, value))}]"
    return "nil" if value is None else str(value)


@contextlib.contextmanager
def redis_takes_turns() -> Iterator[None]:
    """Has every Redis command of a session's thread wait for its turn; one to a Redis not the lab's is refused."""
    sync, asynchronous = redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection
    with contextlib.ExitStack() as patches:
        for place, connects, sends, reads in (
            (sync, _connect, _send, _read), (asynchronous, _connect_async, _send_async, _read_async)
        ):  # fmt: skip
            for name in ("connect", "connect_check_health"):
                if name in vars(place):
                    patches.enter_context(patched(place, name, connects))
            patches.enter_context(patched(place, "send_packed_command", sends))
            patches.enter_context(patched(place, "read_response", reads))
        for lock in (redis.lock.Lock, redis.asyncio.lock.Lock):
            patches.enter_context(patched(lock, "acquire", _acquire))
        yield


def _refuse_elsewhere(who: Owner | None, connection: Any) -> None:
    if who is not None and not (who.content and who.content.is_behind(connection)):
        raise refused(
            who, "used a Redis that is not the lab's. Nothing was sent. Let the function take a client as a parameter "
            "(redis), or make its own of lab.redis_url",
        )  # fmt: skip


def _begin(connection: Any, message: Any) -> None:
    """Waits for the turn of a message, unless it belongs to another one, as a handshake does."""
    _refuse_elsewhere(owner(), connection)
    turn = here()
    if turn is None or id(connection) in turn.inside:
        return
    content = turn.content
    assert content
    turn.on_the_wire[id(connection)] = None
    commands = _commands(message)
    if all(command[0].upper() in _PRIVATE for command in commands) or _is_unknown_script(commands, content):
        return
    for command in commands:
        if command[0].upper() in _BLOCKING or "BLOCK" in (word.upper() for word in command[1:3]):
            raise turn.refuse(
                ScheduleError(
                    f"session {turn.name} sent {command[0]}, which waits inside Redis, where nobody can tell for whom: "
                    "explore the command that does not block (LPOP for BLPOP), in a loop that sleeps"
                )
            )
    words = [content.hide_prefix(" ".join(command)) for command in commands]
    access = "reads" if all(command[0].upper() in _READING for command in commands) else "writes"
    for command in commands if access == "writes" else ():
        if not content.is_free_to(command):
            raise turn.refuse(
                ScheduleError(
                    f"session {turn.name} would have sent {' '.join(command)!r} to a Redis that is not the lab's own, "
                    "where only keys with its prefix are touched, and put back: have the function begin its keys with "
                    "lab.redis_prefix, or explore it on the lab's own Redis"
                )
            )
    turn.on_the_wire[id(connection)] = turn.take(RoundTrip("redis: " + "; ".join(words), redis=access))


def _is_unknown_script(commands: list[list[str]], content: Content) -> bool:
    """Whether the server will not know the script, so that nothing is done, and the client sends the script first."""
    if len(commands) != 1 or commands[0][0].upper() != "EVALSHA":
        return False
    return not content._client.script_exists(commands[0][1])[0]


def _commands(message: Any) -> list[list[str]]:
    """The commands in a packed message (RESP arrays of bulk strings), as words."""
    data = message.encode() if isinstance(message, str) else message
    data = data if isinstance(data, bytes) else b"".join(data)
    commands, place = [], 0

    def number() -> int:
        nonlocal place
        end = data.index(b"\r\n", place)
        found, place = int(data[place + 1 : end]), end + 2
        return found

    while place < len(data):
        words = []
        for _ in range(number()):
            length = number()
            words.append(data[place : place + length].decode(errors="replace"))
            place += length + 2
        commands.append(words)
    return commands or [["?"]]


def _trip_of(connection: Any) -> RoundTrip | None:
    turn = here()
    return turn.on_the_wire.get(id(connection)) if turn and id(connection) not in turn.inside else None


def _note_reply(connection: Any, reply: Any) -> None:
    if trip := _trip_of(connection):
        trip.results.append(Result("REDIS", ("reply",), ((_reply(reply),),)))


def _note_refusal(connection: Any, error: Exception) -> None:
    if trip := _trip_of(connection):
        trip.failure = Failure("", type(error).__name__)


def _acquire(real: Any) -> Any:
    """A lock's token, which redis-py makes up, is the same whenever a schedule is run."""

    def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
        turn = here()
        if turn and len(args) < 4 and kwargs.get("token") is None:
            kwargs["token"] = f"{turn.name}{turn.trips}"
        return real(self, *args, **kwargs)

    return acquire


def _connect(real: Any) -> Any:
    def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_elsewhere(owner(), self)
        with _inside(self):
            return real(self, *args, **kwargs)

    return connect


def _connect_async(real: Any) -> Any:
    async def connect(self: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_elsewhere(owner(), self)
        with _inside(self):
            return await real(self, *args, **kwargs)

    return connect


def _send(real: Any) -> Any:
    def send_packed_command(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        command = command if isinstance(command, str | bytes) else list(command)
        _begin(self, command)
        with _inside(self):
            return real(self, command, *args, **kwargs)

    return send_packed_command


def _send_async(real: Any) -> Any:
    async def send_packed_command(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        command = command if isinstance(command, str | bytes) else list(command)
        _begin(self, command)
        with _inside(self):
            return await real(self, command, *args, **kwargs)

    return send_packed_command


def _read(real: Any) -> Any:
    def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            reply = real(self, *args, **kwargs)
        except redis.RedisError as error:
            _note_refusal(self, error)
            raise
        _note_reply(self, reply)
        return reply

    return read_response


def _read_async(real: Any) -> Any:
    async def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            reply = await real(self, *args, **kwargs)
        except redis.RedisError as error:
            _note_refusal(self, error)
            raise
        _note_reply(self, reply)
        return reply

    return read_response


@contextlib.contextmanager
def _inside(connection: Any) -> Iterator[None]:
    """What a client sends meanwhile is part of what it is doing."""
    turn = here()
    if turn is None or id(connection) in turn.inside:
        yield
        return
    turn.inside.add(id(connection))
    try:
        yield
    finally:
        turn.inside.discard(id(connection))
