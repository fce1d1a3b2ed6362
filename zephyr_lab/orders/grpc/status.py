"""The status of each outcome, and what goes with it: whose fault it is, and when to send the order again."""

from __future__ import annotations

import logging

import grpc

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
from zephyr_lab.orders.retry import is_refused

PUSHBACK = "grpc-retry-pushback-ms"
"""In the trailer of a refused call: when to send it again. gRPC's own retry policies keep to it (gRFC A6)."""

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

_OURS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED)


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """The status for the client. Refused at every attempt is ABORTED: may be retried, as UNAVAILABLE may."""
    for kind, code in STATUS:
        if isinstance(error, kind):
            return code, str(error)
    if is_refused(error):
        return grpc.StatusCode.ABORTED, "too many orders want the same slot; send the order again with the same id"
    return grpc.StatusCode.INTERNAL, "the order could not be saved"  # a driver's text is for the log


def level_of(code: grpc.StatusCode) -> int:
    """Of the log: an error is for somebody to mend, a warning passes, what the client can mend is information."""
    if code is grpc.StatusCode.INTERNAL:
        return logging.ERROR
    return logging.WARNING if code in _OURS else logging.INFO


def trailers_of(error: Exception) -> tuple[tuple[str, str], ...]:
    """Which field is wrong, or when to come back."""
    if isinstance(error, InvalidOrder):
        return (("field", error.field),)
    if isinstance(error, Overloaded):
        return ((PUSHBACK, str(round(1000 * error.retry_after))),)
    return ()
