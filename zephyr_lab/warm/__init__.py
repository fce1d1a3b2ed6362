"""Kernels that begin with everything imported, to execute many notebooks.

Within `warm_kernels()` the kernel `python3` is a fork of one process (`server.py`), fresh each time; papermill,
nbclient and nbval need not know. That process has a supervisor as any server of ours has, so nothing of it outlives us.
Elsewhere than on Linux kernels stay ordinary ones: macOS's frameworks do not bear a fork. As a program it runs a
command in its place, with warm kernels for it and its children:

    python -m zephyr_lab.warm pytest --nbval notebooks
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zephyr_lab.servers.embedded import Supervised

CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
JOBS = CORES + 1  # a lab and its server take turns: with as many notebooks as cores a sixth of these is idle
ADDRESS = "ZEPHYR_LAB_WARM_KERNELS"  # of the socket; `client.py` has the same name
SOCKETS = "ZEPHYR_LAB_WARM_SOCKETS"  # how the paths of the kernels' own begin
# The libraries' own threads, which would be missing in a fork; kernels have the environment of whoever asks for them.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
HERE = Path(__file__).parent
# A cluster is a thousand files: on a disk (ext4) a lab has been seen to take 1.7 s to start, in memory 0.3 s.
MEMORY, ROOM = "/dev/shm", 1 << 30


@contextmanager
def warm_kernels() -> Iterator[Supervised | None]:
    """Kernels that we or our children start within are warm, and keep their history in a folder that goes with us.

    Within another one it is that one. Gives the server, where there is a new one. Raises ServerUnavailable.
    """
    if ADDRESS in os.environ:
        yield None
    elif sys.platform != "linux":
        with tempfile.TemporaryDirectory(prefix="zephyr-lab-ipython-") as scratch, environment(IPYTHONDIR=scratch):
            yield None
    else:
        from zephyr_lab.servers.account import Account
        from zephyr_lab.servers.carriers import Program
        from zephyr_lab.servers.embedded import Supervised

        python = Path(sys.executable)
        server = Supervised(Program(python, "warm kernels", Account("ourselves"), "", python.parent), {
            "prefix": "zephyr-lab-ke-",
            "server": [str(python), "-m", f"{__name__}.server", "{folder}/socket"],
            "ready": ["socket", "{folder}/socket"],
            "stop": "SIGTERM",
            "environment": {**os.environ, **ONE_THREAD},
        })  # fmt: skip
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("JUPYTER_PATH")])])
        inside = {
            ADDRESS: f"{server.folder}/socket", "JUPYTER_PATH": path,
            "IPYTHONDIR": f"{server.folder}/ipython", SOCKETS: f"{server.folder}/kernel-",
        }  # fmt: skip
        inside |= in_memory()
        try:
            with environment(**inside):
                yield server
        finally:
            server.close()


def in_memory() -> dict[str, str]:
    """A TMPDIR in memory for what is not measured, where there is room and the user has set none."""
    if sys.platform != "linux" or "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return {}
    status = os.statvfs(MEMORY)
    return {"TMPDIR": MEMORY} if status.f_bavail * status.f_frsize >= ROOM else {}


@contextmanager
def on_disk() -> Iterator[None]:
    """Within, temporary files are where they would be without `in_memory`: what is measured there must be durable."""
    if os.environ.get("TMPDIR") != MEMORY:
        yield
        return
    del os.environ["TMPDIR"]
    try:
        yield
    finally:
        os.environ["TMPDIR"] = MEMORY


@contextmanager
def environment(**inside: str) -> Iterator[None]:
    """Variables that are set within, for us and our children."""
    before = {name: os.environ.get(name) for name in inside}
    os.environ.update(inside)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
