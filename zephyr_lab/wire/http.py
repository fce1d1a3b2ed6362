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
    """What a request is sent to, as far as it has to know."""

    def ensure_alive(self, seconds: float = 0.0) -> None:
        """Raises ServerLost where it has ended, or does so within so many seconds."""

    def listens(self) -> bool:
        """Whether its port can be connected to."""
        ...

    reset: Any
    """How it is put back, if it is."""

    is_new: bool
    """Whether nobody has listened yet to what it asks of its own accord."""

    def put_back(self) -> None:
        """Has it forget what it keeps in memory, where it was told how."""


@dataclass(frozen=True)
class Response:
    """What came back: the status, and the body, as data where it is JSON and else as text.

    `refused` is not empty where the status says that the request was refused on account of another one.
    """

    status: int
    body: Any = None
    refused: str = field(default="", repr=False, compare=False)

    def parts(self) -> tuple[str, Any]:
        """How it is told, and compared."""
        return f"HTTP {self.status}", self.body

    @property
    def failed(self) -> bool:
        """Whether the answer says that something went wrong."""
        return self.status >= 400


@dataclass(frozen=True)
class HttpRequest:
    """A request to a service at `base`, such as `http://127.0.0.1:8080`. `body` is sent as JSON, if there is one."""

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
        """Sends it and waits for the answer. `opened` is given what `close()` gives the wait up.

        Raises OSError, http.client.HTTPException, and ServerLost where the service has ended, with what it printed.
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
    """What a body says, as data where it is JSON; of an error's page its title: the rest may hold times and ids."""
    text = raw.decode(errors="replace")
    try:
        body: Any = json.loads(text) if text else None
    except ValueError:
        body = text
        if status >= 500 and (page := _PAGE.match(text)):
            body = " ".join(page["title"].split())
    return Response(status, body, f"HTTP {status}" if status in refusals else "")


def method_and_path(words: str) -> tuple[str, str]:
    """Of a request in short form, such as `POST /orders`. Raises BadInput."""
    method, _, path = words.partition(" ")
    if not (method.isascii() and method.isalpha() and path.startswith("/")):
        raise BadInput(f"a request is a method and a path, as in 'POST /orders', not {words!r}")
    return method.upper(), path


class _Open:
    """A connection that another thread waits on."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Ends the wait."""
        with contextlib.suppress(OSError):
            if self._connection.sock is not None:
                self._connection.sock.shutdown(socket.SHUT_RDWR)


class Verbs:
    """Makes requests to what is at `base`: `shop.post("/orders", json={"id": 1})`."""

    def __init__(self, base: str, refusals: Collection[int], service: Served | None = None) -> None:
        self.base, self.refusals, self._served = base, frozenset(refusals), service

    def request(
        self, method: str, path: str, *, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> HttpRequest:
        """A request that is a session of `lab.explore`, or is sent now by its `ask()`. Raises BadInput."""
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
