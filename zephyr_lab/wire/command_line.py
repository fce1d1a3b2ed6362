"""Programs to start: their words and environment, whether they exist, and the end of their output."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zephyr_lab.errors import BadInput
from zephyr_lab.wire.endpoint import Endpoint

Words = str | Sequence[str | os.PathLike[str]]
TAIL_LINES = 12
TAIL_BYTES = 8192


def _words_of(command: Words) -> list[str]:
    """A command's words; a string is split as a shell splits it, and no shell is run. Raises BadInput."""
    try:
        words = shlex.split(command) if isinstance(command, str) else [os.fspath(one) for one in command]
    except ValueError as error:
        raise BadInput(f"{command!r} cannot be split into words: {error}") from None
    if not words:
        raise BadInput("a command is empty: name a program, as in ['./shop'] or 'node server.js'")
    return words


@dataclass(frozen=True)
class Program:
    """A program to start: its words, and `given`, variables on top of this process's environment.

    `{dsn}`, `{jdbc_url}`, `{redis_url}` and `{port}` are placeholders in both. `folder` is where it is run, or None for
    this process's folder.
    """

    words: list[str]
    given: Mapping[str, str]
    folder: str | None
    uses_redis: bool

    @classmethod
    def of(
        cls, command: Words, env: Mapping[str, str] | None, cwd: str | os.PathLike[str] | None, redis: bool
    ) -> Program:
        """Raises BadInput if it cannot be started."""
        words, given = _words_of(command), {name: str(value) for name, value in (env or {}).items()}
        folder = None if cwd is None else str(Path(cwd).resolve())
        _check_program(words[0], folder, {**os.environ, **given})
        return cls(words, given, folder, redis)

    def at(self, endpoint: Endpoint, port: int | None = None) -> tuple[list[str], dict[str, str]]:
        """Words and environment of a process that connects to `endpoint`, and listens on `port`, if it is a service."""
        names = {"{dsn}": endpoint.dsn, "{jdbc_url}": endpoint.jdbc_url}
        own = {"DATABASE_URL": endpoint.dsn, **endpoint.environment}
        if port is not None:
            names["{port}"] = own["PORT"] = str(port)
        if self.uses_redis:
            names["{redis_url}"] = own["REDIS_URL"] = endpoint.redis_url
        own |= {name: _filled(value, names) for name, value in self.given.items()}
        return [_filled(word, names) for word in self.words], {**os.environ, **own}


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def _check_program(program: str, folder: str | None, environment: Mapping[str, str]) -> None:
    """Raises BadInput if there is no such program, or no such folder to run it in."""
    if folder is not None and not Path(folder).is_dir():
        raise BadInput(f"there is no folder {folder!r} to start {program!r} in")
    place = str(Path(folder or "", program)) if os.sep in program else program
    if shutil.which(place, path=environment.get("PATH")) is None:
        raise BadInput(f"there is no program {place!r} to start: is it built, and installed on this machine?")


def running(module: str) -> list[str]:
    """The words by which a process runs a module of this package, with this process's `sys.path`."""
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path[:] = {sys.path!r}; from zephyr_lab.wire import {module}; {module}.main()",
    ]


def last_lines(descriptor: int) -> list[str]:
    """The last lines that a program has written to an open file."""
    size = os.fstat(descriptor).st_size
    text = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES)).decode(errors="replace")
    return text.splitlines()[-TAIL_LINES:]


def last_words(descriptor: int) -> str:
    """The last line, as a part of a sentence; '' if there is none."""
    return "".join(f", and last printed {line[:80]!r}" for line in last_lines(descriptor)[-1:])


def tail_of(descriptor: int) -> str:
    """The last lines, as the end of a sentence."""
    lines = last_lines(descriptor)
    if not lines:
        return "; it has printed nothing"
    return "".join(f"\n  {line}" for line in ["Its last words:", *lines])
