"""Calls a WSGI app as a server does (PEP 3333), in the caller's thread."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes


def answer(app: Any, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Status and body. Raises what the app raises."""
    bare, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": unquote_to_bytes(bare).decode("latin-1"),
        "QUERY_STRING": query, "CONTENT_LENGTH": str(len(body)), "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    status = 0
    parts: list[bytes] = []

    def start_response(line: str, headers: Any, error: Any = None) -> Callable[[bytes], object]:
        nonlocal status
        status = int(line.split()[0])
        return parts.append

    answered = app(environ, start_response)
    try:
        parts.extend(answered)
    finally:
        if hasattr(answered, "close"):
            answered.close()
    return status, b"".join(parts)
