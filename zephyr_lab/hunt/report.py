"""A hunt's forms: for people, as JSON, as SARIF, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from zephyr_lab.hunt.decision import Decision, Kind
from zephyr_lab.hunt.found import Found
from zephyr_lab.hunt.page import page
from zephyr_lab.hunt.patterns import PATTERNS
from zephyr_lab.hunt.sarif import sarif

_SIGNS = {Kind.SAFE: "safe", Kind.RACES: "RACES", Kind.ABORTS: "aborts", Kind.UNDECIDED: "?"}


@dataclass(repr=False)
class Hunt(Found):
    """What was found, with its forms; it prints itself."""

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
        return sarif(self)

    def to_html(self) -> str:
        """One page that needs no other file: the matrix, whose cells open their counterexamples in the stepper."""
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
                told = [one.finding.timeline, "", one.finding.verdict, *one.finding.explanation, *one.finding.exports]
                yield from (f"    {line}".rstrip() for text in told for line in text.split("\n"))


def _with(decision: Decision) -> str:
    after = f" (after {', '.join(decision.prefix)})" if decision.prefix else ""
    return " with ".join(decision.operations) + after


def _without_repeated_blanks(lines: Sequence[str]) -> list[str]:
    return [line for place, line in enumerate(lines) if line or (place and lines[place - 1])]
