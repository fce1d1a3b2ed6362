"""The calls over gRPC, on asyncio: the status of each outcome; OK to CreateOrder means that the order is saved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, NoReturn
from uuid import UUID, uuid4

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from zephyr_lab.orders import deadline, enquiries
from zephyr_lab.orders.errors import (
    Closed,
    InvalidOrder,
    NotInstalled,
    OrderUnknown,
    OrderVoided,
    Overloaded,
    ServiceUnavailable,
    SettingsRefused,
    SlotsFull,
    StatusRefused,
    TimedOut,
)
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
from zephyr_lab.orders.models import Item, Order
from zephyr_lab.orders.retry import is_refused
from zephyr_lab.orders.service import OrderService

log = logging.getLogger(__name__)

LARGEST_REQUEST = 256 * 1024  # bytes; what is larger is refused unread, as INVALID_ARGUMENT
LARGEST_MESSAGE = 16 * 1024 * 1024  # bytes; beyond this gRPC itself hangs up, with RESOURCE_EXHAUSTED
HEALTH_SECONDS = 1.0
LOOK_SECONDS = 1.0  # what takes longer to be written is not ready

PUSHBACK = "grpc-retry-pushback-ms"
"""In the trailer of a refused call: when to send it again. Clients with a retry policy of gRPC's own keep to it (gRFC A6)."""

Context = grpc.aio.ServicerContext[bytes, Any]

STATUS: list[tuple[type[Exception], grpc.StatusCode]] = [
    (InvalidOrder, grpc.StatusCode.INVALID_ARGUMENT),
    (SlotsFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Closed, grpc.StatusCode.FAILED_PRECONDITION),
    (OrderVoided, grpc.StatusCode.FAILED_PRECONDITION),
    (StatusRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (SettingsRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (OrderUnknown, grpc.StatusCode.NOT_FOUND),
    (ServiceUnavailable, grpc.StatusCode.UNAVAILABLE),
    (TimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NotInstalled, grpc.StatusCode.INTERNAL),
]


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status for the client. Refused at every attempt is ABORTED: may be retried, as UNAVAILABLE may."""
    for kind, code in STATUS:
        if isinstance(error, kind):
            return code, str(error)
    if is_refused(error):
        return grpc.StatusCode.ABORTED, "too many orders want the same slot; send the order again with the same id"
    return grpc.StatusCode.INTERNAL, "the order could not be saved"  # a driver's text is for the log


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

    def _deadline(self, context: Context) -> AbstractContextManager[None]:
        return deadline.within(context.time_remaining() if self._carries_deadlines else None)

    async def create_order(self, message: bytes, context: Context) -> Any:
        """gRPC cancels this at the client's deadline, and with it the statement that is under way."""
        try:
            order_id = _order_id(context)
            with self._deadline(context):
                created = await self._service.create(order_from(message, order_id, self._clock()))
        except Exception as error:
            await _refuse(context, "CreateOrder", error)
        return OrderResponse(order_id=str(created.order_id), display_id=created.display_id, status=str(created.status))

    async def get_order(self, message: bytes, context: Context) -> Any:
        try:
            with self._deadline(context):
                return _to_message(await self._service.order(_order_asked(message)))
        except Exception as error:
            await _refuse(context, "GetOrder", error)

    async def cancel_order(self, message: bytes, context: Context) -> Any:
        try:
            order_id = _order_asked(message)
            with self._deadline(context):
                await self._service.cancel(order_id)
                return _to_message(await self._service.order(order_id))
        except Exception as error:
            await _refuse(context, "CancelOrder", error)

    async def list_slots(self, message: bytes, context: Context) -> Any:
        try:
            written = _parsed(SlotsRequest, message).day
            try:
                day = date.fromisoformat(written) if written else self._clock().astimezone(UTC).date()
            except ValueError:
                raise InvalidOrder("day", "is no day: write it as 2026-03-02") from None
            with self._deadline(context):
                found = await self._service.slots(day)
        except Exception as error:
            await _refuse(context, "ListSlots", error)
        times = ({"start": int(one.start.timestamp()), "end": int(one.end.timestamp())} for one in found)
        return SlotsResponse(
            slots=[SlotState(**{**asdict(one), **when}) for one, when in zip(found, times, strict=True)]
        )


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


async def _refuse(context: Context, call: str, error: Exception) -> NoReturn:
    """Ends a call with its status; what is nobody's fault but ours has a line in the log, and no traceback."""
    code, said = status_of(error)
    if code is grpc.StatusCode.INTERNAL:
        cause = error.__cause__ or error
        log.error("%s: %s %s: %s", call, type(error).__name__, getattr(cause, "sqlstate", None) or "", _line(error))
        log.debug("%s", call, exc_info=error)
    if isinstance(error, InvalidOrder):
        context.set_trailing_metadata((("field", error.field),))
    if isinstance(error, Overloaded):
        context.set_trailing_metadata(((PUSHBACK, str(round(1000 * error.retry_after))),))
    await context.abort(code, said)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


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
    ) -> None:
        self._service, self._health_seconds = service, health_seconds
        self._ending = False
        self.server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", LARGEST_MESSAGE),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
            ]
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
        self.port = self.server.add_insecure_port(f"{host}:{port}")

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
