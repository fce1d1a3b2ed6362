"""A service under the lab: started with the lab's addresses in its environment, asked by requests, ended with it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any

from zephyr_lab.errors import BadInput, ServerLost, ServerUnavailable
from zephyr_lab.wire.called import Called
from zephyr_lab.wire.command_line import Program, Words, running, tail_of
from zephyr_lab.wire.http import HttpRequest, Verbs, method_and_path
from zephyr_lab.wire.processes import computes
from zephyr_lab.wire.proxy import Wire

READY_SECONDS = 30.0
RESTART = "restart"


class Service(Verbs):
    """A program that serves HTTP, until `close()` or the end of this process, however that comes.

    `command` is run without a shell, with `env` on top of this process's environment, and with DATABASE_URL and libpq's
    variables (PGHOST, ...) for the lab's PostgreSQL, REDIS_URL for its Redis (but for `redis=False`), PORT for the port
    to listen on; `{dsn}`, `{jdbc_url}`, `{redis_url}` and `{port}` represent these in `command` and in the values
    of `env`. It is ready when GET of `ready`, a path, is answered with a status below 500, or without a path when its
    port accepts connections. A request that is answered with a status in `refusals` was refused because of another one.
    `reset` is how its memory is reset before each schedule: a request, such as "POST /reset", or "restart". Raises
    BadInput, and ServerUnavailable, with what it has printed, if it is not ready within `ready_seconds`.
    """

    def __init__(
        self,
        wire: Wire,
        command: Words,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        ready: str = "",
        ready_seconds: float = READY_SECONDS,
        refusals: Collection[int] = (409,),
        reset: HttpRequest | str | None = None,
        redis: bool = True,
    ) -> None:
        program = Program.of(command, env, cwd, redis)
        self._port = _free_port()
        super().__init__(f"http://127.0.0.1:{self._port}", refusals, self)
        self.is_new = True
        self.reset = self._reset(reset) if isinstance(reset, str) and reset != RESTART else reset
        self._ready, self._seconds = ready, ready_seconds
        self._wire, self._folder = wire, program.folder
        self._words, self._environment = program.at(wire.shared, self._port)
        self._troubles_before = list(wire.troubles)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # it has no name, and is gone with this process
        self._start()
        wire.stillness.programs.add(self.is_working)

    def _reset(self, words: str) -> HttpRequest:
        try:
            return self.request(*method_and_path(words))
        except BadInput:
            raise BadInput(
                f"a service is put back by a request, such as 'POST /reset', or by {RESTART!r}, not by {words!r}"
            ) from None

    def _start(self) -> None:
        self._keeper = subprocess.Popen(
            running("keeper"), stdin=subprocess.PIPE, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        assert self._keeper.stdin
        order = {"command": self._words, "environment": self._environment, "folder": self._folder}
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
            self._keeper.stdin.flush()
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._seconds
        pause, last = 0.01, "it does not listen on its port; it is told the port by PORT, or by {port} in its command"
        while time.monotonic() < deadline:
            if self._keeper.poll() is not None:
                raise ServerUnavailable(self._ended())
            try:
                if not self._ready:
                    self._connect()
                    return
                status = self.get(self._ready)._ask(lambda connection: None).status
                if status < 500:
                    return
                last = f"GET {self._ready} is answered with {status}"
            except OSError:
                pass
            time.sleep(pause)
            pause = min(2 * pause, 0.2)
        raise ServerUnavailable(f"{self._what()} is not ready after {self._seconds:g} s: {last}{self._said()}")

    def _what(self) -> str:
        return f"the service {shlex.join(self._words)!r}".replace(self._wire.dsn, "DSN")

    def _ended(self) -> str:
        return f"{self._what()} has ended, with exit code {self._keeper.returncode}{self._said()}"

    def _said(self) -> str:
        return tail_of(self._log.fileno()) + "".join(f"\nThe lab's socket: {one}" for one in self._wire.troubles)

    @property
    def address(self) -> str:
        """Where it listens, such as `127.0.0.1:41234`."""
        return f"127.0.0.1:{self._port}"

    def call(self, function: Callable[[], Any]) -> Called:
        """A session that calls the service by another protocol than HTTP, such as `lambda: stub.Book(order)`.

        What it returns or raises is its outcome, as of a function. Raises BadInput.
        """
        return Called(function, self)

    # -- as its requests ask

    def ensure_alive(self, seconds: float = 0.0) -> None:
        """Raises ServerLost if it has ended, or ends within so many seconds."""
        if self._log.closed:
            raise ServerLost(f"{self._what()} was closed, and its requests with it: start it anew")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(seconds)
            raise ServerLost(self._ended())

    def is_working(self) -> bool:
        """Whether one of its threads runs, as far as this system tells."""
        return computes(self._keeper.pid)

    def _connect(self) -> None:
        socket.create_connection(("127.0.0.1", self._port), 1).close()

    def listens(self) -> bool:
        """Whether its port can be connected to."""
        with contextlib.suppress(OSError):
            self._connect()
            return True
        return False

    def put_back(self) -> None:
        """Resets its memory, as `reset` says. Raises ServerLost, ServerUnavailable."""
        if self.reset == RESTART:
            self._end()
            self._start()
        elif isinstance(self.reset, HttpRequest):
            answer = self.reset.ask()
            if answer.failed:
                raise ServerLost(f"{self._what()} was to be put back, and answered with {answer.status}{self._said()}")

    # -- its end

    def _end(self) -> None:
        assert self._keeper.stdin
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait()

    def close(self) -> None:
        """Ends it and all that it has started: by SIGTERM, and after three seconds by SIGKILL."""
        self._wire.stillness.programs.discard(self.is_working)
        self._end()
        self._log.close()
        self._wire.troubles[:] = self._troubles_before
        self._wire.background.forget()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    """A port that is free now; another program may take it before the service does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
