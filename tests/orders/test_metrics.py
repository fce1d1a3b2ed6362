"""What the service exports for Prometheus, to the letter: names, help, labels, buckets and numbers."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import psycopg
from prometheus_client import generate_latest

from tests.orders.conftest import Shop, order
from zephyr_lab.orders.errors import SlotChanged, SlotsFull
from zephyr_lab.orders.metrics import Metrics
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.session import Session, run_sync

TEXT = """\
# HELP orders_attempts_total Transactions begun, retries included
# TYPE orders_attempts_total counter
orders_attempts_total 6.0
# HELP orders_attempts_created Transactions begun, retries included
# TYPE orders_attempts_created gauge
orders_attempts_created *
# HELP orders_serialization_failures_total Transactions refused, to be run again
# TYPE orders_serialization_failures_total counter
orders_serialization_failures_total{sqlstate="40001"} 1.0
orders_serialization_failures_total{sqlstate="SlotChanged"} 1.0
orders_serialization_failures_total{sqlstate="40P01"} 1.0
# HELP orders_serialization_failures_created Transactions refused, to be run again
# TYPE orders_serialization_failures_created gauge
orders_serialization_failures_created{sqlstate="40001"} *
orders_serialization_failures_created{sqlstate="SlotChanged"} *
orders_serialization_failures_created{sqlstate="40P01"} *
# HELP orders_retries Retries that an order needed
# TYPE orders_retries histogram
orders_retries_bucket{le="0.0"} 2.0
orders_retries_bucket{le="1.0"} 2.0
orders_retries_bucket{le="2.0"} 2.0
orders_retries_bucket{le="3.0"} 3.0
orders_retries_bucket{le="4.0"} 3.0
orders_retries_bucket{le="+Inf"} 3.0
orders_retries_count 3.0
orders_retries_sum 3.0
# HELP orders_retries_created Retries that an order needed
# TYPE orders_retries_created gauge
orders_retries_created *
# HELP orders_transaction_seconds One attempt
# TYPE orders_transaction_seconds histogram
orders_transaction_seconds_bucket{le="0.001"} *
orders_transaction_seconds_bucket{le="0.002"} *
orders_transaction_seconds_bucket{le="0.005"} *
orders_transaction_seconds_bucket{le="0.01"} *
orders_transaction_seconds_bucket{le="0.02"} *
orders_transaction_seconds_bucket{le="0.05"} *
orders_transaction_seconds_bucket{le="0.1"} *
orders_transaction_seconds_bucket{le="0.2"} *
orders_transaction_seconds_bucket{le="0.5"} *
orders_transaction_seconds_bucket{le="1.0"} *
orders_transaction_seconds_bucket{le="2.0"} *
orders_transaction_seconds_bucket{le="5.0"} *
orders_transaction_seconds_bucket{le="+Inf"} 6.0
orders_transaction_seconds_count 6.0
orders_transaction_seconds_sum *
# HELP orders_transaction_seconds_created One attempt
# TYPE orders_transaction_seconds_created gauge
orders_transaction_seconds_created *
# HELP orders_lock_wait_seconds A statement that may wait for a lock
# TYPE orders_lock_wait_seconds histogram
orders_lock_wait_seconds_bucket{le="0.001"} *
orders_lock_wait_seconds_bucket{le="0.002"} *
orders_lock_wait_seconds_bucket{le="0.005"} *
orders_lock_wait_seconds_bucket{le="0.01"} *
orders_lock_wait_seconds_bucket{le="0.02"} *
orders_lock_wait_seconds_bucket{le="0.05"} *
orders_lock_wait_seconds_bucket{le="0.1"} *
orders_lock_wait_seconds_bucket{le="0.2"} *
orders_lock_wait_seconds_bucket{le="0.5"} *
orders_lock_wait_seconds_bucket{le="1.0"} *
orders_lock_wait_seconds_bucket{le="2.0"} *
orders_lock_wait_seconds_bucket{le="5.0"} *
orders_lock_wait_seconds_bucket{le="+Inf"} 3.0
orders_lock_wait_seconds_count 3.0
orders_lock_wait_seconds_sum *
# HELP orders_lock_wait_seconds_created A statement that may wait for a lock
# TYPE orders_lock_wait_seconds_created gauge
orders_lock_wait_seconds_created *
# HELP orders_outcomes_total What became of each order
# TYPE orders_outcomes_total counter
orders_outcomes_total{outcome="created"} 1.0
orders_outcomes_total{outcome="repeated"} 1.0
orders_outcomes_total{outcome="full"} 1.0
# HELP orders_outcomes_created What became of each order
# TYPE orders_outcomes_created gauge
orders_outcomes_created{outcome="created"} *
orders_outcomes_created{outcome="repeated"} *
orders_outcomes_created{outcome="full"} *
# HELP orders_calls_total Calls by their status
# TYPE orders_calls_total counter
# HELP orders_call_seconds A call, from its arrival to its answer
# TYPE orders_call_seconds histogram
# HELP orders_in_flight Calls under way
# TYPE orders_in_flight gauge
orders_in_flight 0.0
"""
"""With `*` for what is a time or depends on one."""

_MEASURED = re.compile(r'^(\w+_created(?:\{.*\})?|\w+_seconds_sum|\w+_seconds_bucket\{le="[\d.]+"\}) .*$', re.MULTILINE)


def test_the_text_for_prometheus(shop: Shop) -> None:
    """An order that is refused three times and then created, its repetition, and one for which no slot has room."""
    refusals = [psycopg.errors.SerializationFailure(), SlotChanged(), psycopg.errors.DeadlockDetected()]
    metrics = Metrics()
    with shop.service("one-statement", metrics) as service:
        real = service.strategy.book

        async def book(session: Session, order: Order, window: Window) -> Slot | None:
            if refusals:
                raise refusals.pop(0)
            return await real(session, order, window)

        service.strategy = replace(service.strategy, book=book)
        created = order(450)
        for one in (created, created, order(200_000)):
            with suppress(SlotsFull):
                run_sync(service.create(one))
    assert _MEASURED.sub(r"\1 *", generate_latest(metrics.registry).decode()) == TEXT


def test_the_time_of_attempts_and_waits_is_in_its_bucket() -> None:
    """Up to its bound, which is included."""
    metrics = Metrics()
    for seconds in (0.001, 0.0011, 7):
        metrics.attempt_ended(seconds)
        metrics.waited(seconds)
    for name in ("orders_transaction_seconds", "orders_lock_wait_seconds"):
        counts = [metrics.value(f"{name}_bucket", le=bound) for bound in ("0.001", "0.002", "5.0", "+Inf")]
        assert counts == [1, 2, 2, 3]
        assert metrics.value(f"{name}_sum") == 0.001 + 0.0011 + 7
