"""The line between the service and PostgreSQL, with delays, lost packets, and answers to COMMIT that never arrive.

A proxy of TCP, in a process of its own, since network namespaces need rights that few machines give. A lost packet
costs what its repetition does, and what is behind it waits too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator

from zephyr_lab.load.faults import RESENT_SECONDS, Line

# CommandComplete, 11 bytes long, with its tag; or that of a statement with a row, after which no transaction is open:
# it was the whole of one.
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
COMMITTED_ALONE = b"C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I"


class BadLine:
    """Connects each client to `upstream`, the path of a socket; `port` is its own, inside `async with`."""

    def __init__(self, line: Line, upstream: str, seed: int = 0) -> None:
        self._line, self._upstream, self._chance = line, upstream, random.Random(f"{seed} line")
        self._commits: Iterator[int] = itertools.count(1)
        self._open: set[asyncio.Task[None]] = set()
        self.cut = 0

    async def __aenter__(self) -> BadLine:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for one in list(self._open):
            one.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            there, to_there = await asyncio.open_unix_connection(self._upstream)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        ways = {
            asyncio.create_task(self._way(reader, to_there, answers=False)),
            asyncio.create_task(self._way(there, writer, answers=True)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ways:
                one.cancel()
            for end in (writer, to_there):
                with contextlib.suppress(OSError):
                    end.transport.abort()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        """One direction, until it ends or is cut."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, writer))
        loop = asyncio.get_running_loop()
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65_536):
                    if answers and self._is_lost(data):
                        return
                    resent = RESENT_SECONDS if self._chance.random() < self._line.loss else 0.0
                    under_way.put_nowait((loop.time() + self._line.delay + resent, data))
        finally:
            arriving.cancel()

    async def _arrive(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                due, data = await under_way.get()
                if (left := due - loop.time()) > 0:
                    await asyncio.sleep(left)
                writer.write(data)
                await writer.drain()

    def _is_lost(self, data: bytes) -> bool:
        ended = COMMITTED in data or COMMITTED_ALONE in data
        if not self._line.cut or not ended or next(self._commits) % self._line.cut:
            return False
        self.cut += 1
        return True
