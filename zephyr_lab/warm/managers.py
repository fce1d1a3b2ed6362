"""Kernel managers that talk to warm kernels over Unix sockets; elsewhere they are Jupyter's own.

A TCP port is chosen before its kernel is there to take it; where another process took it in between, the kernel's start
hangs. As a pytest plugin (`-p zephyr_lab.warm.managers`) this gives nbval such managers, which has no option for it.
"""

import os
import uuid
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import default

from zephyr_lab.warm import SOCKETS


def _warm() -> bool:
    """Whether the process that kernels are forked from is there: its folder goes with it."""
    return SOCKETS in os.environ and Path(os.environ[SOCKETS]).parent.is_dir()


class _OverUnixSockets:
    @default("transport")
    def _transport(self) -> str:
        return "ipc" if _warm() else "tcp"

    @default("connection_file")
    def _connection_file(self) -> str:
        return f"{os.environ[SOCKETS]}{uuid.uuid4()}.json" if _warm() else ""


class Manager(_OverUnixSockets, KernelManager):
    pass


class AsyncManager(_OverUnixSockets, AsyncKernelManager):
    pass


def pytest_configure() -> None:
    import nbval.kernel

    nbval.kernel.KernelManager = Manager
