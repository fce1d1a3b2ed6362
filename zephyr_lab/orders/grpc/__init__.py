"""The gRPC API: what goes over the wire, who answers, who asks."""

from zephyr_lab.orders.grpc.messages import OrderResponse, PizzaOrderRequest, create_order_stub
from zephyr_lab.orders.grpc.servicer import OrderServicer, Server

__all__ = ["OrderResponse", "OrderServicer", "PizzaOrderRequest", "Server", "create_order_stub"]
