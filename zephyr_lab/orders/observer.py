"""The events of the service; Prometheus (`metrics`) is one observer, the load another."""

from __future__ import annotations


class Observer:
    """Ignores every event; an observer overrides the methods for those that it wants."""

    def attempt_began(self) -> None:
        """A transaction that creates an order begins, the first one or a retry."""

    def attempt_ended(self, seconds: float) -> None:
        """It has ended, in whatever way, after so many seconds, with the wait for a connection."""

    def waited(self, seconds: float) -> None:
        """A statement that may wait for a lock was answered after so many seconds."""

    def refused(self, code: str) -> None:
        """A transaction was refused or lost, also the last one of an order; `code` is its SQLSTATE, or the error's name."""

    def order_tried(self, retries: int) -> None:
        """There are no more attempts for this order; it needed so many after the first."""

    def order_ended(self, outcome: str) -> None:
        """`created`, `repeated` (it was saved before) or `full`."""
