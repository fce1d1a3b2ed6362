"""A counter: a read is at least what must have been added when it began, and at most what may have been when it ended.

add 1    read 7
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate

from zephyr_lab.check.operations.events import Fault, Operation
from zephyr_lab.errors import BadInput


class _Sums:
    """The sum of all amounts at moments before one."""

    def __init__(self, moments: list[tuple[int, int]]) -> None:
        moments.sort()
        self.at = [moment for moment, _ in moments]
        self.sums = [0, *accumulate(amount for _, amount in moments)]

    def before(self, moment: int) -> int:
        return self.sums[bisect.bisect_left(self.at, moment)]


def check(operations: Sequence[Operation]) -> list[Fault]:
    """Reads outside these bounds."""
    for one in operations:
        amount = one.asked if one.f == "add" else one.value
        if (one.f == "add" or one.ok) and type(amount) is not int:
            raise BadInput(f"line {one.line}: {one.f} {amount!r:.40} of a counter; it is an integer")
    adds = [one for one in operations if one.f == "add" and one.possible]
    up, down = ([one for one in adds if (one.asked > 0) is positive] for positive in (True, False))
    must_up, must_down = (_Sums([(one.end, one.asked) for one in some if one.ok]) for some in (up, down))
    may_up, may_down = (_Sums([(one.begin, one.asked) for one in some]) for some in (up, down))
    found = []
    for one in operations:
        if one.ok and one.f == "read":
            least = must_up.before(one.begin) + may_down.before(one.end)
            most = may_up.before(one.end) + must_down.before(one.begin)
            if not least <= one.value <= most:
                text = f"read {one.value}, when at least {least} and at most {most} had been added"
                found.append(Fault("impossible-count", (one.line,), text))
    return found
