"""What a message may touch, as data: rows that it reads, locks and writes, and what becomes of its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple


class Rows(NamedTuple):
    """Rows of a table: all of them, or those of which `column` has the value."""

    table: str
    column: str = ""
    value: str | int = ""

    def meets(self, other: Rows) -> bool:
        """Whether a row could belong to both."""
        return self.table == other.table and (
            self.column != other.column or type(self.value) is not type(other.value) or self.value == other.value
        )


RowSet = frozenset[Rows]
NOTHING: RowSet = frozenset()


def meet(some: RowSet, others: RowSet) -> bool:
    """Whether two sets of rows could have a row in common."""
    return any(one.meets(other) for one in some for other in others)


class Ending(Enum):
    """How a message ends a transaction, or what it has done since a savepoint."""

    COMMIT = auto()
    ROLLBACK = auto()
    TO_SAVEPOINT = auto()


@dataclass(frozen=True)
class Footprint:
    """What a message may read, lock and write; whether it begins or ends a transaction.

    `opaque`: it may touch whatever others touch. `unknown`: not understood, so it may also find in which order steps
    came that have nothing to do with each other, or decide what others mean.
    """

    reads: RowSet = NOTHING
    locks: RowSet = NOTHING
    writes: RowSet = NOTHING
    begins: bool = False
    saves: bool = False  # sets a savepoint, to which a failed transaction can come back
    ends: Ending | None = None
    inserts: RowSet = NOTHING  # of its locks, those on rows that are new
    by_place: frozenset[str] = frozenset()  # tables of which it reads rows by where they lie
    idle: bool = True  # no statement in it needs a snapshot
    opaque: bool = False
    unknown: bool = False

    def then(self, later: Footprint) -> Footprint:
        """Of two statements in one message."""
        return Footprint(
            self.reads | later.reads, self.locks | later.locks, self.writes | later.writes,
            inserts=self.inserts | later.inserts, by_place=self.by_place | later.by_place,
            begins=self.begins or later.begins, saves=self.saves or later.saves, ends=later.ends or self.ends,
            idle=self.idle and later.idle,
            # What begins or goes on after an end is too rare to be told apart.
            opaque=self.opaque or later.opaque or bool(self.ends), unknown=self.unknown or later.unknown,
        )  # fmt: skip


OPAQUE = Footprint(idle=False, opaque=True)
UNKNOWN = Footprint(idle=False, opaque=True, unknown=True)
