"""Serves the sockets in a thread of its own; while a schedule runs, its thread does that instead."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator

from zephyr_lab.wire.streams import Loop


class Serving:
    """Serves `loop` from `start` to `stop`, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = Loop()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self.loop.watch(self._bell, selectors.EVENT_READ, self._rung)
        self._rests = False
        self._idle: threading.Thread | None = None

    def start(self) -> None:
        self._rests = False
        self._idle = threading.Thread(name="zephyr-lab wire", target=self._serve, daemon=True)
        self._idle.start()

    def _serve(self) -> None:
        while not self._rests:
            self.loop.pump(None)

    def stop(self) -> bool:
        """Ends the thread; returns whether it was running."""
        thread, self._idle = self._idle, None
        if thread is None:
            return False
        self._rests = True
        self.wake()
        if thread is not threading.current_thread():
            thread.join()
        return True

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside the block, the caller's thread serves, by `loop.pump`."""
        was_serving = self.stop()
        try:
            yield
        finally:
            if was_serving:
                self.start()

    def wake(self) -> None:
        """Has the thread that serves look again; may be called from any thread."""
        with contextlib.suppress(OSError):
            self._button.send(b".")

    def _rung(self, events: int) -> None:
        with contextlib.suppress(OSError):
            self._bell.recv(1)  # one byte each time: another may have been sent since this look began

    def serve_while(self, call: Callable[[], object]) -> None:
        """Serves in this thread while another one runs `call`. Raises what it raises."""
        error: list[BaseException] = []

        def run() -> None:
            try:
                call()
            except BaseException as raised:
                error.append(raised)
            finally:
                self.wake()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            self.loop.pump(0.1)
        if error:
            raise error[0]

    def close(self) -> None:
        """Closes the loop, after `stop`."""
        self._bell.close()
        self._button.close()
        self.loop.close()
