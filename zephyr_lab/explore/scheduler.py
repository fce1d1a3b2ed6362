"""The whole contract between a search and what it searches: who may move now, and who is to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zephyr_lab.errors import LabError


class Nondeterminism(LabError):
    """The same schedule let other sessions move than before: what was run does not depend on the schedule alone."""


class Scheduler(Protocol):
    """Decides which session takes the next step.

    It lives across executions of the same case, so it can remember what it has tried. It never sees SQL or a
    connection, only which sessions could move now.
    """

    def new_execution(self) -> bool:
        """Whether there is another schedule to run; called before each."""

    def next_session(self, runnable: Sequence[str], last: str | None) -> str:
        """One of `runnable`, which is never empty. Raises Nondeterminism."""

    @property
    def complete(self) -> bool:
        """Whether every schedule has been run by now."""
