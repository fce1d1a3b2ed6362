"""A process that has imported what notebooks import, and becomes a kernel each time that one is asked for.

It is single-threaded, has no event loop, no ZeroMQ context, no lab and no connection, so that a fork of it is what a
kernel is that has just imported the same. `kernels/python3/client.py` asks; when it is gone, so is its kernel. SIGTERM
ends all.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import importlib
import itertools
import json
import multiprocessing.process
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

# What a kernel and the notebooks import, and what those import late. One that is missing is its notebook's to miss.
MODULES = (
    "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "ipykernel.debugger", "tornado.platform.asyncio",
    "IPython.core.completerlib", "IPython.core.debugger", "IPython.extensions.storemagic", "faulthandler", "runpy",
    "sqlite3", "stringprep", "encodings.idna", "encodings.ascii", "zmq.utils.garbage",
    "ipywidgets", "pandas.io.formats.html", "pandas.io.formats.string", "pyarrow.pandas_compat",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "scipy.sparse.csgraph",
    "sqlalchemy.orm", "sqlalchemy.dialects.postgresql.psycopg", "sqlglot.dialects.postgres",
    "sqlglot.generators.postgres", "sqlglot.parsers.postgres", "zephyr_lab.course.magics", "zephyr_lab.lab.lab",
    "zephyr_lab.check", "zephyr_lab.explore.recording", "zephyr_lab.runbook", "zephyr_lab.servers.keyvalue",
    "zephyr_lab.functions.keyvalue", "zephyr_lab.course.checker", "zephyr_lab.course.predict",
    "zephyr_lab.course.result", "zephyr_lab.course.shop", "zephyr_lab.course.strategies", "zephyr_lab.views.answer",
    "zephyr_lab.views.dependencies", "zephyr_lab.views.grid", "zephyr_lab.views.service", "zephyr_lab.views.slots",
    "zephyr_lab.views.stepper", "zephyr_lab.views.timeline", "zephyr_lab.views.wait_tree",
)  # fmt: skip
PR_SET_PDEATHSIG = 1


def main() -> None:
    del sys.path[0]  # the folder that this was started in; IPython puts its own there
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(sys.argv[1])
    listening.listen(64)  # from now on who asks waits for us, instead of importing everything themselves
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    before = dict(os.environ)
    prepare()
    imported = {name: value for name, value in os.environ.items() if name not in before}
    kernels = Kernels(listening)
    try:
        order = kernels.serve()
    except SystemExit:
        kernels.end()
        raise
    become_kernel(order, imported)


def prepare() -> None:
    """Imports, and draws once: the fonts are looked up and loaded."""
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as a kernel does before a cell
    # pandas asks at its import how output is encoded, and how wide tables may be, by what IPython puts among builtins.
    builtins.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    for name in MODULES:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    del builtins.get_ipython  # type: ignore[attr-defined]
    if pandas := sys.modules.get("pandas"):
        pandas.set_option("display.encoding", "UTF-8")
    with contextlib.suppress(ModuleNotFoundError):
        from zephyr_lab.views.figure import Picture, new_figure, style

        with style():
            figure = new_figure(1, 1)
            figure.add_axes((0, 0, 1, 1)).text(0, 0, "a", family="DejaVu Sans Mono")
            Picture.of(figure, "")
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Order:
    """What a kernel is to be: the arguments of `ipykernel_launcher`, and what it inherits from whoever asked."""

    server: int
    arguments: list[str]
    folder: str
    umask: int
    environment: dict[str, str]
    descriptors: list[int]


class Kernels:
    """The kernels that are there, each with the connection that it lives by."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._asked: dict[int, socket.socket] = {}  # by the kernel's pid
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)

    def serve(self) -> Order:
        """Forks a kernel for everybody who asks. Returns in such a fork only, with what it is to be."""
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        self._woken.recv(4096)
                        self._reap(selector)
                    elif key.fileobj is not self._listening:
                        self._hear(selector, key.fileobj, key.data)
                    elif (order := self._begin(selector)) is not None:
                        return order

    def end(self) -> None:
        for kernel in self._asked:
            _signal(kernel, signal.SIGKILL)

    def _begin(self, selector: selectors.BaseSelector) -> Order | None:
        connection, _ = self._listening.accept()
        order = _receive(connection)
        if order is None:  # somebody who looked whether we are there
            connection.close()
            return None
        kernel = os.fork()
        if kernel == 0:
            self._forget(connection)
            return order
        for descriptor in order.descriptors:
            os.close(descriptor)
        self._asked[kernel] = connection
        selector.register(connection, selectors.EVENT_READ, kernel)
        return None

    def _forget(self, connection: socket.socket) -> None:
        """What is the server's and not a kernel's."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for one in (self._listening, self._woken, self._wakes, connection, *self._asked.values()):
            one.close()

    def _hear(self, selector: selectors.BaseSelector, connection: Any, kernel: int) -> None:
        try:
            said = connection.recv(64)
        except OSError:
            said = b""
        if not said:
            selector.unregister(connection)
        _signal(kernel, signal.SIGINT if said else signal.SIGKILL)

    def _reap(self, selector: selectors.BaseSelector) -> None:
        for kernel, connection in list(self._asked.items()):
            pid, status = os.waitpid(kernel, os.WNOHANG)
            if not pid:
                continue
            with contextlib.suppress(KeyError):
                selector.unregister(connection)
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                connection.send(bytes([code if 0 <= code < 256 else 1]))
            connection.close()
            del self._asked[kernel]


def _signal(kernel: int, number: signal.Signals) -> None:
    """To its whole group, as Jupyter sends it; to the kernel alone where that is not made yet."""
    with contextlib.suppress(ProcessLookupError):
        try:
            os.killpg(kernel, number)
        except ProcessLookupError:
            os.kill(kernel, number)


def _receive(connection: socket.socket) -> Order | None:
    connection.settimeout(10)
    try:
        size, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        if len(size) < 4:
            return None
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            part = connection.recv(1 << 16)
            if not part:
                return None
            text += part
    except OSError:
        return None
    connection.settimeout(None)
    return Order(server=os.getpid(), descriptors=descriptors, **json.loads(text))


def become_kernel(order: Order, imported: dict[str, str]) -> None:
    """What `python -m ipykernel_launcher` does; what imports took from our surroundings is put right first."""
    import ipykernel_launcher
    import numpy
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    for number, descriptor in enumerate(order.descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(order.folder)
    os.umask(order.umask)
    os.environ.clear()
    os.environ.update({**imported, **order.environment})
    time.tzset()
    tempfile.tempdir = None
    multiprocessing.process.ORIGINAL_DIR = order.folder  # type: ignore[attr-defined]
    numpy.random.seed()  # Python's own generator sees to that itself
    sys.argv = [ipykernel_launcher.__file__, *order.arguments]
    threading._counter = itertools.count(1).__next__  # type: ignore[attr-defined]  # by which threads are named
    # It ends when its parent does; that is not who asked for it, as the environment has it.
    kernel = IPKernelApp.instance(parent_handle=order.server)
    kernel.initialize(order.arguments)
    threading.Thread()  # an ordinary kernel imports its debugger by now, which takes a number,
    if ipywidgets := sys.modules.get("ipywidgets"):
        ipywidgets.register_comm_target()  # and what this does in a kernel at its import
    kernel.start()


if __name__ == "__main__":
    main()
