"""The events of the service; Prometheus (`metrics`) is one observer, the load another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any


class Observer:
    """Ignores every event; an observer overrides the methods for those that it wants."""

    def attempt_began(self) -> None:
        """A transaction that creates an order begins, the first one or a retry."""

    def attempt_ended(self, seconds: float) -> None:
        """It has ended, in whatever way, after so many seconds, with the wait for a connection."""

    def waited(self, seconds: float) -> None:
        """A statement that may wait for a lock was answered after so many seconds."""

    def refused(self, code: str) -> None:
        """A transaction was refused or lost, also an order's last one; `code` is its SQLSTATE, or the error's name."""

    def order_tried(self, retries: int) -> None:
        """There are no more attempts for this order; it needed so many after the first."""

    def order_ended(self, outcome: str) -> None:
        """`created`, `repeated` (it was saved before) or `full`; else the error's name, as `outcome_of` gives it."""

    def call_began(self) -> None:
        """A client's call has come in."""

    def call_ended(self, call: str, status: str, seconds: float) -> None:
        """It was answered, with a status of gRPC's, or its client has gone (CANCELLED)."""

    def span(
        self, name: str, metadata: Mapping[str, Any] | None = None, **attributes: Any
    ) -> AbstractContextManager[Any]:
        """Around a call (with the client's metadata) and around each attempt in it; gives a span, or None."""
        return nullcontext()
