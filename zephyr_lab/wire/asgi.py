"""Calls an ASGI app as a server does: one request, and the start and end of its lifespan (asgi.readthedocs.io)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from zephyr_lab.errors import ServerUnavailable

Message = dict[str, Any]
_VERSION = {"version": "3.0", "spec_version": "2.3"}


async def answer(app: Any, scope: Mapping[str, Any], body: bytes) -> tuple[int, bytes]:
    """Status and body, once the app has finished all work for the request. Raises what it raises."""
    parts: list[bytes] = []
    status = 0
    is_read, is_answered = False, asyncio.Event()

    async def receive() -> Message:
        nonlocal is_read
        if is_read:
            await is_answered.wait()
            return {"type": "http.disconnect"}
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                is_answered.set()

    await app({"type": "http", "asgi": _VERSION, **scope}, receive, send)
    return status, b"".join(parts)


class Lifespan:
    """An app's startup and shutdown, if it supports them. `state` is what its requests receive."""

    def __init__(self, app: Any) -> None:
        self._app, self.state = app, dict[str, Any]()
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ServerUnavailable if the app reports that it cannot start."""
        self._task = asyncio.create_task(self._run())
        said = await self._tell("lifespan.startup")
        if said["type"] == "lifespan.startup.failed":
            raise ServerUnavailable(f"the app does not start: {said.get('message') or 'it does not say why'}".rstrip())

    async def end(self) -> None:
        """Shuts it down; errors of the shutdown are not part of what was explored, and are dropped."""
        if self._task is not None and not self._task.done():
            await self._tell("lifespan.shutdown")
            await asyncio.wait({self._task})

    async def _tell(self, kind: str) -> Message:
        self._told.put_nowait({"type": kind})
        return await self._said.get()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": _VERSION, "state": self.state}
        try:
            await self._app(scope, self._told.get, self._said.put)
        except Exception:
            pass  # as apps without a lifespan do
        finally:
            self._said.put_nowait({"type": "lifespan.over"})
