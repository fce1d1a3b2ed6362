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

PizzaOrderRequest: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("order.PizzaOrderRequest"))
OrderResponse: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName("order.OrderResponse"))


def create_order_stub(channel: Any) -> Any:
    """The client's side: `create_order_stub(channel)(request, timeout=...)`, on a channel of either kind."""
    return channel.unary_unary(
        f"/{SERVICE}/CreateOrder",
        request_serializer=PizzaOrderRequest.SerializeToString,
        response_deserializer=OrderResponse.FromString,
    )
