"""How a process of ours notices that its owner is gone: its standard input is a pipe that the owner holds open."""

import os
import select
import sys


def owner_is_gone(owner: int, seconds: float) -> bool:
    """Waits for at most so long. The pid is looked at too: a forked child of the owner may hold the pipe as well."""
    if sys.platform == "win32":  # no select on pipes, and no fork
        return os.read(0, 1) == b""
    readable, _, _ = select.select([0], [], [], seconds)
    if readable and os.read(0, 1) == b"":
        return True
    return os.getppid() != owner
