"""The state of a program's threads, as Linux reports it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
LOOK_SECONDS = 0.02


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int


def computes(keeper: int) -> bool:
    """Whether a thread of a program that a keeper has started runs, or waits for a processor or a disk.

    False if the system does not report it. The programs are those in the sessions that the keeper's children lead.
    Fields as in proc(5).
    """
    processes = _processes()
    led = {one.pid for one in processes if one.parent == keeper}
    return any(_has_running_thread(one.pid) for one in processes if one.session in led)


def computes_here(cpu_seconds: Callable[[], float] = time.process_time) -> bool:
    """Whether this process, or the thread whose clock is given, uses the processor while the caller watches.

    That clock stands still while its thread waits for another one.
    """
    before = cpu_seconds()
    time.sleep(LOOK_SECONDS)
    return cpu_seconds() - before > LOOK_SECONDS / 8


def _processes() -> list[_Process]:
    found = []
    for folder in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            _, parent, _, session = _fields(folder / "stat")[:4]
            found.append(_Process(int(folder.name), int(parent), int(session)))
    return found


def _has_running_thread(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return any(_fields(thread / "stat")[0] in ("R", "D") for thread in (PROC / str(pid) / "task").iterdir())
    return False


def _fields(stat: Path) -> list[str]:
    """The fields after the program's name, which may contain blanks: state, parent, group, session, ..."""
    return stat.read_text().rpartition(")")[2].split()
