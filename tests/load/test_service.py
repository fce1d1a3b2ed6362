"""What a run's part counts of what its service does."""

from __future__ import annotations

from collections import Counter

from zephyr_lab.load.counts import Counts, Histogram
from zephyr_lab.load.service import CountingObserver


def test_the_service_is_counted_as_it_works() -> None:
    """Attempts, refusals by their code, waits by their length; orders by their retries, from 5 on together."""
    counts = Counts()
    observer = CountingObserver(counts)
    for retries in (0, 0, 1, 4, 5, 6, 9):
        observer.attempt_began()
        observer.order_tried(retries)
    for code in ("40001", "SlotChanged", "40001"):
        observer.refused(code)
    observer.waited(0.0015)
    observer.attempt_ended(1)
    observer.order_ended("created")
    assert counts == Counts(
        attempts=7,
        retries=Counter({0: 2, 1: 1, 4: 1, 5: 3}),
        refusals=Counter({"40001": 2, "SlotChanged": 1}),
        lock_wait=Histogram({1500: 1}),
    )
