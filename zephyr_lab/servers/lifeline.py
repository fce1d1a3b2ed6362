"""Detects the owner's end: standard input is a pipe that the owner holds open."""

import os
import select
import sys


def owner_is_gone(owner: int, seconds: float) -> bool:
    """Waits at most `seconds`. The parent's pid counts too: a forked child of the owner may hold the pipe open."""
    if sys.platform == "win32":  # no select on pipes, and no fork
        return os.read(0, 1) == b""
    readable, _, _ = select.select([0], [], [], seconds)
    if readable and os.read(0, 1) == b"":
        return True
    return os.getppid() != owner
