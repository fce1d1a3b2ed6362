"""Ctrl-C, or Jupyter's square button, at any moment: the run ends, and the lab goes on."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from zephyr_lab import Lab
from zephyr_lab.lab.case import Case

SCHEDULE = "A B A B A B"
EVERY = 31


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line that the lab's own code executes, and counts the lines."""

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, 0

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if "zephyr_lab" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                raise KeyboardInterrupt
        return self.trace

    def __enter__(self) -> Interrupt:
        sys.settrace(self.trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)


def lines_of(case: Case) -> int:
    with Interrupt(at=0) as counted:
        case.run(SCHEDULE)
    return counted.lines


def test_an_interrupt_at_any_line_leaves_a_lab_that_works(lab: Lab) -> None:
    """Between a question to the server and its answer, in the middle of a result, while a session is stopped."""
    case = lab.case("lost-update", "repeatable read")
    expected = str(case.run(SCHEDULE))
    fewest = min(lines_of(case) for _ in range(3))  # the more looks at who waits, the more lines
    lines = range(1, fewest + 1, EVERY)
    interrupted = 0
    for line in lines:
        try:
            with Interrupt(at=line):
                case.run(SCHEDULE)
        except KeyboardInterrupt:
            interrupted += 1
        assert str(case.run(SCHEDULE)) == expected, f"after an interrupt at line {line} of {fewest}"
    assert interrupted > len(lines) / 2  # a run with fewer looks at who waits is over before its last lines
