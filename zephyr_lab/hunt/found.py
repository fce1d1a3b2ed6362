"""What a hunt has found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from zephyr_lab.hunt.candidates import Names
from zephyr_lab.hunt.decision import Decision, Kind
from zephyr_lab.hunt.patterns import PATTERNS, rank


@dataclass(frozen=True)
class Known:
    """An operation: what it needs before it, what it touches, and where it is defined, if that is known.

    `trouble`: why it does not work alone, from the setup. `is_hunted`: it asks something that the lab can order.
    """

    prefix: Names
    footprint: str
    trouble: str = ""
    place: str = ""
    is_hunted: bool = True

    def text(self) -> str:
        if not self.is_hunted:
            return f"not hunted: {self.trouble}"
        if not self.trouble:
            return self.footprint
        so = f"hunted after {', '.join(self.prefix)}" if self.prefix else "and after no other one: hunted as it is"
        return f"{self.footprint}; it does not work alone ({self.trouble}), {so}"


@dataclass
class Found:
    """The operations, and a decision on each pair of them, with itself too, and on triples if these were asked for."""

    isolation: str
    operations: dict[str, Known] = field(default_factory=dict)
    decisions: dict[Names, Decision] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    def of_kind(self, kind: Kind) -> list[Decision]:
        """Decisions, the most suspicious first; as they were made if that is equal."""
        found = [one for one in self.decisions.values() if one.kind is kind]
        return sorted(found, key=lambda one: rank(one.pattern) if one.pattern else len(PATTERNS))

    @property
    def races(self) -> list[Decision]:
        return self.of_kind(Kind.RACES)

    @property
    def undecided(self) -> list[Decision]:
        return self.of_kind(Kind.UNDECIDED)

    @property
    def unhunted(self) -> list[str]:
        """Operations that ask nothing which the lab can order."""
        return [name for name, one in self.operations.items() if not one.is_hunted]

    def cell(self, one: str, other: str) -> Decision | None:
        """The decision on a pair, in either order; None if it was not hunted."""
        return self.decisions.get((one, other)) or self.decisions.get((other, one))

    def columns(self) -> list[str]:
        """Of the matrix: operations that were hunted, and `alone` where faults were."""
        names = [name for name, one in self.operations.items() if one.is_hunted]
        return names + ["alone"] * any(len(one) == 1 for one in self.decisions)

    def row(self, name: str) -> list[Decision | None]:
        """The cells of an operation, by column."""
        names = [other for other, one in self.operations.items() if one.is_hunted]
        alone = [self.decisions.get((name,))] * (len(self.columns()) - len(names))
        return [*(self.cell(name, other) for other in names), *alone]

    def grouped(self) -> dict[tuple[str, str], list[Decision]]:
        """Races by pattern and call site: where the code is, or else the operations."""
        groups: dict[tuple[str, str], list[Decision]] = {}
        for one in self.races:
            groups.setdefault((one.pattern, self.site(one)), []).append(one)
        return groups

    def site(self, decision: Decision) -> str:
        """The first line that a race is about; else where its first operation is defined, or what that is called."""
        places = decision.finding.places if decision.finding else ()
        defined = [self.operations[name].place for name in decision.operations]
        return next((place for place in [*places, *defined] if place), decision.operations[0])

    def counts(self) -> dict[str, int]:
        return {str(kind): len(self.of_kind(kind)) for kind in Kind}
