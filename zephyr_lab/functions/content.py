"""The content of the lab's Redis, in all databases: compared after a schedule, and restored before the next.

Every difference in Redis shows here: types are distinguished, bytes that are no UTF-8 are shown as bytes, a stream's
entries and its groups are read. Of a time to live only its presence is compared.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import redis

from zephyr_lab.errors import SetupFailed
from zephyr_lab.schedule.transcript import Table
from zephyr_lab.servers.keyvalue import KeyValue, client

_OF_TRANSACTIONS = {"MULTI", "EXEC", "DISCARD", "WATCH"}
DAY_MS = 86_400_000

Kept = tuple[int, bytes, int, bytes]  # database, key, time to live in milliseconds or 0, output of DUMP

# ARGV: a pattern, and the only database to look at, or nothing for all.
_DATABASES = """
local databases = {}
if ARGV[2] ~= '' then databases = {ARGV[2]}
else for number in string.gmatch(redis.call('INFO', 'keyspace'), 'db(%d+):') do databases[#databases + 1] = number end
end
"""

_CONTENT = (
    _DATABASES
    + """
local function stream(key)
  local groups = {}
  for _, about in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    local group = {}
    for i = 1, #about, 2 do group[about[i]] = about[i + 1] end
    local consumers = {}
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key, group.name)) do
      consumers[#consumers + 1] = consumer[2]
    end
    local pending = redis.call('XPENDING', key, group.name, '-', '+', '10000')
    groups[#groups + 1] = {group.name, group['last-delivered-id'], consumers, pending}
  end
  return {redis.call('XRANGE', key, '-', '+'), groups}
end
local found = {}
for _, number in ipairs(databases) do
  if ARGV[2] == '' then redis.call('SELECT', number) end
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    local kind, value = redis.call('TYPE', key).ok
    if kind == 'string' then value = redis.call('GET', key)
    elseif kind == 'hash' then value = redis.call('HGETALL', key)
    elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
    elseif kind == 'set' then value = redis.call('SMEMBERS', key)
    elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    elseif kind == 'stream' then value = stream(key)
    else value = redis.call('DUMP', key) end
    found[#found + 1] = {tonumber(number), key, kind, value, redis.call('PTTL', key) >= 0 and 1 or 0}
  end
end
return found"""
)

_KEEP = (
    _DATABASES
    + """
local kept = {}
for _, number in ipairs(databases) do
  if ARGV[2] == '' then redis.call('SELECT', number) end
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    kept[#kept + 1] = {tonumber(number), key, math.max(redis.call('PTTL', key), 0), redis.call('DUMP', key)}
  end
end
return kept"""
)

# ARGV as above, and a time to live in milliseconds, which all that have any get: real time is to decide nothing.
_EXPIRING = (
    _DATABASES
    + """
local found = {}
for _, number in ipairs(databases) do
  if ARGV[2] == '' then redis.call('SELECT', number) end
  for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    if redis.call('PTTL', key) >= 0 then
      redis.call('PEXPIRE', key, ARGV[3])
      found[#found + 1] = {tonumber(number), key}
    end
  end
end
return found"""
)
_EXPIRE = """
if ARGV[1] ~= '' then redis.call('SELECT', ARGV[1]) end
if redis.call('PTTL', KEYS[1]) >= 0 then redis.call('DEL', KEYS[1]) end"""


class Content:
    """The keys of the lab's Redis: on an embedded server all of every database, on an external one those with the
    lab's prefix in the database of its URL.

    `keyvalue` is where they are. `stream_ids` replaces the clock in ids of streams, in milliseconds: a day ahead, so
    that no id from the clock can be greater; None if the server is too old for it (before 7).
    """

    def __init__(self, keyvalue: KeyValue) -> None:
        self.keyvalue = keyvalue
        self._client = client(keyvalue.url, decode_responses=False)
        settings = self._client.connection_pool.connection_kwargs
        self._address, self._database = _address(settings), int(settings.get("db") or 0)
        self._is_embedded = keyvalue.is_embedded
        self._prefix = b"" if keyvalue.is_embedded else keyvalue.prefix.encode()
        self._pattern = self._prefix.decode().replace("[", "\\[")
        now = self._client.time()
        self._since = now[0] * 1000 + now[1] // 1000
        is_new = int(self._client.info("server")["redis_version"].partition(".")[0]) >= 7
        self.stream_ids = self._since + DAY_MS if is_new else None

    def clear(self) -> None:
        """Deletes them. Raises SetupFailed."""
        self.put(())

    def keep(self) -> list[Kept]:
        """A snapshot, for `put`."""
        return [(int(db), bytes(key), int(ttl), bytes(value)) for db, key, ttl, value in self._ask(_KEEP)]

    def put(self, kept: Iterable[Kept]) -> None:
        """Restores a snapshot of `keep`. Raises SetupFailed."""
        now = self._database
        try:
            with self._client.pipeline(transaction=False) as pipe:
                if self._is_embedded:
                    pipe.flushall()
                elif keys := list(self._client.scan_iter(match=self._prefix + b"*", count=1000)):
                    pipe.delete(*keys)
                for database, key, ttl, value in kept:
                    if database != now:
                        pipe.execute_command("SELECT", database)
                        now = database
                    pipe.restore(key, ttl, value)
                if now != self._database:
                    pipe.execute_command("SELECT", self._database)
                pipe.execute()
        except redis.RedisError as error:
            raise SetupFailed(f"the lab's Redis could not be put back to what the setup made: {error}") from None

    def tables(self) -> dict[str, Table]:
        """Keys and values as text, and whether they expire: `redis`, and `redis db 1` of other databases."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for database, key, kind, value, expires in self._ask(_CONTENT):
            name = "redis" if database == self._database else f"redis db {database}"
            shown = self._text(bytes(kind).decode(), value) + (" (expires)" if expires else "")
            rows.setdefault(name, []).append((as_word(bytes(key).removeprefix(self._prefix)), shown))
        return {name: Table(("key", "value"), tuple(sorted(rows[name]))) for name in sorted(rows)}

    def expiring(self) -> list[str]:
        """The keys with a time to live, those of other databases as `1/key`; their time is set back to a day."""
        found = self._ask(_EXPIRING, str(DAY_MS))
        return sorted(
            (f"{number}/" if number != self._database else "") + bytes(key).removeprefix(self._prefix).decode("latin-1")
            for number, key in found
        )

    def expire(self, name: str) -> None:
        """Deletes a key that `expiring` has named, if it still has a time to live."""
        number, slash, key = name.partition("/")
        if not (slash and number.isdigit()):
            number, key = "", name
        self._client.eval(_EXPIRE, 1, self._prefix + key.encode("latin-1"), number)

    def _ask(self, script: str, *more: str) -> Any:
        try:
            return self._client.eval(script, 0, self._pattern, "" if self._is_embedded else str(self._database), *more)
        except redis.RedisError as error:
            raise SetupFailed(f"the lab's Redis could not be read: {error}") from None

    def _text(self, kind: str, value: Any) -> str:
        match kind:
            case "string":
                return as_word(value)
            case "list":
                parts = list(map(as_word, value))
            case "set":
                parts = sorted(map(as_word, value))
            case "hash":
                parts = sorted(_pairs(value))
            case "zset":
                parts = list(_pairs(value))
            case "stream":
                return self._stream(*value)
            case _:
                parts = [repr(value)]
        return f"{kind} [{', '.join(parts)}]"

    def _stream(self, entries: list[Any], groups: list[Any]) -> str:
        """Ids from the clock are shown as the entry's position; `#-` if the entry is gone."""
        places = {bytes(entry[0]): f"#{place}" for place, entry in enumerate(entries, start=1)}

        def name(entry_id: bytes) -> str:
            milliseconds = int(entry_id.partition(b"-")[0])
            from_clock = self._since <= milliseconds <= self._since + DAY_MS
            return places.get(entry_id, "#-") if from_clock else entry_id.decode()

        parts = [f"{name(bytes(key))} {{{', '.join(_pairs(fields))}}}" for key, fields in entries]
        for group, delivered, consumers, pending in groups:
            waiting = [f"{name(bytes(key))} {as_word(who)} {times}" for key, who, _, times in pending]
            parts.append(
                f"group {as_word(group)}: delivered {name(bytes(delivered))}, consumers "
                f"[{', '.join(sorted(map(as_word, consumers)))}], pending [{', '.join(waiting)}]"
            )
        return f"stream [{', '.join(parts)}]"

    def is_behind(self, connection: Any) -> bool:
        """Whether a redis-py connection leads to this server; if it is external, to the same database."""
        settings = vars(connection)
        same = self._is_embedded or int(settings.get("db") or 0) == self._database
        return same and _address(settings) == self._address

    def is_free_to(self, command: list[str]) -> bool:
        """Whether a command that may write names a key of the lab's, or no known key."""
        prefix, name = self._prefix.decode(), command[0].upper()
        elsewhere = name in ("MOVE", "SWAPDB") or (name == "COPY" and "DB" in map(str.upper, command[3:]))
        if prefix and (elsewhere or (name == "SELECT" and command[1:] != [str(self._database)])):
            return False
        return name in _OF_TRANSACTIONS | {"SELECT"} or any(prefix in word for word in command[1:] or [""])

    def knows_script(self, digest: str) -> bool:
        return bool(self._client.script_exists(digest)[0])

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


_STRUCTURE = re.compile(r"""["'\\\[\]{}]|, |: |^[ #]|[ ,:]$|^$|\(expires\)$""")


def as_word(value: Any) -> str:
    """Bytes as text, one to one: without quotes if that is unambiguous."""
    if not isinstance(value, bytes):
        return str(value)
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode()
        return text if text.isprintable() and not _STRUCTURE.search(text) else repr(text)
    return repr(value)


def _pairs(value: list[Any]) -> Iterator[str]:
    for name, other in zip(value[::2], value[1::2], strict=True):
        yield f"{as_word(name)}: {as_word(other)}"
