"""A loopback port that leads to a unix socket: bytes are copied both ways, and kept."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer


class ByteCopy(ThreadingTCPServer):
    """`conversations` has what each client has sent and received."""

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.path = path
        self.port: int = self.server_address[1]
        self.conversations: list[tuple[bytearray, bytearray]] = []


class _Connection(BaseRequestHandler):
    server: ByteCopy

    def handle(self) -> None:
        sent, received = bytearray(), bytearray()
        self.server.conversations.append((sent, received))
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(self.server.path)
            ways = {self.request: (behind, sent), behind: (self.request, received)}
            while True:
                for source in select.select(list(ways), [], [])[0]:
                    data = source.recv(65536)
                    target, kept = ways[source]
                    kept += data
                    if not data:
                        return
                    target.sendall(data)


@contextlib.contextmanager
def byte_copy_to(path: str) -> Iterator[ByteCopy]:
    """It ends, with all its threads, when its clients have gone."""
    with ByteCopy(path) as copy:
        thread = threading.Thread(target=copy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield copy
        finally:
            copy.shutdown()
            thread.join()
