"""Programs that are started again and again, by one `starter`, and end with this process."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from zephyr_lab.errors import BadInput, ServerLost
from zephyr_lab.wire.command_line import running
from zephyr_lab.wire.processes import computes


def is_readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or the other end is closed, within so many seconds."""
    poll = select.poll()  # select() takes no descriptors from 1,024 on
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))


class Running:
    """A program that was started. `end()` and `close()` end it, and do not wait for that."""

    def __init__(self, told: socket.socket, program: str) -> None:
        self.told, self._program = told, program
        self._answer = b""
        self._status: int | None = None

    def status(self, seconds: float) -> int | None:
        """Its exit status, negative for a signal, if it ends within so many seconds, else None.

        Raises BadInput if it could not be started, and ServerLost if the starter has ended.
        """
        deadline = time.monotonic() + seconds
        while self._status is None:
            if not is_readable(self.told.fileno(), deadline - time.monotonic()):
                return None
            data = self.told.recv(4096)
            self._answer += data
            if data and not self._answer.endswith(b"\n"):
                continue
            if not data:
                raise ServerLost(f"what keeps {self._program!r} has ended, and the program with it")
            answer = json.loads(self._answer)
            if "error" in answer:
                raise BadInput(f"cannot start {self._program!r}: {answer['error']}")
            self._status = answer["status"]
        return self._status

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self.told.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.told.close()


class Programs:
    """The programs of one lab, until `close()`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._starter: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        folder: str | None,
        streams: tuple[int, int, int],
        polite: float = 0.0,
    ) -> Running:
        """Starts a program with these descriptors as its standard input, output and error.

        To end it, SIGKILL follows SIGTERM after `polite` seconds. Raises ServerLost.
        """
        order = {"command": words, "environment": environment, "folder": folder, "polite": polite}
        data = json.dumps(order).encode() + b"\n"
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                orders = self._open()
                sent = socket.send_fds(orders, [data], [*streams, theirs.fileno()])
                orders.sendall(data[sent:])
            except OSError as error:
                ours.close()
                raise ServerLost(f"what starts programs for the lab has ended ({error}): start a new lab") from None
        return Running(ours, words[0])

    def _open(self) -> socket.socket:
        if self._orders is None:
            self._orders, theirs = socket.socketpair()
            with theirs:
                self._starter = subprocess.Popen(
                    running("starter"), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
                )
        return self._orders

    def are_working(self) -> bool:
        """Whether a thread of one of them runs, as far as this system tells."""
        return self._starter is not None and computes(self._starter.pid)

    def close(self) -> None:
        """Ends all that are still running."""
        with self._lock:
            if self._orders is not None and self._starter is not None:
                self._orders.close()
                self._starter.wait()
