"""The messages of order.proto, from its compiled form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "order.OrderService"
COMPILED = Path(__file__).with_name("order.binpb")

_pool = descriptor_pool.Default()  # reflection looks here
for _file in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
    _pool.Add(_file)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"order.{name}"))


PizzaOrderRequest, OrderResponse = _message("PizzaOrderRequest"), _message("OrderResponse")
OrderRequest, OrderState = _message("OrderRequest"), _message("OrderState")
SlotsRequest, SlotsResponse, SlotState = _message("SlotsRequest"), _message("SlotsResponse"), _message("Slot")

ANSWERS: dict[str, Any] = {
    "CreateOrder": OrderResponse,
    "GetOrder": OrderState,
    "CancelOrder": OrderState,
    "ListSlots": SlotsResponse,
}
"""What each call answers."""


def create_order_stub(channel: Any) -> Any:
    """The client's side: `create_order_stub(channel)(request, timeout=...)`, on a channel of either kind."""
    return channel.unary_unary(
        f"/{SERVICE}/CreateOrder",
        request_serializer=PizzaOrderRequest.SerializeToString,
        response_deserializer=OrderResponse.FromString,
    )


def stub(channel: Any, call: str) -> Any:
    """The client's side of a call of `ANSWERS`, as `create_order_stub`; the request is a message."""
    return channel.unary_unary(
        f"/{SERVICE}/{call}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=ANSWERS[call].FromString,
    )
