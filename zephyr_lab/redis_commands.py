"""Classifies Redis commands by what others can notice: the counterpart of `zephyr_lab.sql`; no driver."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """How a command is looked at.

    READS changes nothing that another command could see.
    WRITES may change something; an unknown command does.
    PRIVATE neither changes nor reads what others see, so it takes no turn. SELECT is one: the connection's later
        commands then go to that database, so whoever hands a connection on, or compares keys, has to keep its number.
    BLOCKING waits inside the server for what others do, up to the time it names (outside MULTI ... EXEC).
    SUBSCRIBES ends "one reply per command" on its connection: subscriptions have one per channel, MONITOR and CLIENT
        TRACKING have more to come, and after CLIENT REPLY OFF there is none.
    TRANSACTION opens, ends or guards MULTI ... EXEC. RESET does what DISCARD does, and selects database 0.
    """

    READS = "reads"
    WRITES = "writes"
    PRIVATE = "private"
    BLOCKING = "blocking"
    SUBSCRIBES = "subscribes"
    TRANSACTION = "transaction"


_NAMES = {
    Kind.READS: """
        GET MGET GETRANGE SUBSTR STRLEN LCS GETBIT BITCOUNT BITPOS BITFIELD_RO
        EXISTS TYPE TTL PTTL EXPIRETIME PEXPIRETIME DUMP KEYS SCAN RANDOMKEY DBSIZE SORT_RO
        HGET HMGET HGETALL HEXISTS HLEN HSTRLEN HKEYS HVALS HSCAN HRANDFIELD HTTL HPTTL HEXPIRETIME HPEXPIRETIME
        LRANGE LLEN LINDEX LPOS
        SMEMBERS SISMEMBER SMISMEMBER SCARD SSCAN SRANDMEMBER SINTER SUNION SDIFF SINTERCARD
        ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX ZREVRANGEBYLEX ZSCORE ZMSCORE ZCARD ZCOUNT
        ZLEXCOUNT ZRANK ZREVRANK ZSCAN ZRANDMEMBER ZINTER ZUNION ZDIFF ZINTERCARD
        XLEN XRANGE XREVRANGE XREAD XPENDING XINFO
        GEODIST GEOHASH GEOPOS GEOSEARCH GEORADIUS_RO GEORADIUSBYMEMBER_RO
        EVAL_RO EVALSHA_RO FCALL_RO OBJECT PUBSUB INFO TIME CLIENT|LIST CONFIG|GET MEMORY|USAGE
    """,
    Kind.PRIVATE: """
        PING ECHO HELLO AUTH SELECT QUIT READONLY READWRITE UNWATCH COMMAND ACL|WHOAMI SCRIPT|LOAD SCRIPT|EXISTS
        CLIENT|SETNAME CLIENT|GETNAME CLIENT|SETINFO CLIENT|ID CLIENT|INFO CLIENT|CAPA CLIENT|NO-EVICT CLIENT|NO-TOUCH
        CLIENT|MAINT_NOTIFICATIONS
    """,
    Kind.BLOCKING: "BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP BZPOPMIN BZPOPMAX BZMPOP WAIT WAITAOF",
    Kind.SUBSCRIBES: """
        SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE
        MONITOR SYNC PSYNC CLIENT|TRACKING CLIENT|REPLY
    """,
    Kind.TRANSACTION: "MULTI EXEC DISCARD WATCH RESET",
}
KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
"""By name, or by name and subcommand as in `CLIENT|SETNAME`. PFCOUNT is missing on purpose: it stores its count."""


def kind(name: str, *arguments: bytes) -> Kind:
    """The kind of a command, such as `kind("XREAD", b"BLOCK", b"0", b"STREAMS", b"a", b"$")`."""
    name = name.upper()
    if name in ("XREAD", "XREADGROUP") and _blocks(arguments):
        return Kind.BLOCKING
    subcommand = arguments[0].decode(errors="replace").upper() if arguments else ""
    return KINDS.get(f"{name}|{subcommand}") or KINDS.get(name, Kind.WRITES)


def _blocks(arguments: tuple[bytes, ...]) -> bool:
    """Whether BLOCK is among the options, which come before STREAMS; keys behind it may have any name."""
    options = [word.upper() for word in arguments]
    return b"BLOCK" in (options[: options.index(b"STREAMS")] if b"STREAMS" in options else options)
