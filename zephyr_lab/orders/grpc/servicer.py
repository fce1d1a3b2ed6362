"""The calls over gRPC, on asyncio: the status of each outcome; OK to CreateOrder means that the order is saved."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from zephyr_lab.orders import deadline, enquiries
from zephyr_lab.orders.errors import InvalidOrder
from zephyr_lab.orders.grpc.guard import TokenGuard
from zephyr_lab.orders.grpc.log import Limited
from zephyr_lab.orders.grpc.messages import (
    ANSWERS,
    SERVICE,
    OrderRequest,
    OrderResponse,
    OrderState,
    PizzaOrderRequest,
    SlotsRequest,
    SlotsResponse,
    SlotState,
)
from zephyr_lab.orders.grpc.status import level_of, status_of, trailers_of
from zephyr_lab.orders.models import Item, Order
from zephyr_lab.orders.service import OrderService

log = logging.getLogger(__name__)

LARGEST_REQUEST = 256 * 1024  # bytes; what is larger is refused unread, as INVALID_ARGUMENT
LARGEST_MESSAGE = 16 * 1024 * 1024  # bytes; beyond this gRPC itself hangs up, with RESOURCE_EXHAUSTED
HEALTH_SECONDS = 1.0
LOOK_SECONDS = 1.0  # what takes longer to be written is not ready

Context = grpc.aio.ServicerContext[bytes, Any]


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        name = kind.DESCRIPTOR.name
        raise InvalidOrder("request", f"is no {name}, or one of its strings is not UTF-8") from None


def order_from(message: bytes, order_id: UUID, now: datetime) -> Order:
    """An order from a PizzaOrderRequest on the wire; its price is the menu's. Raises InvalidOrder."""
    if len(message) > LARGEST_REQUEST:
        raise InvalidOrder("request", f"has {len(message):,} bytes; at most {LARGEST_REQUEST:,} are read")
    asked = _parsed(PizzaOrderRequest, message)
    ingredients, extras = tuple(asked.ingredients), tuple(asked.extras)
    item = Item.from_menu(asked.pizza_name, asked.quantity, ingredients=ingredients, extras=extras)
    return Order.of(
        [item],
        id=order_id,
        now=now,
        customer_id=asked.customer_id,
        customer_first_name=asked.customer_first_name,
        customer_last_name=asked.customer_last_name,
        customer_phone=asked.customer_phone,
        delivery_address=asked.delivery_address,
        is_pickup=asked.is_pickup,
        pickup_location_id=asked.pickup_location_id,
    )


def _order_asked(message: bytes) -> UUID:
    try:
        return UUID(_parsed(OrderRequest, message).order_id)
    except ValueError:
        raise InvalidOrder("order_id", "is not a UUID") from None


class OrderServicer:
    """The calls. They take requests as bytes, since what cannot be parsed is the client's error, not INTERNAL."""

    def __init__(
        self,
        service: OrderService,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        carries_deadlines: bool = True,
    ) -> None:
        self._service, self._clock, self._carries_deadlines = service, clock, carries_deadlines
        self._limited = Limited(log)

    async def create_order(self, message: bytes, context: Context) -> Any:
        """gRPC cancels this at the client's deadline, and with it the statement that is under way."""
        async with self._call("CreateOrder", context) as call:
            call.order = _order_id(context)
            created = await self._service.create(order_from(message, call.order, self._clock()))
        return OrderResponse(order_id=str(created.order_id), display_id=created.display_id, status=str(created.status))

    async def get_order(self, message: bytes, context: Context) -> Any:
        async with self._call("GetOrder", context) as call:
            call.order = _order_asked(message)
            return _to_message(await self._service.order(call.order))

    async def cancel_order(self, message: bytes, context: Context) -> Any:
        async with self._call("CancelOrder", context) as call:
            call.order = _order_asked(message)
            await self._service.cancel(call.order)
            return _to_message(await self._service.order(call.order))

    async def list_slots(self, message: bytes, context: Context) -> Any:
        async with self._call("ListSlots", context):
            written = _parsed(SlotsRequest, message).day
            try:
                day = date.fromisoformat(written) if written else self._clock().astimezone(UTC).date()
            except ValueError:
                raise InvalidOrder("day", "is no day: write it as 2026-03-02") from None
            found = await self._service.slots(day)
        times = ({"start": int(one.start.timestamp()), "end": int(one.end.timestamp())} for one in found)
        return SlotsResponse(
            slots=[SlotState(**{**asdict(one), **when}) for one, when in zip(found, times, strict=True)]
        )

    @asynccontextmanager
    async def _call(self, name: str, context: Context) -> AsyncIterator[_Call]:
        """Carries the client's deadline; ends with the status of the outcome, which is counted, timed and logged."""
        call, began, code = _Call(), time.perf_counter(), grpc.StatusCode.CANCELLED
        observer = self._service.observer
        observer.call_began()
        sent = {str(key): value for key, value in context.invocation_metadata() or ()}
        try:
            with (
                deadline.within(context.time_remaining() if self._carries_deadlines else None),
                observer.span(f"{SERVICE}/{name}", sent) as span,
            ):
                yield call
                if span:
                    span.set_attribute("order.id", str(call.order or ""))
            code = grpc.StatusCode.OK
        except Exception as error:
            code, said = status_of(error)
            self._log(name, call, error, code, time.perf_counter() - began)
            if trailers := trailers_of(error):
                context.set_trailing_metadata(trailers)
            await context.abort(code, said)
        finally:
            observer.call_ended(name, code.name, time.perf_counter() - began)

    def _log(self, name: str, call: _Call, error: Exception, code: grpc.StatusCode, seconds: float) -> None:
        """A line with what a driver has said, which is not for the client; never a traceback."""
        cause = error.__cause__ or error
        state = getattr(cause, "sqlstate", None)
        said = f"{type(error).__name__} {state}: {error}" if state else f"{type(error).__name__}: {error}"
        where = {"order": str(call.order or ""), "sqlstate": state, "seconds": round(seconds, 4)}
        self._limited.event(level_of(code), name, code.name, said, **where)
        log.debug("%s", name, exc_info=error)


@dataclass
class _Call:
    """A call under way; `order` once it is known."""

    order: UUID | None = None


def _to_message(one: enquiries.OrderState) -> Any:
    start = int(one.slot_start.timestamp()) if one.slot_start else 0
    return OrderState(
        **{
            **asdict(one),
            "order_id": str(one.order_id),
            "slot_start": start,
            "created_at": int(one.created_at.timestamp()),
        }
    )


def _order_id(context: Context) -> UUID:
    for name, value in context.invocation_metadata() or ():
        if name == "idempotency-key":
            try:
                return UUID(str(value))
            except ValueError:
                raise InvalidOrder("idempotency-key", "is not a UUID") from None
    return uuid4()


class Server:
    """A server with health and reflection, inside `async with`; `port` is the one that it listens on.

    With `carries_deadlines` the client's deadline is that of the pool, of retries and of statements too (`deadline`).
    Health is that of PostgreSQL, and of Redis where the strategy needs it, asked every `health_seconds`.
    """

    def __init__(
        self,
        service: OrderService,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        health_seconds: float = HEALTH_SECONDS,
        carries_deadlines: bool = True,
        credentials: grpc.ServerCredentials | None = None,
        token: str | None = None,
    ) -> None:
        self._service, self._health_seconds = service, health_seconds
        self._ending = False
        self.server = grpc.aio.server(
            interceptors=[TokenGuard(token)] if token else [],
            options=[
                ("grpc.max_receive_message_length", LARGEST_MESSAGE),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
            ],
        )
        servicer = OrderServicer(service, clock, carries_deadlines=carries_deadlines)
        calls: dict[str, Any] = {
            "CreateOrder": servicer.create_order,
            "GetOrder": servicer.get_order,
            "CancelOrder": servicer.cancel_order,
            "ListSlots": servicer.list_slots,
        }
        handlers: dict[str, grpc.RpcMethodHandler[bytes, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(call, response_serializer=ANSWERS[name].SerializeToString)
            for name, call in calls.items()
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self.server)
        where = f"{host}:{port}"
        self.port = (
            self.server.add_secure_port(where, credentials) if credentials else self.server.add_insecure_port(where)
        )

    async def __aenter__(self) -> Server:
        await self._look()
        await self.server.start()
        self._looking = asyncio.create_task(self._keep_looking())
        return self

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._service.ping()
            answers = True
        except Exception:  # whatever it is, orders would meet it
            answers = False
        found = health_pb2.HealthCheckResponse.SERVING if answers else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", SERVICE):
            await self._health.set(name, found)

    async def _keep_looking(self) -> None:
        while not self._ending:
            await asyncio.sleep(self._health_seconds)
            await self._look()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it; calls under way have five seconds to end."""
        self._ending = True  # Python 3.11's `wait_for`, and so psycopg, loses a cancellation that meets an answer
        self._looking.cancel()
        with suppress(asyncio.CancelledError):
            await self._looking
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace=5)
