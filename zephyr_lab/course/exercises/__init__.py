"""The exercises, by name."""

from __future__ import annotations

from zephyr_lab.course.checker import Checker
from zephyr_lab.course.exercises import booking, create, queue, reservation, retry, shifts, transfer

EXERCISES: dict[str, Checker] = {
    one.name: one
    for one in (
        booking.SAFE,
        booking.UNHINDERED,
        transfer.WITHOUT_DEADLOCK,
        retry.EXACTLY_ONCE,
        reservation.RESERVATION,
        queue.JOB_QUEUE,
        create.IDEMPOTENT,
        shifts.WRITE_SKEW,
    )
}
