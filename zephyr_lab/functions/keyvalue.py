"""Redis in an exploration: commands take turns as round trips do, and its content is part of the outcome.

redis-py sends everything through `send_packed_command`, whichever client it comes from; a pipeline, a transaction or a
script is one message, and one turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import redis
import redis.asyncio.connection
import redis.asyncio.lock
import redis.connection
import redis.lock

from zephyr_lab.errors import ScheduleError
from zephyr_lab.functions.blocking import Patient, patient
from zephyr_lab.functions.content import Content
from zephyr_lab.functions.foreign import refused
from zephyr_lab.functions.mishaps import TIMED_OUT
from zephyr_lab.functions.patching import patched
from zephyr_lab.functions.stream_ids import packed, with_stream_id
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.functions.turn import Owner, Turn, current_session, owner
from zephyr_lab.redis_commands import Kind, kind
from zephyr_lab.schedule.transcript import Failure, Result


def _reply(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_reply, value))}]"
    return "nil" if value is None else str(value)


@contextlib.contextmanager
def redis_takes_turns() -> Iterator[None]:
    """Makes every Redis command of a session's thread wait for its turn; refuses one to a Redis not the lab's."""
    sync, asynchronous = redis.connection.AbstractConnection, redis.asyncio.connection.AbstractConnection
    with contextlib.ExitStack() as patches:
        for place, connects, sends, reads in (
            (sync, _connect, _send, _read),
            (asynchronous, _connect_async, _send_async, _read_async),
        ):
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
            who,
            "used a Redis that is not the lab's, or another database of a server of yours. Nothing was sent. Let "
            "the function take a client as a parameter (redis), or make its own of lab.redis_url",
        )


def _begin(connection: Any, message: Any) -> Patient | None:
    """Waits for the turn of a message, unless it is part of another one, as a handshake is.

    What it becomes, where it may wait inside Redis.
    """
    _refuse_elsewhere(owner(), connection)
    turn = current_session()
    if turn is None or id(connection) in turn.inside:
        return None
    content = turn.content
    assert content
    turn.on_the_wire[id(connection)] = None
    packed = _commands(message)
    commands = [[word.decode(errors="backslashreplace") for word in words] for words in packed]
    kinds = [kind(command[0], *words[1:]) for command, words in zip(commands, packed, strict=True)]
    for command in commands:
        if command[0].upper() == "SELECT" and not content.is_free_to(command):
            raise turn.refuse(_not_ours(turn, command))
    if set(kinds) == {Kind.PRIVATE} or _is_unknown_script(commands, content):
        return None
    asked = _may_wait(turn, packed)
    turn.sleeps += bool(asked and turn.gave_up)  # it goes round a loop
    words = [content.hide_prefix(" ".join(command)) for command in commands]
    access = RedisAccess.READS if set(kinds) == {Kind.READS} else RedisAccess.WRITES
    for command in commands if access is RedisAccess.WRITES else ():
        if not content.is_free_to(command):
            raise turn.refuse(_not_ours(turn, command))
    turn.on_the_wire[id(connection)] = turn.take(
        RoundTrip("redis: " + "; ".join(words), redis=access, awaits=len(commands))
    )
    return asked


def _may_wait(turn: Turn, commands: list[list[bytes]]) -> Patient | None:
    """What a message becomes that may wait inside Redis. Raises ScheduleError for waits that cannot be followed."""
    asked = patient(commands)
    for place, words in enumerate(commands):
        name = words[0].decode(errors="replace")
        if kind(name, *words[1:]) is Kind.SUBSCRIBES:
            reason = (
                "and what it would hear comes at a time that nobody can order: explore what is done when it has "
                "come, in a function that subscribes to nothing"
            )
        elif place in asked.waits and len(commands) > 1:
            reason = "which may wait inside Redis, in a pipeline with other commands: send it by itself"
        else:
            continue
        raise turn.refuse(ScheduleError(f"session {turn.name} sent {name}, {reason}"))
    return asked if asked.waits else None


def _not_ours(turn: Turn, command: list[str]) -> ScheduleError:
    return ScheduleError(
        f"session {turn.name} would have sent {' '.join(command)!r} to a Redis that is not the lab's own, where only "
        "keys with its prefix are touched, in one database, and put back: have the function begin its keys with "
        "lab.redis_prefix, or explore it on the lab's own Redis"
    )


def _is_unknown_script(commands: list[list[str]], content: Content) -> bool:
    """Whether the server does not know the script, so that EVALSHA has no effect, and the client loads the script."""
    if len(commands) != 1 or commands[0][0].upper() != "EVALSHA":
        return False
    return not content.knows_script(commands[0][1])


def _commands(message: Any) -> list[list[bytes]]:
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
            words.append(data[place : place + length])
            place += length + 2
        commands.append(words)
    return commands or [[b"?"]]


def _with_stream_ids(message: Any) -> Any:
    """The same message, but the new entry's id does not depend on the clock."""
    who = owner()
    message = message if isinstance(message, str | bytes) else list(message)
    if who is None or who.content is None or who.content.stream_ids is None:
        return message
    commands = _commands(message)
    changed = [with_stream_id(words, who.content.stream_ids) for words in commands]
    return message if changed == commands else [b"".join(map(packed, changed))]


def _trip_of(connection: Any) -> RoundTrip | None:
    turn = current_session()
    return turn.on_the_wire.get(id(connection)) if turn and id(connection) not in turn.inside else None


def _note_reply(connection: Any, reply: Any) -> None:
    if trip := _trip_of(connection):
        trip.results.append(Result("REDIS", ("reply",), ((_reply(reply),),)))


def _note_refusal(connection: Any, error: Exception) -> None:
    if trip := _trip_of(connection):
        trip.failure = Failure("", type(error).__name__)


def _suffer(connection: Any) -> None:
    """Does not come back with the last reply of a message if its answer is lost."""
    trip, turn = _trip_of(connection), current_session()
    if turn and trip:
        trip.awaits -= 1
        if trip.awaits <= 0:
            turn.survive()
            if trip.answer_lost:
                raise redis.TimeoutError(TIMED_OUT) from None


def _acquire(real: Any) -> Any:
    """Makes a redis-py lock's random token the same in every run of a schedule."""

    def acquire(self: Any, *args: Any, **kwargs: Any) -> Any:
        turn = current_session()
        if turn and len(args) < 4 and kwargs.get("token") is None:
            kwargs["token"] = f"{turn.name}{turn.trips}"
        return real(self, *args, **kwargs)

    return acquire


def _note_wait(asked: Patient, client: int) -> list[bytes]:
    """The message that is sent, now that it is known which connection will wait."""
    turn = current_session()
    assert turn
    turn.in_redis = client, bool(asked.limited)
    return [b"".join(map(packed, asked.commands))]


def _note_answer(connection: Any) -> None:
    turn = current_session()
    if turn and turn.in_redis and id(connection) not in turn.inside:
        turn.woken()


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
        command = _with_stream_ids(command)
        asked = _begin(self, command)
        with _inside(self):
            if asked:
                self.send_command("CLIENT", "ID")
                command = _note_wait(asked, self.read_response())
            return real(self, command, *args, **kwargs)

    return send_packed_command


def _send_async(real: Any) -> Any:
    async def send_packed_command(self: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        command = _with_stream_ids(command)
        asked = _begin(self, command)
        with _inside(self):
            if asked:
                await self.send_command("CLIENT", "ID")
                command = _note_wait(asked, await self.read_response())
            return await real(self, command, *args, **kwargs)

    return send_packed_command


def _read(real: Any) -> Any:
    def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            reply = real(self, *args, **kwargs)
        except redis.RedisError as error:
            _note_answer(self)
            _note_refusal(self, error)
            _suffer(self)
            raise
        _note_answer(self)
        _note_reply(self, reply)
        _suffer(self)
        return reply

    return read_response


def _read_async(real: Any) -> Any:
    async def read_response(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            reply = await real(self, *args, **kwargs)
        except redis.RedisError as error:
            _note_answer(self)
            _note_refusal(self, error)
            _suffer(self)
            raise
        _note_answer(self)
        _note_reply(self, reply)
        _suffer(self)
        return reply

    return read_response


@contextlib.contextmanager
def _inside(connection: Any) -> Iterator[None]:
    """Treats what a client sends meanwhile as part of the same command."""
    turn = current_session()
    if turn is None or id(connection) in turn.inside:
        yield
        return
    turn.inside.add(id(connection))
    try:
        yield
    finally:
        turn.inside.discard(id(connection))
