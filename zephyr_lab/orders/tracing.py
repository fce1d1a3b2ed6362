"""Spans of OpenTelemetry for calls and attempts, on demand: `zephyr-lab serve --trace`.

They go to the provider that is set for the process, as `opentelemetry-instrument` sets it; else, where there is none,
to standard error, an object a span.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from zephyr_lab.orders.metrics import Metrics


class Traced(Metrics):
    """Metrics, and a span for each call and each attempt in it; `traceparent` of a call's metadata is its parent."""

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        super().__init__()
        self._tracer = (provider or _provider()).get_tracer("zephyr_lab.orders")

    @contextmanager
    def span(self, name: str, metadata: Mapping[str, Any] | None = None, **attributes: Any) -> Iterator[Any]:
        parent = propagate.extract(metadata) if metadata else None
        kind = trace.SpanKind.INTERNAL if metadata is None else trace.SpanKind.SERVER
        with self._tracer.start_as_current_span(name, parent, kind, attributes=attributes) as span:
            yield span


def _provider() -> trace.TracerProvider:
    there = trace.get_tracer_provider()
    if isinstance(there, TracerProvider):
        return there
    made = TracerProvider()
    made.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
    trace.set_tracer_provider(made)
    return made
