"""How an order can fail: a class for each reason, so that no caller has to parse a message."""

from __future__ import annotations

from zephyr_lab.errors import BadInput, LabError


class InvalidOrder(BadInput):
    """A field of an order cannot be accepted; nothing was written. `field` names it, as in `items.0.price`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class OrderFailed(LabError):
    """Base class: a valid order was not saved."""


class SlotsFull(OrderFailed):
    """Every remaining slot of the day is full; a retry is useless until another order is cancelled."""


class Closed(OrderFailed):
    """No slot remains today: the kitchen is closed, or closes before another order could be made."""


class AlreadyCreated(OrderFailed):
    """The order's id is taken. Raised inside a transaction, which it rolls back; the service then looks it up."""


class OrderVoided(OrderFailed):
    """`reconcile` voided the order's id before the order was saved: order again, with another id."""


class OrderUnknown(OrderFailed):
    """No order has that id."""


class StatusRefused(OrderFailed):
    """The status cannot be set: statuses only go forward, and end with archived."""


class SlotChanged(OrderFailed):
    """Another order has booked the slot since it was read: run the whole transaction again."""


class DayNotOpen(OrderFailed):
    """Redis has not been told the day's slots and orders, or has lost them: see `days.open_day`."""


class SettingsRefused(OrderFailed):
    """The strategy cannot keep what the slots are set to: nothing is sold until they, or the strategy, are others."""


class TimedOut(OrderFailed):
    """A time limit of the server (statement_timeout, lock_timeout) has ended the attempt; the order is not saved."""


class TooLate(TimedOut):
    """The caller's deadline would pass before an attempt could end: none was started."""


class NotInstalled(OrderFailed):
    """The service lacks a month's partition, a table, a function, or a grant; no retry helps."""


class ServiceUnavailable(OrderFailed):
    """PostgreSQL or Redis did not answer, or all connections are taken.

    The order may or may not be saved: send it again with the same id.
    """


class Overloaded(ServiceUnavailable):
    """More orders wait for a connection than can be served; this attempt was not started.

    `retry_after` is in how many seconds to send the order again.
    """

    def __init__(self, said: str, retry_after: float) -> None:
        super().__init__(said)
        self.retry_after = retry_after
