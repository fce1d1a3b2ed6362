"""What the tests' services in Python share: the standard library's HTTP, answers in JSON."""

from __future__ import annotations

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Answering(BaseHTTPRequestHandler):
    """GET is answered at once, POST by `post`."""

    def log_message(self, *words: Any) -> None:
        """Prints nothing."""

    def answer(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        self.answer(200, {})

    def do_POST(self) -> None:
        self.post()

    def post(self) -> None:
        raise NotImplementedError


def serve(handler: type[Answering]) -> None:
    """On PORT."""
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), handler).serve_forever()
