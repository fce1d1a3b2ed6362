"""Commands as sessions: a process for each schedule, or one that is told a line for each and answers by a line."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from zephyr_lab.errors import BadInput, LabError, ScheduleError, ServerLost, StepTimeout
from zephyr_lab.wire.command_line import Words, check_program, filled, last_lines, tail_of, words_of
from zephyr_lab.wire.http import ANSWER_SECONDS
from zephyr_lab.wire.programs import Running
from zephyr_lab.wire.proxy import Endpoint, Wire

MOST_BYTES = 1_048_576
"""How much a command may print for one schedule: it is an outcome, and each is kept."""
POLITE_SECONDS = 1.0
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Exit:
    """How a process has ended: its exit status (negative: by that signal), and what it printed, as data where it is
    JSON, as text without its last end of line, or as bytes where it is not UTF-8. `refused` is not empty where the
    status says that it was refused on account of another session. `errors` is the end of what it said beside."""

    status: int
    output: Any = None
    refused: str = field(default="", repr=False, compare=False)
    errors: str = field(default="", compare=False)

    def parts(self) -> tuple[str, Any]:
        """How it is told, and compared."""
        ended = f"ended by {signal.Signals(-self.status).name}" if self.status < 0 else f"exit {self.status}"
        return ended, self.output

    @property
    def failed(self) -> bool:
        """Whether it says that something went wrong."""
        return self.status != 0


class Command:
    """A program that does its work and exits, once for each schedule; or with `kept` once for an exploration.

    `command` is run without a shell, in `cwd`, with `env` on top of this process's environment, and with DATABASE_URL,
    libpq's variables (PGHOST, ...) and REDIS_URL (but for `redis=False`), which lead to the session's own socket;
    `{dsn}`, `{jdbc_url}` and `{redis_url}` stand for these in `command` and in the values of `env`. `input` is its
    standard input: text, bytes, or data that is given as JSON. What it prints to standard output, a MiB at most, and
    its exit status are the outcome; a status other than 0 is a failure, and one in `refusals` a refusal. Raises
    BadInput.
    """

    def __init__(
        self,
        wire: Wire,
        command: Words,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        kept: bool = False,
        input: Any = None,
        refusals: Collection[int] = (),
        redis: bool = True,
    ) -> None:
        self._wire, self._words, self._given = wire, words_of(command), dict(env or {})
        self._folder = None if cwd is None else str(Path(cwd).resolve())
        self.kept, self.uses_redis = kept, redis
        self._input, self._refusals = _as_bytes(input), frozenset(refusals)
        if kept and (input is not None or refusals):
            raise BadInput("a command that is kept has neither input nor exit codes: it is told lines, by .line(...)")
        check_program(self._words[0], self._folder, {**os.environ, **self._given})
        self.trouble = ""
        """What it said when it last failed."""
        self._workers: dict[str, _Worker] = {}

    def line(self, data: Any = "") -> Line:
        """A session of a command that is kept: it is told this, as JSON or as text, and answers by a line.

        Each session has a process of its own. Raises BadInput.
        """
        if not self.kept:
            raise BadInput(f"{self.name} is started for each schedule, and told nothing: say kept=True, or input=")
        text = data if isinstance(data, str) else json.dumps(data)
        if "\n" in text:
            raise BadInput(f"a line has no end of line in it: {text!r}")
        return Line(self, text)

    @property
    def command(self) -> Command:
        """Itself, as a line has its command."""
        return self

    @property
    def shared(self) -> Endpoint:
        """The socket of all."""
        return self._wire.shared

    @property
    def name(self) -> str:
        return f"the command {self.title!r}"

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return shlex.join(self._words)

    def environment(self, endpoint: Endpoint) -> tuple[list[str], dict[str, str]]:
        """Words and environment of a process whose connections come by an endpoint."""
        names = {"{dsn}": endpoint.dsn, "{jdbc_url}": endpoint.jdbc_url}
        own = {"DATABASE_URL": endpoint.dsn, **endpoint.environment}
        if self.uses_redis:
            names["{redis_url}"] = own["REDIS_URL"] = endpoint.redis_url
        own |= {name: filled(str(value), names) for name, value in self._given.items()}
        return [filled(word, names) for word in self._words], {**os.environ, **own}

    # -- a process for each schedule

    def ask(self, opened: Callable[[Any], object] = lambda handle: None) -> Exit:
        """Runs it now, and gives how it ended. Raises as `ask_at`."""
        return self.ask_at("", self._wire.shared, opened)

    def ask_at(self, name: str, endpoint: Endpoint, opened: Callable[[Any], object]) -> Exit:
        """Runs it, its connections by a socket.

        Raises BadInput where it cannot be started, and ScheduleError where it prints too much.
        """
        if self.kept:
            raise BadInput(f"{self.name} is kept: say what it is told, by .line(...)")
        words, environment = self.environment(endpoint)
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            given.write(self._input)
            given.seek(0)
            streams = given.fileno(), output.fileno(), errors.fileno()
            running = self._wire.programs.start(words, environment, self._folder, streams)
            try:
                handle = _Handle(self, running, output.fileno())
                opened(handle)
                return self._end_of(handle, output, errors)
            finally:
                running.close()

    def _end_of(self, handle: _Handle, output: BinaryIO, errors: BinaryIO) -> Exit:
        deadline = time.monotonic() + ANSWER_SECONDS
        while (status := handle.running.status(LOOK_SECONDS)) is None:
            self._check_size(output)
            if time.monotonic() > deadline:
                raise StepTimeout(f"{handle.stands_at()}, within {ANSWER_SECONDS:g} s")
        self._check_size(output)
        output.seek(0)
        said = tail_of(errors.fileno()) if os.fstat(errors.fileno()).st_size else ""
        refused = f"exit {status}" if status in self._refusals else ""
        if status and not refused:
            self.trouble = f"{self.name} ended with {status}{said or tail_of(output.fileno())}"
        return Exit(status, data_of(output.read()), refused, said)

    def _check_size(self, output: BinaryIO) -> None:
        if os.fstat(output.fileno()).st_size > MOST_BYTES:
            raise ScheduleError(
                f"{self.name} prints more than a MiB to its standard output, which is compared: let it print its "
                "result alone, and its log to standard error"
            )

    # -- one that is kept

    def worker(self, name: str, endpoint: Endpoint) -> _Worker:
        """The process of the session of this name."""
        found = self._workers.get(name)
        if found is None or found.is_over:
            if found:
                found.close()
            found = self._workers[name] = _Worker(self, *self.environment(endpoint))
        return found

    def start(self, words: list[str], environment: Mapping[str, str], streams: tuple[int, int, int]) -> Running:
        return self._wire.programs.start(words, environment, self._folder, streams, POLITE_SECONDS)

    def end(self) -> None:
        """Ends processes that were kept: their input ends, then SIGTERM, and after a second SIGKILL."""
        for one in self._workers.values():
            one.close()
        self._workers.clear()


@dataclass(frozen=True)
class Line:
    """What a kept command is told; its answer, as data where it is JSON, is the session's outcome."""

    command: Command
    text: str

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return f"{self.command.title} < {self.text}"

    def ask(self, opened: Callable[[Any], object] = lambda handle: None) -> Any:
        """Tells it now; the process goes on until the lab ends, or an exploration that it is a part of."""
        return self.ask_at("", self.command.shared, opened)

    def ask_at(self, name: str, endpoint: Endpoint, opened: Callable[[Any], object]) -> Any:
        """Tells it, and waits for the answer. Raises ServerLost where it ends instead."""
        return self.command.worker(name, endpoint).ask(self.text, opened)


class _Worker:
    """A process that is told line after line."""

    def __init__(self, command: Command, words: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # it has no name, and is gone with this process
        theirs, self._input = os.pipe()
        self._output, answers = os.pipe()
        try:
            self._running = command.start(words, environment, (theirs, answers, self._errors.fileno()))
        finally:
            os.close(theirs)
            os.close(answers)
        self._said = b""
        self.is_over = False

    def ask(self, text: str, opened: Callable[[Any], object]) -> Any:
        handle = _Handle(self._command, self._running, self._errors.fileno(), self)
        opened(handle)
        if self._is_readable(0):
            self._read()
        if self._said:
            raise ScheduleError(
                f"{self._command.name} has printed {self._said[:80]!r} unasked: it answers a line by a line, and its "
                "log goes to standard error"
            )
        with contextlib.suppress(BrokenPipeError):  # that it has ended is seen below
            rest = text.encode() + b"\n"
            while rest:
                rest = rest[os.write(self._input, rest) :]
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self._said:
            if not self._is_readable(deadline - time.monotonic()):
                raise StepTimeout(f"{handle.stands_at()}, within {ANSWER_SECONDS:g} s")
            self._read()
            if len(self._said) > MOST_BYTES:
                self._running.end()
                raise ScheduleError(f"{self._command.name} answers by more than a MiB, or without an end of line")
        line, _, self._said = self._said.partition(b"\n")
        return data_of(line)

    def _is_readable(self, seconds: float) -> bool:
        return bool(select.select([self._output], [], [], max(0.0, seconds))[0])

    def _read(self) -> None:
        data = os.read(self._output, 65_536)
        if not data:
            self.is_over = True
            status = self._running.status(POLITE_SECONDS)
            ended = "has closed its output" if status is None else f"has ended, with exit code {status}"
            said = f", after {self._said[:80]!r} without an end of line" if self._said else ""
            printed = tail_of(self._errors.fileno())
            raise ServerLost(f"{self._command.name} {ended}{said}, in the place of an answer{printed}")
        self._said += data

    @property
    def said(self) -> bytes:
        """What it has answered so far."""
        return self._said

    def close(self) -> None:
        os.close(self._input)
        self._running.end()
        with contextlib.suppress(LabError):
            self._running.status(2 * POLITE_SECONDS)
        self._running.close()
        os.close(self._output)
        self._errors.close()


@dataclass
class _Handle:
    """A wait for a process: `close()` ends the process, and so the wait."""

    command: Command
    running: Running
    output: int
    worker: _Worker | None = None

    def close(self) -> None:
        if self.worker:
            self.worker.is_over = True
        self.running.end()

    def stands_at(self) -> str:
        """What is waited for, for a report."""
        begun = self.worker.said[:80] if self.worker else b""
        waits = "has not answered" if self.worker else "has not ended"
        waits = f"has answered {begun!r} without an end of line" if begun else waits
        last = "".join(f", and last printed {line[:80]!r}" for line in last_lines(self.output)[-1:])
        return f"{self.command.name}, which {waits}{last}"


def data_of(raw: bytes) -> Any:
    """What was printed: data where it is JSON, else text, or bytes where it is neither."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    try:
        return json.loads(text)
    except ValueError:
        return text.removesuffix("\n")


def _as_bytes(input: Any) -> bytes:
    if input is None or isinstance(input, bytes):
        return input or b""
    return (input if isinstance(input, str) else json.dumps(input)).encode()
