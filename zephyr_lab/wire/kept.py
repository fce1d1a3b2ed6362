"""A process that is kept from schedule to schedule, and answers each line by a line."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zephyr_lab.errors import LabError, ScheduleError, ServerLost, StepTimeout
from zephyr_lab.wire.command_line import last_words, tail_of
from zephyr_lab.wire.http import ANSWER_SECONDS
from zephyr_lab.wire.output import MOST_BYTES, data_of
from zephyr_lab.wire.programs import Running, is_readable

POLITE_SECONDS = 1.0
"""Between SIGTERM and SIGKILL."""


class Worker:
    """A process; `start` starts it with the descriptors of its streams. `name` is its name in reports."""

    def __init__(self, name: str, start: Callable[[tuple[int, int, int]], Running]) -> None:
        self._name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # it has no name, and is gone with this process
        theirs, self._input = os.pipe()
        self._output, answers = os.pipe()
        try:
            self._running = start((theirs, answers, self._errors.fileno()))
        finally:
            os.close(theirs)
            os.close(answers)
        self._said = b""
        self.is_over = False

    def ask(self, text: str, opened: Callable[[Any], object]) -> Any:
        wait = _Answer(self, self._running, self._errors.fileno())
        opened(wait)
        if is_readable(self._output, 0):
            self._read()
        if self._said:
            wait.close()
            raise ScheduleError(
                f"{self._name} has printed {self._said[:80]!r} unasked: it answers a line by a line, and its "
                "log goes to standard error"
            )
        with contextlib.suppress(BrokenPipeError):  # its end is detected below
            rest = text.encode() + b"\n"
            while rest:
                rest = rest[os.write(self._input, rest) :]
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self._said:
            if not is_readable(self._output, deadline - time.monotonic()):
                wait.close()
                raise StepTimeout(f"{wait.stands_at()}, within {ANSWER_SECONDS:g} s")
            self._read()
            if len(self._said) > MOST_BYTES:
                wait.close()
                raise ScheduleError(f"{self._name} answers by more than a MiB, or without an end of line")
        line, _, self._said = self._said.partition(b"\n")
        return data_of(line)

    def _read(self) -> None:
        data = os.read(self._output, 65_536)
        if not data:
            self.is_over = True
            status = self._running.status(POLITE_SECONDS)
            ended = "has closed its output" if status is None else f"has ended, with exit code {status}"
            said = f", after {self._said[:80]!r} without an end of line" if self._said else ""
            printed = tail_of(self._errors.fileno())
            raise ServerLost(f"{self._name} {ended}{said}, in the place of an answer{printed}")
        self._said += data

    def stands_at(self) -> str:
        """What it waits for, for a report."""
        if self._said:
            return f"{self._name}, which has answered {self._said[:80]!r} without an end of line"
        return f"{self._name}, which has not answered"

    def close(self) -> None:
        os.close(self._input)
        self._running.end()
        with contextlib.suppress(LabError):
            self._running.status(2 * POLITE_SECONDS)
        self._running.close()
        os.close(self._output)
        self._errors.close()


@dataclass
class _Answer:
    """A wait for an answer; `close()` ends the process, and with it the wait."""

    worker: Worker
    running: Running
    errors: int

    def close(self) -> None:
        self.worker.is_over = True
        self.running.end()

    def stands_at(self) -> str:
        """What it waits for, for a report."""
        return self.worker.stands_at() + last_words(self.errors)
