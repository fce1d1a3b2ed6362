"""Metrics for Prometheus, as the write-up asks for them: refusals, retries, durations of transactions and lock waits.

The server has no counter of 40001, and only the client knows the retries of an order, so both are counted here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from zephyr_lab.orders.observer import Observer

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics(Observer):
    """On a registry of its own, so that two services in one process do not mix."""

    def __init__(self) -> None:
        on = self.registry = CollectorRegistry()
        self._attempts = Counter("orders_attempts", "Transactions begun, retries included", registry=on)
        self._failures = Counter(
            "orders_serialization_failures",
            "Transactions refused, to be run again",
            ["sqlstate"],
            registry=on,
        )
        self._retries = Histogram(
            "orders_retries", "Retries that an order needed", buckets=(0, 1, 2, 3, 4), registry=on
        )
        self._seconds = Histogram("orders_transaction_seconds", "One attempt", buckets=SECONDS, registry=on)
        self._lock_wait = Histogram(
            "orders_lock_wait_seconds", "A statement that may wait for a lock", buckets=SECONDS, registry=on
        )
        self._outcomes = Counter("orders_outcomes", "What became of each order", ["outcome"], registry=on)

    def attempt_began(self) -> None:
        self._attempts.inc()

    def attempt_ended(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    def waited(self, seconds: float) -> None:
        self._lock_wait.observe(seconds)

    def refused(self, code: str) -> None:
        self._failures.labels(code).inc()

    def order_tried(self, retries: int) -> None:
        self._retries.observe(retries)

    def order_ended(self, outcome: str) -> None:
        self._outcomes.labels(outcome).inc()

    def value(self, name: str, **labels: str) -> float:
        """A sample by its full name, such as `orders_attempts_total`; 0 if there is none yet."""
        return self.registry.get_sample_value(name, labels) or 0.0
