"""Metrics for Prometheus, as the write-up asks for them: refusals, retries, durations of transactions and lock waits.

The server has no counter of 40001, and only the client knows the retries of an order, so both are counted here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zephyr_lab.orders.observer import Observer

if TYPE_CHECKING:
    from zephyr_lab.orders.service import OrderService

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

        self._calls = Counter("orders_calls", "Calls by their status", ["call", "status"], registry=on)
        self._call_seconds = Histogram(
            "orders_call_seconds", "A call, from its arrival to its answer", ["call"], buckets=SECONDS, registry=on
        )
        self._in_flight = Gauge("orders_in_flight", "Calls under way", registry=on)

    def watch(self, service: OrderService, version: str) -> None:
        """The queue and the pool of a service too, as they are whenever somebody asks."""
        self.registry.register(_OfService(service))
        built = Gauge("orders_build_info", "What is running", ["version", "strategy"], registry=self.registry)
        built.labels(version, service.strategy.name).set(1)

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

    def call_began(self) -> None:
        self._in_flight.inc()

    def call_ended(self, call: str, status: str, seconds: float) -> None:
        self._in_flight.dec()
        self._calls.labels(call, status).inc()
        self._call_seconds.labels(call).observe(seconds)

    def value(self, name: str, **labels: str) -> float:
        """A sample by its full name, such as `orders_attempts_total`; 0 if there is none yet."""
        return self.registry.get_sample_value(name, labels) or 0.0


class _OfService(Collector):
    """Read when asked for, so that an order costs nothing."""

    def __init__(self, service: OrderService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        admission, stats = self._service.admission, self._service.pool.get_stats()
        connections = GaugeMetricFamily("orders_pool_connections", "Of the pool, by state", labels=["state"])
        size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
        connections.add_metric(["idle"], free)
        connections.add_metric(["busy"], size - free)
        yield connections
        yield GaugeMetricFamily("orders_pool_size_max", "Connections at most", value=stats.get("pool_max", 0))
        yield CounterMetricFamily(
            "orders_pool_lost", "Connections that were found lost", value=stats.get("connections_lost", 0)
        )
        waiting = admission.waiting if admission else stats.get("requests_waiting", 0)
        yield GaugeMetricFamily("orders_pool_waiting", "Calls that wait for a connection", value=waiting)
        if admission:
            yield CounterMetricFamily("orders_shed", "Calls that were told to come back later", value=admission.shed)
            yield GaugeMetricFamily("orders_held_seconds", "A connection is held for, on average", value=admission.held)
