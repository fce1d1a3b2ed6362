"""Races that are known, in a file: a hunt fails for the others."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from zephyr_lab.errors import BadInput
from zephyr_lab.hunt.decision import Decision, Kind
from zephyr_lab.hunt.report import Hunt


@dataclass(frozen=True, order=True)
class KnownRace:
    """By the operations' names, in their alphabetical order, and the pattern."""

    operations: tuple[str, ...]
    pattern: str

    @classmethod
    def of(cls, decision: Decision) -> KnownRace:
        return cls(tuple(sorted(decision.operations)), decision.pattern)

    def text(self) -> str:
        return f"{' with '.join(self.operations)} ({self.pattern})"


@dataclass(frozen=True)
class Baseline:
    races: frozenset[KnownRace] = frozenset()

    @classmethod
    def of(cls, hunt: Hunt) -> Baseline:
        return cls(frozenset(map(KnownRace.of, hunt.races)))

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Of a file that `write` has made. Raises BadInput."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return cls(frozenset(KnownRace(tuple(map(str, one["operations"])), str(one["pattern"])) for one in told))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadInput(f"cannot read the baseline {path}: {why}; --write-baseline makes it") from None
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{path} is no baseline, which --write-baseline makes: {error!r}") from None

    def write(self, path: Path) -> None:
        """Writes it as JSON, a race a line. Raises OSError."""
        lines = [json.dumps({"operations": one.operations, "pattern": one.pattern}) for one in sorted(self.races)]
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n", encoding="utf-8")

    def new(self, hunt: Hunt) -> list[Decision]:
        """Races that are not in it."""
        return [one for one in hunt.races if KnownRace.of(one) not in self.races]

    def stale(self, hunt: Hunt) -> list[KnownRace]:
        """Those in it that the hunt has not found, although it has decided on their operations, or has none of them."""
        open_ones = {KnownRace.of(one).operations for one in hunt.of_kind(Kind.UNDECIDED)}
        gone: Iterable[KnownRace] = self.races - Baseline.of(hunt).races
        return sorted(one for one in gone if one.operations not in open_ones)
