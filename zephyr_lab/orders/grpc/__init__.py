"""The gRPC API: messages, server, client."""

from zephyr_lab.orders.grpc.messages import OrderResponse, PizzaOrderRequest, create_order_stub
from zephyr_lab.orders.grpc.servicer import OrderServicer, Server

__all__ = ["OrderResponse", "OrderServicer", "PizzaOrderRequest", "Server", "create_order_stub"]
