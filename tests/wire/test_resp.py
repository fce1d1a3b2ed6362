"""Redis' protocol is cut where Valkey and redis-py cut it, in however many pieces it comes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.wire.byte_copy import ByteCopy, byte_copy_to
from zephyr_lab.errors import LabError, WireError
from zephyr_lab.redis_commands import KINDS, Kind, kind
from zephyr_lab.wire.inline import inline_words
from zephyr_lab.wire.resp import SHOWN, Commands, Replies, Reply

words = st.lists(st.binary(max_size=20), min_size=1, max_size=4)


def packed(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in command)


def aggregate(mark: bytes, of_one: int = 1) -> Any:
    """Of a strategy for values, the strategy for aggregates of them; a map has two values a key."""
    return lambda values: st.lists(st.tuples(*[values] * of_one), max_size=4).map(
        lambda items: b"%s%d\r\n" % (mark, len(items)) + b"".join(b"".join(item) for item in items)
    )


scalars = st.one_of(
    st.sampled_from([
        b"+OK\r\n", b"-ERR no such key\r\n", b":-12\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n",
        b",1.5e-3\r\n", b",-inf\r\n", b"(3492890328409238509324850943850943825024385\r\n", b"=7\r\ntxt:a\r\n\r\n",
        b"!8\r\nERR a\r\nb\r\n", b"+\r\n", b"*0\r\n", b"%0\r\n",
    ]),
    st.binary(max_size=30).map(lambda data: b"$%d\r\n%s\r\n" % (len(data), data)),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.one_of(*(aggregate(*how)(inner) for how in ((b"*",), (b"~",), (b"%", 2)))), max_leaves=6
)
attributes = aggregate(b"|", 2)(values)
replies = st.one_of(values, st.tuples(attributes, values).map(b"".join), aggregate(b">")(values))


def whole_and_in_pieces(parser: type[Commands] | type[Replies], stream: bytes) -> Iterator[list[Any]]:
    """What is found in it at once, cut once at each byte, and byte by byte."""
    yield list(parser().feed(stream))
    for cut in range(len(stream) + 1):
        one = parser()
        yield [*one.feed(stream[:cut]), *one.feed(stream[cut:])]
    one = parser()
    yield [found for place in range(len(stream)) for found in one.feed(stream[place : place + 1])]


@settings(deadline=None, max_examples=50)
@given(st.lists(words, max_size=3))
def test_commands_are_the_same_in_whatever_pieces_they_come(commands: list[list[bytes]]) -> None:
    """Their words are those that were packed, and their bytes make up the stream."""
    stream = b"".join(map(packed, commands))
    for found in whole_and_in_pieces(Commands, stream):
        assert [list(command.words) for command in found] == commands
        assert b"".join(command.raw for command in found) == stream


@settings(deadline=None, max_examples=50)
@given(st.lists(replies, max_size=2))
@example([b"|1\r\n+ttl\r\n:1\r\n*2\r\n|1\r\n+a\r\n*0\r\n:1\r\n:2\r\n", b">1\r\n+a\r\n", b"|0\r\n:1\r\n"])
def test_replies_are_the_same_in_whatever_pieces_they_come(sent: list[bytes]) -> None:
    """Attributes belong to the value behind them, and a push message is marked."""
    for found in whole_and_in_pieces(Replies, b"".join(sent)):
        assert [reply.raw for reply in found] == sent
        assert [reply.push for reply in found] == [one.startswith(b">") for one in sent]


def test_what_is_not_complete_is_not_given() -> None:
    """Not even where only the last byte is missing."""
    for stream in (packed([b"SET", b"a", b"b"]), b"PING\n"):
        assert Commands().feed(stream[:-1]) == []
    for stream in (b"*2\r\n:1\r\n$1\r\na\r\n", b"|1\r\n+a\r\n:1\r\n:2\r\n", b"+OK\r\n"):
        assert Replies().feed(stream[:-1]) == []


@pytest.mark.parametrize(
    ("stream", "error", "summary"),
    [
        (b"-WRONGTYPE no list\r\n", "WRONGTYPE no list", "(error) WRONGTYPE no list"),
        (b"!5\r\nERR x\r\n", "ERR x", "(error) ERR x"),
        (b"*2\r\n+OK\r\n-ERR x\r\n", "", "[OK, (error) ERR x]"),
        (b"%1\r\n+a\r\n*2\r\n_\r\n#t\r\n", "", "{a: [nil, true]}"),
        (b"~2\r\n,1.5\r\n(12\r\n", "", "{1.5, 12}"),
        (b"=5\r\ntxt:a\r\n", "", "a"), (b"$4\r\na\xff\n\xc3\r\n", "", r"a\xff\n\xc3"),
        ("$4\r\nслот\r\n".replace("$4", "$8").encode(), "", "слот"),
        (b"$1000\r\n" + b"x" * 1000 + b"\r\n", "", "x" * (SHOWN - 3) + "..."),
        (b"*999\r\n" + b":1\r\n" * 999, "", ("[" + "1, " * 999)[: SHOWN - 3] + "..."),
    ],
)  # fmt: skip
def test_a_reply_is_told_in_a_line(stream: bytes, error: str, summary: str) -> None:
    """Errors as redis-cli shows them; an error inside of EXEC's answer is not the answer's own."""
    assert Replies().feed(stream) == [Reply(stream, False, error, summary)]


def test_a_command_is_told_in_a_line() -> None:
    """Without passwords."""
    parser = Commands()
    (command,) = parser.feed(packed([b"set", b"slot:18", b"5"]))
    assert (command.name, command.text, command.kind, command.database) == ("SET", "set slot:18 5", Kind.WRITES, None)
    for words, text in (
        ([b"AUTH", b"me", b"secret"], "AUTH ***"),
        ([b"hello", b"3", b"auth", b"me", b"secret"], "hello 3 auth ***"),
        ([b"SET", b"a\xff\n", b""], r'SET a\xff\n ""'),
        ([b"MGET", *[b"k"] * 5000], ("MGET" + " k" * 5000)[:197] + "..."),
        ([b"SET", b"k", b"x" * 100_000], ("SET k " + "x" * 300)[:197] + "..."), ([b"HELLO", b"3"], "HELLO 3"),
    ):  # fmt: skip
        (command,) = parser.feed(packed(words))
        assert command.text == text
    assert [one.database for one in parser.feed(b"SELECT 7\r\nRESET\r\nSELECT x\r\nGET 7\r\n")] == [7, 0, None, None]


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "speaks no TLS; use redis:// instead of rediss://"),
        (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", "a PostgreSQL client"), (b"GET / HTTP/1.1\r\n", "an HTTP client"),
        (b"*x\r\n", "length of an array"),
        (b"*1\r\n:1\r\n", "in place of \\$LENGTH"), (b"*1\r\n$-1\r\n", "in place of"),
        (b"*1\r\n$3\r\nPINGPONG", "goes on behind its end"), (b"*1\r\n$999999999\r\n", "length of a bulk string"),
        (b"*?\r\n", "streamed"), (b'GET "a\r\n', "unbalanced quotes"), (b"{}\r\n", "begins with b'{'"),
        (b"x" * 70_000, "a line of more than 65536 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_command_is_refused(stream: bytes, why: str) -> None:
    """With what it seems to be; nothing is made of what comes after it."""
    parser = Commands()
    with pytest.raises(WireError, match=why) as refused:
        parser.feed(stream)
    assert isinstance(refused.value, LabError)
    assert parser.feed(b"PING\r\n") == []


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"$?\r\n;4\r\n", "streamed"), (b"*?\r\n", "streamed"), (b"%?\r\n", "streamed"),
        (b"HTTP/1.1 200 OK\r\n", "HTTP"),
        (b"*1\r\n>1\r\n:1\r\n", "a push message inside"), (b":x\r\n", "':x'"), (b"#x\r\n", "'#x'"), (b"\r\n", "''"),
        (b";4\r\nabcd\r\n", "';4'"), (b",x\r\n", "',x'"), (b"$3\r\nabcd\r\n", "behind its end"),
    ],
)  # fmt: skip
def test_what_is_no_reply_is_refused(stream: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        Replies().feed(stream)


@pytest.mark.timeout(60)
def test_each_byte_is_looked_at_once() -> None:
    """Megabytes in pieces of 16 bytes: to begin again with each piece would take hours. Nesting is no recursion."""

    def feed(parser: Commands | Replies, stream: bytes) -> int:
        return sum(len(parser.feed(stream[place : place + 16])) for place in range(0, len(stream), 16))

    big = b"$4000000\r\n" + b"\n" * 4_000_000 + b"\r\n"
    assert feed(Commands(), b"*2\r\n$4\r\nECHO\r\n" + big) == 1
    assert feed(Commands(), packed([b"MGET", *[b"k"] * 40_000])) == 1
    assert feed(Replies(), b"+" + b"x" * 4_000_000 + b"\r\n") == 1
    assert feed(Replies(), b"*40000\r\n" + b":1\r\n" * 40_000) == 1
    assert feed(Replies(), b"*1\r\n" * 100_000 + b":1\r\n") == 1
    assert len(Replies().feed(b":1\r\n" * 50_000)) == 50_000


# ---- what Valkey and redis-py make of it


def path_and_password(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return unquote(parts.path), parts.password or ""


@pytest.fixture
def copied(valkey: str) -> Iterator[tuple[ByteCopy, dict[str, Any]]]:
    """A byte copy in front of Valkey, and how redis-py connects to it."""
    path, password = path_and_password(valkey)
    with byte_copy_to(path) as copy:
        yield copy, {"host": "127.0.0.1", "port": copy.port, "password": password}


def everyday(client: redis.Redis) -> None:
    """Replies of every type, a pipeline, a transaction, a script, an error, a big value, bytes of every kind."""
    client.flushall()
    client.set("slot:18", bytes(range(256)) * 4000)
    assert len(client.get("slot:18")) == 1_024_000
    assert client.get("nothing") is None
    client.hset("h", mapping={"a": 1, "b": ""})
    client.sadd("s", "x", "y")
    client.zadd("z", {"a": 1.5, "b": float("inf")})
    client.hgetall("h"), client.smembers("s"), client.zrange("z", 0, -1, withscores=True), client.zscore("z", "a")
    client.xadd("stream", {"a": 1})
    client.xinfo_stream("stream", full=True)
    with client.pipeline(transaction=False) as pipe:
        pipe.incr("n").incr("n").ttl("n").execute()
    with client.pipeline() as pipe:
        pipe.watch("n")
        pipe.multi()
        pipe.incr("n").lrange("none", 0, -1).execute()
    assert client.eval("return {1, 'two', {false, redis.status_reply('FINE')}}", 0)
    with pytest.raises(redis.ResponseError):
        client.incr("h")
    client.command(), client.info(), client.ping(), client.client_list()


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_redis_py_sends_and_gets_is_cut_into_commands_and_replies(
    copied: tuple[ByteCopy, dict[str, Any]], protocol: int
) -> None:
    """One reply for each command, and nothing between them."""
    copy, address = copied
    with redis.Redis(**address, protocol=protocol) as client:
        everyday(client)
    (sent, received), *more = copy.conversations
    assert not more
    commands, answers = Commands().feed(bytes(sent)), Replies().feed(bytes(received))
    assert b"".join(command.raw for command in commands) == sent
    assert b"".join(answer.raw for answer in answers) == received
    assert len(commands) == len(answers) >= 30
    answer_to = {command.name: answer for command, answer in zip(commands, answers, strict=True)}
    assert answer_to["XINFO"].raw[:1] == (b"*" if protocol == 2 else b"%")
    assert answer_to["ZSCORE"].summary == "1.5"
    assert answer_to["EVAL"].summary == "[1, two, [nil, FINE]]"
    assert answers[-5].error.startswith("WRONGTYPE")


def test_messages_of_subscriptions_are_pushed_in_resp3(copied: tuple[ByteCopy, dict[str, Any]]) -> None:
    """So is an invalidation, and neither answers a command."""
    copy, address = copied
    with redis.Redis(**address, protocol=3) as client, client.pubsub() as subscription:
        subscription.subscribe("slots")
        assert subscription.get_message(timeout=10)["type"] == "subscribe"
        client.publish("slots", "full")
        assert subscription.get_message(timeout=10)["type"] == "message"
    pushed = [one for _, got in copy.conversations for one in Replies().feed(bytes(got)) if one.push]
    assert [one.summary for one in pushed] == ["[subscribe, slots, 1]", "[message, slots, full]"]


class Server:
    """Valkey, spoken to in bytes."""

    def __init__(self, connection: socket.socket, password: str) -> None:
        self._connection, self._replies = connection, Replies()
        assert self.ask(packed([b"AUTH", password.encode()])).summary == "OK"

    def ask(self, command: bytes) -> Reply:
        self._connection.sendall(command)
        while not (found := self._replies.feed(self._connection.recv(65536))):
            pass
        (reply,) = found
        return reply


@contextlib.contextmanager
def spoken_to(valkey: str) -> Iterator[Server]:
    path, password = path_and_password(valkey)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(path)
        yield Server(connection, password)


pieces = st.sampled_from([
    *"ab \té", "'a b'", '"a b"', '"\\x41\\n\\"\\\\"', "'\\''", '"\\xg"', '""', "'\"'",
])  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pieces, max_size=8).map("".join))
def test_inline_commands_are_cut_as_valkey_cuts_them(valkey: str, line: str) -> None:
    """Quotes, joined ones too, and escapes in them."""
    command = f"EVAL 'return ARGV' 0 {line}".encode()
    with spoken_to(valkey) as server:
        answer = server.ask(command + b"\r\n")
    echoed = [word for command in Commands().feed(answer.raw) for word in command.words]  # an array of bulk strings
    assert inline_words(command)[3:] == echoed


def test_kinds_are_as_the_server_has_them(valkey: str) -> None:
    """By its own categories; a command that it has and the table lacks counts as one that writes."""
    with redis.Redis.from_url(valkey, decode_responses=True) as client:

        def category(name: str) -> set[str]:
            return {one.upper() for one in client.execute_command(f"COMMAND LIST FILTERBY ACLCAT {name}")}

        read, write, blocking, transaction, pubsub = map(
            category, ("read", "write", "blocking", "transaction", "pubsub")
        )
    by_kind = {each: {name for name, one in KINDS.items() if one is each} for each in Kind}
    assert not (by_kind[Kind.READS] | by_kind[Kind.PRIVATE]) & write
    assert read - by_kind[Kind.READS] >= {"TOUCH", "PFCOUNT"}
    assert {name for name in read - by_kind[Kind.READS] if "|" not in name} <= {
        "TOUCH", "PFCOUNT", "LOLWUT", "CLUSTERSCAN"
    }  # fmt: skip
    assert by_kind[Kind.BLOCKING] == blocking - {"XREAD", "XREADGROUP"}
    assert by_kind[Kind.TRANSACTION] == transaction - {"UNWATCH"} | {"RESET"}
    assert {name for name in pubsub if "SUBSCRIBE" in name} <= by_kind[Kind.SUBSCRIBES]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("get a", Kind.READS), ("SET a 1", Kind.WRITES), ("CLIENT SETINFO lib-name go", Kind.PRIVATE),
        ("CLIENT KILL id 1", Kind.WRITES), ("CLIENT", Kind.WRITES), ("client tracking on", Kind.SUBSCRIBES),
        ("OBJECT freq a", Kind.READS), ("MODULE.NEW a", Kind.WRITES), ("SCRIPT FLUSH", Kind.WRITES),
        ("XREAD COUNT 2 BLOCK 0 STREAMS a $", Kind.BLOCKING), ("XREAD STREAMS BLOCK 0", Kind.READS),
        ("XREADGROUP GROUP g c block 5 STREAMS a >", Kind.BLOCKING), ("XREADGROUP GROUP g c STREAMS a >", Kind.WRITES),
        ("wait 1 0", Kind.BLOCKING), ("WATCH a", Kind.TRANSACTION), ("PFCOUNT a", Kind.WRITES),
        ("SELECT 1", Kind.PRIVATE), ("COMMAND DOCS get", Kind.PRIVATE),
    ],
)  # fmt: skip
def test_a_command_has_a_kind(command: str, expected: Kind) -> None:
    """Options and subcommands included; what is unknown may write."""
    name, *arguments = command.encode().split()
    assert kind(name.decode(), *arguments) is expected
