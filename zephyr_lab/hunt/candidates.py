"""Which operations may race at all: those that are not independent, the most suspicious first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement

from zephyr_lab.hunt.access import Access, Footprint
from zephyr_lab.hunt.patterns import pattern_of, rank
from zephyr_lab.schedule.transcript import SQL_WIDTH
from zephyr_lab.views.abridged import one_line

Names = tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """Operations to be explored together, by name; one may be there twice.

    `prefix`: operations that are run before, as a part of the setup, in this order. `pattern` is a key of
    `patterns.PATTERNS`, `evidence` the accesses that show it, `why` what they have in common.
    """

    operations: Names
    prefix: Names
    pattern: str
    why: str
    evidence: tuple[Access, ...] = ()

    @property
    def places(self) -> Names:
        """The lines that asked what is suspicious, if these are known."""
        return tuple(dict.fromkeys(one.where for one in self.evidence if one.where))


@dataclass(frozen=True)
class Independent:
    """Operations that need not be explored, and why."""

    operations: Names
    prefix: Names
    why: str


def conflict(one: Footprint, other: Footprint) -> str:
    """What two operations may notice of each other, in words; '' if they are independent."""
    if both := one.writes & other.writes:
        return f"both write {_listed(both)}"
    for writer, reader in ((one, other), (other, one)):
        if seen := writer.writes & reader.reads:
            return f"one writes {_listed(seen)}, and the other reads it"
    if unclear := (*one.unclear, *other.unclear):
        return f"not understood: {one_line(unclear[0], SQL_WIDTH)}"
    if unseen := (*one.unseen, *other.unseen):
        return f"not seen: {unseen[0]}"
    return ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def judged(operations: Names, prefix: Names, footprints: Sequence[Footprint]) -> Candidate | Independent:
    """A pair by what each of its operations asked alone, in the state that the prefix leaves."""
    one, other = footprints
    if not (why := conflict(one, other)):
        return Independent(operations, prefix, f"independent: {one.text()} | {other.text()}")
    if why.startswith("not seen"):  # whatever else one of them does, the other one touches none of it
        return Candidate(operations, prefix, "memory", why)
    pattern, evidence = pattern_of(one, other)
    if pattern == "conflict" and why.startswith("not understood"):
        pattern = "not-understood"
    return Candidate(operations, prefix, pattern, why, evidence or ())


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The most suspicious first; else in the order in which they are given."""
    return sorted(candidates, key=lambda one: rank(one.pattern))


def pairs(names: Sequence[str]) -> list[Names]:
    """Every pair of operations, each with itself too."""
    return list(combinations_with_replacement(names, 2))


def triples(
    names: Sequence[str],
    is_independent: Callable[[Names], bool],
    is_open: Callable[[Names], bool],
    known: Callable[[Names], Candidate | None],
) -> list[Candidate]:
    """Triples that no pair of theirs has decided: each of the three depends on another one, and no pair races.

    `is_open`: a pair may take part. `known` is the candidate that a pair was.
    """
    found = []
    for triple in combinations_with_replacement(names, 3):
        inside = list(dict.fromkeys(combinations(triple, 2)))
        if not all(map(is_open, inside)) or sum(not is_independent(one) for one in combinations(triple, 2)) < 2:
            continue
        parts = [one for one in map(known, inside) if one]
        first = min(parts, key=lambda one: rank(one.pattern))
        prefix = tuple(dict.fromkeys(name for one in parts for name in one.prefix))
        found.append(Candidate(triple, prefix, first.pattern, first.why, first.evidence))
    return ranked(found)
