"""Commands as sessions: a process for each schedule, or a kept one that answers each line by a line."""

from __future__ import annotations

import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from zephyr_lab.errors import BadInput, ScheduleError, StepTimeout
from zephyr_lab.wire.command_line import Program, Words, last_words, tail_of
from zephyr_lab.wire.endpoint import Endpoint
from zephyr_lab.wire.http import ANSWER_SECONDS
from zephyr_lab.wire.kept import POLITE_SECONDS, Worker
from zephyr_lab.wire.output import MOST_BYTES, Exit, as_bytes, data_of
from zephyr_lab.wire.programs import Running
from zephyr_lab.wire.proxy import Wire

LOOK_SECONDS = 0.2


class Command:
    """A program that does its work and exits, once for each schedule; or with `kept` once for an exploration.

    `command` is run without a shell, in `cwd`, with `env` on top of this process's environment, and with DATABASE_URL,
    libpq's variables (PGHOST, ...) and REDIS_URL (but for `redis=False`), which lead to the session's own socket;
    `{dsn}`, `{jdbc_url}` and `{redis_url}` represent these in `command` and in the values of `env`. `input` is its
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
        self._wire, self.kept = wire, kept
        self._input, self._refusals = as_bytes(input), frozenset(refusals)
        if kept and (input is not None or refusals):
            raise BadInput("a command that is kept has neither input nor exit codes: it is told lines, by .line(...)")
        self._program = Program.of(command, env, cwd, redis)
        self.trouble = ""
        """Its last failure, as a sentence, or ''."""
        self._workers: dict[str, Worker] = {}

    def line(self, data: Any = "") -> Line:
        """A session of a kept command: sends this as a line, text or else JSON; the answer is a line, too.

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
        """Itself, for the protocol that it shares with `Line`."""
        return self

    @property
    def shared(self) -> Endpoint:
        """The endpoint of all sessions."""
        return self._wire.shared

    @property
    def uses_redis(self) -> bool:
        return self._program.uses_redis

    @property
    def name(self) -> str:
        return f"the command {self.title!r}"

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return shlex.join(self._program.words)

    # -- a process for each schedule

    def ask(self, opened: Callable[[Any], object] = lambda wait: None) -> Exit:
        """Runs it now. Raises as `ask_at` does."""
        return self.ask_at("", self._wire.shared, opened)

    def ask_at(self, name: str, endpoint: Endpoint, opened: Callable[[Any], object]) -> Exit:
        """Runs it; it connects to `endpoint`. `opened` is called with an object whose `close()` ends it.

        Raises BadInput if it cannot be started, ScheduleError if it prints too much, StepTimeout.
        """
        if self.kept:
            raise BadInput(f"{self.name} is kept: say what it is told, by .line(...)")
        words, environment = self._program.at(endpoint)
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            given.write(self._input)
            given.seek(0)
            streams = given.fileno(), output.fileno(), errors.fileno()
            running = self._wire.programs.start(words, environment, self._program.folder, streams)
            try:
                wait = _Exit(self.name, running, output.fileno())
                opened(wait)
                return self._end_of(wait, output, errors)
            finally:
                running.close()

    def _end_of(self, wait: _Exit, output: BinaryIO, errors: BinaryIO) -> Exit:
        deadline = time.monotonic() + ANSWER_SECONDS
        while (status := wait.running.status(LOOK_SECONDS)) is None:
            self._check_size(output)
            if time.monotonic() > deadline:
                raise StepTimeout(f"{wait.stands_at()}, within {ANSWER_SECONDS:g} s")
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

    def worker(self, name: str, endpoint: Endpoint) -> Worker:
        """The process of the session of this name."""
        found = self._workers.get(name)
        if found is None or found.is_over:
            if found:
                found.close()
            words, environment = self._program.at(endpoint)
            start = self._wire.programs.start
            found = self._workers[name] = Worker(
                self.name, lambda streams: start(words, environment, self._program.folder, streams, POLITE_SECONDS)
            )
        return found

    def end(self) -> None:
        """Ends kept processes: closes their input, then sends SIGTERM, and SIGKILL after a second."""
        for one in self._workers.values():
            one.close()
        self._workers.clear()


@dataclass(frozen=True)
class Line:
    """A line to a kept command; its answer, data if it is JSON, else text, is the session's outcome."""

    command: Command
    text: str

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return f"{self.command.title} < {self.text}"

    def ask(self, opened: Callable[[Any], object] = lambda wait: None) -> Any:
        """Sends it now; the process goes on until the lab, or an exploration with this command, ends."""
        return self.ask_at("", self.command.shared, opened)

    def ask_at(self, name: str, endpoint: Endpoint, opened: Callable[[Any], object]) -> Any:
        """Sends it and returns the answer. Raises ServerLost if the process ends instead."""
        return self.command.worker(name, endpoint).ask(self.text, opened)


@dataclass
class _Exit:
    """A wait for the end of a process; `close()` ends it."""

    name: str
    running: Running
    output: int

    def close(self) -> None:
        self.running.end()

    def stands_at(self) -> str:
        """What it waits for, for a report."""
        return f"{self.name}, which has not ended{last_words(self.output)}"
