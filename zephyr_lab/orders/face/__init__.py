"""The gRPC face: what goes over the wire, who answers, who asks."""

from zephyr_lab.orders.face.messages import OrderResponse, PizzaOrderRequest, create_order_stub
from zephyr_lab.orders.face.server import OrderFace, Serving

__all__ = ["OrderFace", "OrderResponse", "PizzaOrderRequest", "Serving", "create_order_stub"]
