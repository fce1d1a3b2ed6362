"""The processes of a run: start, wait until ready, listen, stop; none outlives the process that started it.

No executor does this: who runs has to be told when to begin and to stop, and says how far it is. On a cluster Dask has
topics and events for that: see `distant`.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from zephyr_lab.errors import ServerUnavailable
from zephyr_lab.load.client import Share
from zephyr_lab.load.counts import Counts

START_SECONDS, END_SECONDS = 60.0, 40.0


class Process:
    """A worker, and its messages so far."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}
        self._buffer = b""
        self.may_go_on = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zephyr_lab.load.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def begin(self, role: str, share: Share) -> None:
        """Begins a run. A process that has used gRPC has bound it to one event loop, and is not used again."""
        self.said = {}
        self.may_go_on = role == "clients" and share.where.address is None
        order = {
            "role": role,
            "incident": share.incident.to_dict(),
            "number": share.number,
            "pool": share.pool,
            "where": asdict(share.where),
            "today": share.today.isoformat(),
        }
        self.tell(json.dumps(order))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> Any:
        return self._process.stdout

    def tell(self, line: str) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def listen(self) -> bool:
        """Reads its messages; False if it has ended."""
        assert self._process.stdout
        chunk = self._process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            self.said.update(json.loads(line))
        return bool(chunk)

    @property
    def counts(self) -> Counts | None:
        return Counts.of(self.said["counts"]) if "counts" in self.said else None

    def close(self) -> None:
        """Ends it at once, if it has not ended."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Idle:
    """Idle workers, kept between runs: starting one takes longer than a short run."""

    def __init__(self) -> None:
        self._waiting: list[Process] = []

    def take(self) -> Process:
        """An idle worker, or a new one."""
        while self._waiting:
            if (one := self._waiting.pop()).is_alive:
                return one
            one.close()
        return Process()

    def give_back(self, one: Process) -> None:
        if one.may_go_on and "counts" in one.said and one.is_alive:
            self._waiting.append(one)
        else:
            one.close()

    def close(self) -> None:
        while self._waiting:
            self._waiting.pop().close()


class Processes:
    """The workers of a run."""

    def __init__(self, idle: Idle) -> None:
        self.all: list[Process] = []
        self._idle = idle
        self._selector = selectors.DefaultSelector()

    def start(self, role: str, share: Share) -> Process:
        made = self._idle.take()
        made.begin(role, share)
        self.all.append(made)
        self._selector.register(made.output, selectors.EVENT_READ, made)
        return made

    def listen(self, seconds: float) -> None:
        """Waits at most so many seconds for messages, and reads them."""
        for key, _ in self._selector.select(seconds):
            if not key.data.listen():
                self._selector.unregister(key.fileobj)

    def wait_for(self, word: str, wanted: list[Process], seconds: float = START_SECONDS) -> None:
        """Waits until each has sent this message. Raises ServerUnavailable for one that cannot."""
        deadline = time.monotonic() + seconds
        while missing := [one for one in wanted if word not in one.said]:
            for one in missing:
                if "error" in one.said:
                    raise ServerUnavailable(f"the service could not start: {one.said['error']}")
                if one.output.fileno() not in self._selector.get_map():
                    raise ServerUnavailable("a process of the run ended before it was ready; see its message above")
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"the service was not ready within {seconds:g} s")
            self.listen(0.2)

    def ended(self, role: list[Process]) -> bool:
        """Whether each has sent its counts, or has ended."""
        open_ = self._selector.get_map()
        return all("counts" in one.said or one.output.fileno() not in open_ for one in role)

    def close(self) -> None:
        for one in self.all:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(one.output)
            self._idle.give_back(one)
        self._selector.close()


@contextmanager
def processes(idle: Idle) -> Iterator[Processes]:
    """The workers of a run; at the end of the block they are ended, or idle again."""
    made = Processes(idle)
    try:
        yield made
    finally:
        made.close()
