"""Which schedules to run, as plain data: all of them or random ones, or a part of these for another process."""

from __future__ import annotations

from dataclasses import dataclass

from zephyr_lab.explore.exhaustive import Exhaustive, Path
from zephyr_lab.explore.pct import PCT
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.scheduler import Scheduler
from zephyr_lab.explore.symmetry import symmetry_of
from zephyr_lab.schedule.model import Spec

Part = Path | range  # what lies below a path of the search, or samples by their numbers


@dataclass(frozen=True)
class Selection:
    """All schedules, with `reduction` one of each class; or `samples` random ones, which `depth` makes PCT's.

    With `symmetry`, of those that differ only in the names of sessions with the same SQL one is run, too; None: where
    there are three such sessions.
    """

    reduction: bool = True
    samples: int | None = None
    seed: int = 0
    depth: int | None = None
    symmetry: bool | None = None

    def scheduler(self, spec: Spec, part: Part | None = None) -> Scheduler:
        """The scheduler for a part of the schedules of `spec`, or for all of them."""
        if self.samples is None:
            return self.of_all(spec, below=part if isinstance(part, list) else None)
        which = part if isinstance(part, range) else range(self.samples)
        if self.depth is None:
            return Sampled(which, self.seed)
        return PCT(which, self.seed, self.depth, len(spec.steps))

    def of_all(self, spec: Spec, *, until: int | None = None, below: Path | None = None) -> Exhaustive:
        if not self.reduction:
            return Exhaustive(until=until, below=below)
        programs = {one.name: (one.setup, one.teardown, *(step.sql for step in one.steps)) for one in spec.sessions}
        return Reduced(symmetry_of(programs, self.symmetry), until=until, below=below)
