"""Keeps a program alive exactly as long as the process that started it.

Run as a process of its own, with the same lifeline as `servers/supervisor.py`: an order (JSON: `command`,
`environment`, `folder`) on standard input, and when that pipe closes, or the owner dies in whatever way, the program
and all that it has started in its process group are ended. What the program prints goes to this process's output.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from types import FrameType

from zephyr_lab.servers.lifeline import owner_is_gone

POLITE_SECONDS = 3.0  # between SIGTERM and SIGKILL


def main() -> None:
    owner = os.getppid()
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        # Not SIG_IGN, which the program would inherit.
        signal.signal(getattr(signal, name), _goes_on)
    line = sys.stdin.readline()
    if not line:
        return
    order = json.loads(line)
    program = subprocess.Popen(
        order["command"], env=order["environment"], cwd=order["folder"], stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        while program.poll() is None and not owner_is_gone(owner, 0.2):
            pass
    finally:
        _end(program)
    raise SystemExit(program.returncode if program.returncode >= 0 else 128 - program.returncode)


def _goes_on(number: int, frame: FrameType | None) -> None:
    """Ignores a signal: only the end of the lifeline ends a keeper."""


def _end(program: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(POLITE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)  # processes that it started may still run
    program.wait()
