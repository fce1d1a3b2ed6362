"""Requests by HTTP: each is a session, and its answer is the session's outcome."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from zephyr_lab.errors import BadInput

ANSWER_SECONDS = 60.0
_PAGE = re.compile(r"(?is)\s*(?:<!doctype html|<html).*?<title[^>]*>(?P<title>.*?)</title>")


class Served(Protocol):
    """The service or app that a request is sent to."""

    def ensure_alive(self, seconds: float = 0.0) -> None:
        """Raises ServerLost if it has ended, or ends within so many seconds."""

    def listens(self) -> bool:
        """Whether its port can be connected to."""
        ...

    reset: Any
    """How its memory is reset before each schedule, or None."""

    is_new: bool
    """Whether its habits have not been learnt yet."""

    def put_back(self) -> None:
        """Resets its memory, as `reset` says."""


@dataclass(frozen=True)
class Response:
    """An HTTP response: its status, and its body, as data if it is JSON, else as text.

    `refused` is the status in words if it is one of the request's refusals, or ''.
    """

    status: int
    body: Any = None
    refused: str = field(default="", repr=False, compare=False)

    def parts(self) -> tuple[str, Any]:
        """The status, such as `HTTP 201`, and the body, by which it is compared."""
        return f"HTTP {self.status}", self.body

    @property
    def failed(self) -> bool:
        """Whether the status is an error's."""
        return self.status >= 400


@dataclass(frozen=True)
class HttpRequest:
    """A request to a service at `base`, such as `http://127.0.0.1:8080`. `body` is sent as JSON unless it is None."""

    base: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    refusals: Collection[int] = frozenset({409})
    service: Served | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """What it is called in reports."""
        return f"{self.method} {self.path}"

    def ask(self, opened: Callable[[Any], object] = lambda connection: None) -> Response:
        """Sends it and waits for the answer. `opened` is called with an object whose `close()` ends the wait.

        Raises OSError, http.client.HTTPException, and ServerLost if the service has ended, with what it printed.
        """
        if self.service is not None:
            self.service.ensure_alive()
        try:
            return self._ask(opened)
        except (OSError, http.client.HTTPException):
            if self.service is not None:
                self.service.ensure_alive(seconds=1.0)
            raise

    def _ask(self, opened: Callable[[Any], object]) -> Response:
        where = urlsplit(self.base)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        connection = kind(where.hostname or "127.0.0.1", where.port, timeout=ANSWER_SECONDS)
        opened(_Open(connection))
        try:
            content = None if self.body is None else json.dumps(self.body)
            headers = {"Content-Type": "application/json"} if content is not None else {}
            connection.request(self.method, where.path.rstrip("/") + self.path, content, {**headers, **self.headers})
            answer = connection.getresponse()
            return response_of(answer.status, answer.read(), self.refusals)
        finally:
            connection.close()


def response_of(status: int, raw: bytes, refusals: Collection[int]) -> Response:
    """A response of a status and a body; of an error page only its title, as the rest may hold times and ids."""
    text = raw.decode(errors="replace")
    try:
        body: Any = json.loads(text) if text else None
    except ValueError:
        body = text
        if status >= 500 and (page := _PAGE.match(text)):
            body = " ".join(page["title"].split())
    return Response(status, body, f"HTTP {status}" if status in refusals else "")


def method_and_path(words: str) -> tuple[str, str]:
    """Parses a request in short form, such as `POST /orders`. Raises BadInput."""
    method, _, path = words.partition(" ")
    if not (method.isascii() and method.isalpha() and path.startswith("/")):
        raise BadInput(f"a request is a method and a path, as in 'POST /orders', not {words!r}")
    return method.upper(), path


class _Open:
    """A connection on which another thread waits."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Ends the wait."""
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)


class Verbs:
    """Makes requests to the service at `base`: `shop.post("/orders", json={"id": 1})`."""

    def __init__(self, base: str, refusals: Collection[int], service: Served | None = None) -> None:
        self.base, self.refusals, self._served = base, frozenset(refusals), service

    def request(
        self, method: str, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> HttpRequest:
        """A request, to be a session of `lab.explore`, or to be sent by its `ask()`. Raises BadInput."""
        if not path.startswith("/"):
            raise BadInput(f"a path begins with a slash, not {path!r}")
        return HttpRequest(self.base, method.upper(), path, json, headers or {}, self.refusals, self._served)

    def get(self, path: str, **about: Any) -> HttpRequest:
        return self.request("GET", path, **about)

    def post(self, path: str, **about: Any) -> HttpRequest:
        return self.request("POST", path, **about)

    def put(self, path: str, **about: Any) -> HttpRequest:
        return self.request("PUT", path, **about)

    def patch(self, path: str, **about: Any) -> HttpRequest:
        return self.request("PATCH", path, **about)

    def delete(self, path: str, **about: Any) -> HttpRequest:
        return self.request("DELETE", path, **about)
