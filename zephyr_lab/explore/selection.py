"""Which schedules to run, as plain data: all of them or random ones, or a part of these for another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from zephyr_lab.explore.exhaustive import Exhaustive, Subtree
from zephyr_lab.explore.pct import PCT
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.symmetry import Symmetry, symmetry_of
from zephyr_lab.schedule.model import Spec

Part = Subtree | range  # of the tree of all schedules, or of samples by their numbers


@dataclass(frozen=True)
class Selection:
    """All schedules, with `reduction` one of each class; or `samples` random ones, which `depth` makes PCT's.

    With `symmetry`, of those that differ only in the names of its sessions one is run, too. `by_table`: what is taken
    for granted at SERIALIZABLE, see `effect`.
    """

    reduction: bool = True
    samples: int | None = None
    seed: int = 0
    depth: int | None = None
    symmetry: Symmetry | None = None
    by_table: bool = True

    def scheduler(self, spec: Spec | None, part: Part | None = None) -> Exhaustive | Sampled:
        """The scheduler for a part of the schedules of `spec`, or for all of them. PCT needs a spec."""
        if self.samples is None:
            below = part if isinstance(part, Subtree) else None
            return Reduced(self.symmetry, below, by_table=self.by_table) if self.reduction else Exhaustive(below)
        which = part if isinstance(part, range) else range(self.samples)
        if self.depth is None or spec is None:
            return Sampled(which, self.seed)
        return PCT(which, self.seed, self.depth, len(spec.steps))

    def without(self, what: str) -> Selection:
        """The same without a field that is taken for granted."""
        return replace(self, symmetry=None) if what == "symmetry" else replace(self, by_table=False)

    def known(self, about: Mapping[str, Any] | None) -> Selection:
        """The same without what a checkpoint says is not so, or was not asked for."""
        found = self
        for what in ("symmetry", "by_table"):
            if about and about.get(what) is False:
                found = found.without(what)
        return found

    def about(self) -> dict[str, Any]:
        """In JSON, for a checkpoint."""
        return {**asdict(self), "symmetry": self.symmetry is not None}

    def all(self) -> Part:
        """The whole, as a part."""
        return Subtree([]) if self.samples is None else range(self.samples)


def divided(part: Part) -> tuple[Part, Part] | None:
    """In two parts, in the order of the search; None if that is not possible."""
    if isinstance(part, Subtree):
        return part.divided()
    half = len(part) // 2
    return (part[:half], part[half:]) if half else None


def alike(spec: Spec, wanted: bool | None) -> Symmetry | None:
    """The sessions of a spec with the same SQL; `wanted` as of `symmetry_of`."""
    programs = {one.name: (one.setup, one.teardown, *(step.sql for step in one.steps)) for one in spec.sessions}
    return symmetry_of(programs, wanted)
