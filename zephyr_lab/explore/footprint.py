"""Footprints: the rows that a message may read, lock and write, and the end of its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple


class Rows(NamedTuple):
    """Rows of a table: all of them, or those in which `column` has the value."""

    table: str
    column: str = ""
    value: str | int = ""

    def meets(self, other: Rows) -> bool:
        """Whether a row could be in both."""
        return self.table == other.table and (
            self.column != other.column or type(self.value) is not type(other.value) or self.value == other.value
        )


RowSet = frozenset[Rows]
NOTHING: RowSet = frozenset()


def meet(some: RowSet, others: RowSet) -> bool:
    """Whether two sets of rows could have a row in common."""
    return any(one.meets(other) for one in some for other in others)


class Ending(Enum):
    """How a message ends a transaction, or reverts to a savepoint."""

    COMMIT = auto()
    ROLLBACK = auto()
    TO_SAVEPOINT = auto()


@dataclass(frozen=True)
class Footprint:
    """What a message may read, lock and write; whether it begins or ends a transaction.

    `opaque`: it may touch whatever others touch. `unknown`: not understood, so it may also observe the order of
    independent steps, or change the meaning of others. `clock`: all that is not understood in it is the
    time, or chance, which no other session determines; it touches the rows that it names. `scans`: unless it uses an
    index, it reads no table, or one to its end; and its transaction is not READ ONLY by it.
    """

    reads: RowSet = NOTHING
    locks: RowSet = NOTHING
    writes: RowSet = NOTHING
    begins: bool = False
    saves: bool = False  # sets a savepoint, to which a failed transaction can return
    ends: Ending | None = None
    inserts: RowSet = NOTHING  # of its locks, those on new rows
    by_place: frozenset[str] = frozenset()  # tables whose rows it reads by physical order
    idle: bool = True  # no statement in it needs a snapshot
    opaque: bool = False
    unknown: bool = False
    clock: bool = False
    scans: bool = True

    @property
    def names_all(self) -> bool:
        """Whether it touches no other rows than it says."""
        return self.clock or not (self.opaque or self.unknown)

    def then(self, later: Footprint) -> Footprint:
        """The footprint of two statements in one message."""
        return Footprint(
            self.reads | later.reads, self.locks | later.locks, self.writes | later.writes,
            inserts=self.inserts | later.inserts, by_place=self.by_place | later.by_place,
            begins=self.begins or later.begins, saves=self.saves or later.saves, ends=later.ends or self.ends,
            idle=self.idle and later.idle,
            # Statements after an end are too rare to be modelled.
            opaque=self.opaque or later.opaque or bool(self.ends), unknown=self.unknown or later.unknown,
            clock=(self.clock or later.clock) and self.names_all and later.names_all and not self.ends,
            scans=self.scans and later.scans,
        )  # fmt: skip


OPAQUE = Footprint(idle=False, opaque=True, scans=False)
UNKNOWN = Footprint(idle=False, opaque=True, unknown=True, scans=False)
