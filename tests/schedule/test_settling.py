"""Who has answered, where sessions share a socket."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from zephyr_lab.schedule.settling import Settler


class Sharer:
    """Takes what there is to take for both, as an event loop does; `other` comes to its end meanwhile."""

    pid, server_is_busy = 0, True

    def __init__(self, name: str, shared: socket.socket) -> None:
        self.name, self._shared = name, shared
        self.busy, self.is_done = True, False
        self.other: Sharer | None = None

    backends: Collection[int] = ()

    @property
    def socket(self) -> int:
        return self._shared.fileno()

    def receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._shared.recv(10)
        if self.other:
            self.other.is_done = self.is_done = True

    def collect(self) -> bool:
        self.busy = not self.is_done
        return self.is_done

    def hold_answers(self) -> bool:
        return False

    def hand_over(self) -> None:
        pass


class NobodyWaits:
    def who_waits(self, pids: Any, names: Any) -> dict[int, frozenset[int]]:
        return {}


@pytest.fixture
def sharers() -> Iterator[dict[str, Sharer]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        far.send(b".")
        sessions = {name: Sharer(name, near) for name in "AB"}
        sessions["B"].other = sessions["A"]
        yield sessions


def test_an_end_is_seen_though_another_session_has_taken_what_told_of_it(sharers: dict[str, Sharer]) -> None:
    """A was looked at before B took the last thing that came, which was about A: nothing would come again."""
    settler = Settler(sharers, NobodyWaits(), may_stop=False, on_deadlock=print)  # type: ignore[arg-type]
    assert settler.send_and_settle(lambda: None, [], time.monotonic() + 1) == {"A", "B"}
