"""How an order can fail, each by its name, so that no caller has to read a message."""

from __future__ import annotations

from zephyr_lab.errors import BadInput, LabError


class InvalidOrder(BadInput):
    """A field of an order cannot be accepted; nothing was written. `field` names it, as in `items.0.price`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class OrderFailed(LabError):
    """Base of what can become of a valid order other than being saved."""


class SlotsFull(OrderFailed):
    """Every slot that is left today is full: there is no use in trying again before somebody cancels."""


class Closed(OrderFailed):
    """No slot is left today: the kitchen is closed, or closes before another order could be made."""


class AlreadyCreated(OrderFailed):
    """The order's id is taken. Raised inside a transaction, which it rolls back; the service then looks it up."""


class OrderVoided(OrderFailed):
    """The order's id was given up by `reconcile` before the order was saved: order again, with another id."""


class OrderUnknown(OrderFailed):
    """No order has that id."""


class StatusRefused(OrderFailed):
    """An order's status goes forward only, and ends with archived."""


class SlotChanged(OrderFailed):
    """Somebody else has booked the slot since it was read: run the whole transaction again."""


class NotInstalled(OrderFailed):
    """What the service needs is not there: a month's partition, a table, a function, a grant. No retry helps."""


class ServiceUnavailable(OrderFailed):
    """PostgreSQL or Redis did not answer, or all connections are taken.

    The order may or may not be saved: send it again with the same id.
    """
