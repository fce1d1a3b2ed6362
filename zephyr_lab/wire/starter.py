"""Starts programs for another process, and ends them when that ends, in whatever way.

Run as a process of its own, with the standard library only: a keeper for each program would take 50 ms to start. Its
standard input is a socket. Orders come on it, each a line of JSON (`command`, `environment`, `folder`, `polite`) with
four descriptors: the program's standard input, output and error, and a socket for this program alone. On that the
answer is written, `{"status": ...}` when the program has ended (negative: by that signal) or `{"error": ...}`. When the
asker closes it, the program is ended by SIGTERM, and after `polite` seconds by SIGKILL. All processes that a program
has started end with it, on Linux also those that have left its process group, once no other program runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
LOOK_SECONDS = 0.2  # between two checks of the owner, whose socket a child may have inherited


class Program:
    """A running program, and the socket on which its end is reported."""

    def __init__(self, order: dict[str, Any], descriptors: list[int]) -> None:
        self.socket = socket.socket(fileno=descriptors[3])
        self._polite = order["polite"]
        self._kill_at: float | None = None
        try:
            # Without a preexec_fn, which takes 8 ms, as Python then cannot use vfork.
            self._process = subprocess.Popen(
                order["command"], env=order["environment"], cwd=order["folder"], stdin=descriptors[0],
                stdout=descriptors[1], stderr=descriptors[2], start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._tell({"error": error.strerror or str(error)})
            raise
        finally:
            for one in descriptors[:3]:
                os.close(one)
        self.pid = self._process.pid

    def _tell(self, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(json.dumps(answer).encode() + b"\n")
        self.socket.close()

    def end(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._polite
            self._signal(signal.SIGTERM if self._polite else signal.SIGKILL)

    def end_at_last(self) -> None:
        """Sends SIGKILL once its time is up."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def ended(self) -> None:
        """Reports its end, while its pid is still reserved."""
        self._signal(signal.SIGKILL)  # what it has started
        self._tell({"status": self._process.wait()})


class Starter:
    """All running programs, by pid."""

    def __init__(self, owner: int) -> None:
        self._owner, self._orders = owner, socket.socket(fileno=0)
        self._programs: dict[int, Program] = {}
        self._text, self._descriptors = b"", list[int]()
        self._selector = selectors.DefaultSelector()
        bell, button = socket.socketpair()
        for end in (bell, button):
            end.setblocking(False)
        self._bell, self._button = bell, button
        signal.set_wakeup_fd(button.fileno())
        self._selector.register(bell, selectors.EVENT_READ)
        self._selector.register(self._orders, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serves until the owner has ended."""
        try:
            while os.getppid() == self._owner:
                for key, _ in self._selector.select(LOOK_SECONDS):
                    if key.fileobj is self._orders:
                        if not self._receive():
                            return
                    elif key.fileobj is self._bell:
                        self._bell.recv(4096)
                    elif key.data:
                        self._selector.unregister(key.fileobj)
                        key.data.end()
                self._reap()
                for one in self._programs.values():
                    one.end_at_last()
        finally:
            self._end_all()

    def _receive(self) -> bool:
        """Handles what has arrived; False if the owner has ended."""
        data, descriptors, _, _ = socket.recv_fds(self._orders, 65_536, 64)
        self._text += data
        self._descriptors += descriptors
        while b"\n" in self._text:
            line, _, self._text = self._text.partition(b"\n")
            mine, self._descriptors = self._descriptors[:4], self._descriptors[4:]
            with contextlib.suppress(OSError):  # it has been told
                program = Program(json.loads(line), mine)
                self._programs[program.pid] = program
                self._selector.register(program.socket, selectors.EVENT_READ, program)
        return bool(data)

    def _reap(self) -> None:
        """Handles programs that ended. Without WNOWAIT, a group's number could be reused before it is signalled."""
        while found := _ended_child():
            if program := self._programs.pop(found, None):
                with contextlib.suppress(KeyError):
                    self._selector.unregister(program.socket)
                program.ended()
            else:
                os.waitpid(found, 0)
            if not self._programs:
                _kill_children()

    def _end_all(self) -> None:
        for one in self._programs.values():
            one.end()
        while self._programs:
            self._reap()
            for one in self._programs.values():
                one.end_at_last()
            time.sleep(0.005)
        _kill_children()


def _ended_child() -> int:
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found.si_pid if found else 0
    return 0


def _kill_children() -> None:
    """Kills processes that left their group, and became children of this one when their parents ended."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(child), signal.SIGKILL)


def main() -> None:
    owner = os.getppid()
    for name in ("SIGINT", "SIGHUP", "SIGTERM", "SIGCHLD"):  # a handler: what is ignored stays so in the programs
        signal.signal(getattr(signal, name), lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Starter(owner).serve()
