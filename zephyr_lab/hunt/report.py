"""What a hunt has found, as plain data: for people, as JSON, as SARIF, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zephyr_lab.hunt.candidates import Names
from zephyr_lab.hunt.decision import Decision, Kind
from zephyr_lab.hunt.patterns import PATTERNS, rank

_SIGNS = {Kind.SAFE: "safe", Kind.RACES: "RACES", Kind.ABORTS: "aborts", Kind.UNDECIDED: "?"}


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
class Hunt:
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

    # -- forms

    def to_dict(self) -> dict[str, Any]:
        """The form for JSON."""
        return {
            "isolation": self.isolation,
            "operations": {
                name: {
                    "prefix": list(one.prefix), "footprint": one.footprint, "trouble": one.trouble,
                    "place": one.place, "hunted": one.is_hunted,
                }
                for name, one in self.operations.items()
            },
            "counts": self.counts(),
            "decisions": [one.to_dict() for one in self.decisions.values()],
            "notes": list(self.notes),
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def to_sarif(self) -> dict[str, Any]:
        """The races as SARIF 2.1.0, which code hosts show beside the code."""
        from zephyr_lab.hunt.sarif import sarif

        return sarif(self)

    def to_html(self) -> str:
        """One page that needs no other file: the matrix, whose cells open their counterexamples in the stepper."""
        from zephyr_lab.hunt.page import page

        return page(self)

    def __str__(self) -> str:
        counts = self.counts()
        said = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
        what = "pairs" if all(len(one) == 2 for one in self.decisions) else "decisions"
        many = f"{len(self.operations)} operations, {len(self.decisions)} {what}"
        lines = [f"{many} at {self.isolation}: {said or 'nothing decided'}; {self.seconds:.1f} s"]
        lines += ["", *self._matrix(), "", *(f"{name}: {one.text()}" for name, one in self.operations.items())]
        for (pattern, site), found in self.grouped().items():
            lines += ["", f"{pattern} at {site}: {PATTERNS[pattern]}", *self._findings(found)]
        for kind in (Kind.ABORTS, Kind.UNDECIDED):
            lines += ["", *(f"{_with(one)}: {kind}: {one.why}" for one in self.of_kind(kind))]
        lines += [*self.notes, *(["interrupted: the rest was not hunted"] if self.interrupted else [])]
        return "\n".join(_without_repeated_blanks(lines))

    __repr__ = __str__

    def _matrix(self) -> Iterator[str]:
        names = [name for name, one in self.operations.items() if one.is_hunted]
        width = max(map(len, names), default=0)
        numbers = [str(number) for number, _ in enumerate(names, start=1)]
        yield " " * (width + 6) + " ".join(f"{head:>6}" for head in [*numbers, *self.columns()[len(names) :]])
        for number, name in zip(numbers, names, strict=True):
            cells = [_SIGNS[one.kind] if one else "-" for one in self.row(name)]
            yield f"{number:>3}  {name:<{width}} " + " ".join(f"{cell:>6}" for cell in cells)

    def _findings(self, found: Sequence[Decision]) -> Iterator[str]:
        for one in found:
            yield f"  {_with(one)}: {one.why}, after {one.schedules:,} schedules"
            if one.finding:
                told = [one.finding.timeline, "", one.finding.verdict, *one.finding.explanation]
                yield from (f"    {line}".rstrip() for text in told for line in text.split("\n"))


def _with(decision: Decision) -> str:
    after = f" (after {', '.join(decision.prefix)})" if decision.prefix else ""
    return " with ".join(decision.operations) + after


def _without_repeated_blanks(lines: Sequence[str]) -> list[str]:
    return [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
