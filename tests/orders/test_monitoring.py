"""What an operator has: metrics of every outcome, a dashboard and alerts that name them, a log of a line an event."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import replace
from typing import Any

import grpc
import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from psycopg.errors import SerializationFailure

from tests.conftest import ROOT
from tests.orders.conftest import NOON, Shop
from zephyr_lab.orders import clients, schema
from zephyr_lab.orders.admission import Admission
from zephyr_lab.orders.grpc import PizzaOrderRequest, Server, create_order_stub
from zephyr_lab.orders.grpc.log import MOST_A_SECOND, Form, Limited
from zephyr_lab.orders.metrics import Metrics
from zephyr_lab.orders.models import Order, Slot, Window
from zephyr_lab.orders.service import OrderService
from zephyr_lab.orders.session import Session
from zephyr_lab.orders.strategies import strategy
from zephyr_lab.orders.tracing import Traced

MONITORING = ROOT / "data" / "monitoring"
REQUEST = {"customer_id": 1, "pizza_name": "Margherita", "quantity": 1}


async def _met(shop: Shop) -> tuple[Metrics, str]:
    """A service that has created an order, refused a bad one, met a missing table, and was full; and its text."""
    metrics = Metrics()
    async with clients.async_pool(shop.dsn, min_size=1, max_size=2) as pool:
        service = OrderService(pool, strategy("one-statement"), observer=metrics)
        service.admission = Admission(pool)
        metrics.watch(service, "1.2.3")
        server = Server(service, clock=lambda: NOON, health_seconds=60)
        async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = create_order_stub(channel)
            await stub(PizzaOrderRequest(**REQUEST))
            with pytest.raises(grpc.aio.AioRpcError):
                await stub(PizzaOrderRequest(**{**REQUEST, "quantity": 0}))
            with schema.missing_table(shop.admin), pytest.raises(grpc.aio.AioRpcError):
                await stub(PizzaOrderRequest(**REQUEST))
            shop.admin.execute("update slots set is_disabled = true")
            with pytest.raises(grpc.aio.AioRpcError):
                await stub(PizzaOrderRequest(**REQUEST))
            return metrics, generate_latest(metrics.registry).decode()


def test_every_outcome_is_counted_and_what_is_drawn_or_alerted_is_exported(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """By status and by outcome; each name in the dashboard and in the alerts is one of the service's, labels too."""
    caplog.set_level(logging.INFO, "zephyr_lab")
    metrics, text = asyncio.run(_met(shop))
    calls = {status: metrics.value("orders_calls_total", call="CreateOrder", status=status)
             for status in ("OK", "INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED")}  # fmt: skip
    assert calls == dict.fromkeys(calls, 1)
    outcomes = {
        name: metrics.value("orders_outcomes_total", outcome=name) for name in ("created", "not_installed", "full")
    }
    assert outcomes == dict.fromkeys(outcomes, 1)
    assert metrics.value("orders_in_flight") == 0
    assert metrics.value("orders_call_seconds_count", call="CreateOrder") == 4
    exported = set(re.findall(r"^(orders_\w+?)(?:\{| )", text, re.MULTILINE)) | {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")
    }
    asked = [panel["expr"] for one in _dashboard()["panels"] for panel in one["targets"]]
    asked += [rule["expr"] for group in _alerts()["groups"] for rule in group["rules"]]
    named = {name for expr in asked for name in re.findall(r"\borders_\w+", expr)}
    assert len(named) > 15
    assert {name for name in named if name not in exported and _family(name) not in exported} == set()
    levels = [(one.levelname, one.__dict__["status"]) for one in caplog.records if one.name.endswith("servicer")]
    assert levels == [("INFO", "INVALID_ARGUMENT"), ("ERROR", "INTERNAL"), ("INFO", "RESOURCE_EXHAUSTED")]


def _family(name: str) -> str:
    """A counter or a histogram without samples exports its family only."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def _dashboard() -> Any:
    return json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))


def _alerts() -> Any:
    return yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))


def test_an_event_is_one_line_with_its_order_and_not_too_many_come(caplog: pytest.LogCaptureFixture) -> None:
    """As text and as JSON; of a second's thousand ten are written, and the next line says how many were not."""
    log = logging.getLogger("zephyr_lab.test")
    limited = Limited(log)
    for _ in range(1_000):
        limited.event(logging.WARNING, "CreateOrder", "UNAVAILABLE", "gone\nTraceback", order="7", sqlstate="57P01")
    written = [one for one in caplog.records if one.name == log.name]
    assert MOST_A_SECOND <= len(written) <= 3 * MOST_A_SECOND
    text, record = Form().format(written[0]), json.loads(Form(as_json=True).format(written[0]))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING zephyr_lab.test call=CreateOrder order=7 status=UNAVAILABLE "
        r"sqlstate=57P01: gone",
        text,
    )
    assert (record["level"], record["order"], record["said"]) == ("WARNING", "7", "gone")
    left = sum(one.__dict__["left_out"] for one in written) + limited._seen["CreateOrder", "UNAVAILABLE"][2]
    assert left == 1_000 - len(written)


def test_spans_are_those_of_calls_and_of_their_attempts(shop: Shop) -> None:
    """Under the client's span; a refused attempt is one of its own, with its error."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace_id = "0af7651916cd43dd8448eb211c80319c"

    async def scenario() -> None:
        async with clients.async_pool(shop.dsn, min_size=1, max_size=1) as pool:
            service = OrderService(pool, strategy("one-statement"), observer=Traced(provider))
            real, refusals = service.strategy.book, [SerializationFailure()]

            async def book(session: Session, order: Order, window: Window) -> Slot | None:
                if refusals:
                    raise refusals.pop()
                return await real(session, order, window)

            service.strategy = replace(service.strategy, book=book)
            server = Server(service, clock=lambda: NOON, health_seconds=60)
            async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                parent = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)
                await create_order_stub(channel)(PizzaOrderRequest(**REQUEST), metadata=parent)

    asyncio.run(scenario())
    first, second, call = spans.get_finished_spans()
    assert [one.name for one in (first, second, call)] == ["attempt", "attempt", "order.OrderService/CreateOrder"]
    assert {f"{one.context.trace_id:032x}" for one in (first, second, call)} == {trace_id}
    assert first.parent.span_id == second.parent.span_id == call.context.span_id
    assert (first.status.is_ok, second.status.is_ok, len(call.attributes["order.id"])) == (False, True, 36)
