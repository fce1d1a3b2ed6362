"""One serial run of functions with all that they asked: what a hunt decides by which of them may race."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zephyr_lab.explore.footprint import Footprint
from zephyr_lab.functions.trips import RoundTrip
from zephyr_lab.schedule.transcript import Transcript


@dataclass(frozen=True)
class Trace:
    """The round trips by session. `footprint` gives what a statement may touch, in the schema of this run.

    `unseen` is what they used that is in no outcome: files, messages, Python's memory. `hides_memory`: they may share
    memory that cannot be inspected, as the requests to a service do.
    """

    transcript: Transcript
    trips: Mapping[str, tuple[RoundTrip, ...]]
    footprint: Callable[[str], Footprint]
    unseen: tuple[str, ...] = ()
    hides_memory: bool = False
