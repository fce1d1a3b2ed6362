"""The effect of a step on other sessions, and whether two steps commute.

The relation models multi-version concurrency: nothing uncommitted is visible, so a write depends on other writes
(by the rows that both lock) and not on reads; a commit depends on reads of what it publishes; above READ COMMITTED
only a transaction's first statement takes a snapshot, and what it locks must not have been published since. Traces:
Mazurkiewicz (1977); independence in a search: Godefroid (1996).

At SERIALIZABLE the server's tracking of reads and writes depends on their order too, and only reads of transactions
that have written nothing commute. But it refuses nothing before a transaction has committed what it wrote: a dangerous
structure needs one that committed first (Ports and Grittner, 2012; OnConflict_CheckForSerializationFailure in the
server's predicate.c). Until then a read and a write make the same conflict in either order, if the read scans a table:
read first, it has locked the table; written first, it meets the row that is not committed. A search takes that for
granted (`by_table`) while all are such reads, and no row, page or index is seen locked; see `LESS_THAN_TABLES`.
Whoever commits has the pivots among those that have read what it wrote aborted, in the order of their conflicts, until
what is left is harmless (PreCommit_CheckForSerializationFailure): in general the order of reads decides who is aborted,
as soon as there are three sessions. Not where everybody who writes the only table has read it too, as a search by table
takes for granted as well: then whoever commits has read what the others have written, all of them are pivots by itself,
and all are aborted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NoReturn

from psycopg import pq

from zephyr_lab.errors import SERIALIZATION_FAILURE, Presumed
from zephyr_lab.explore.footprint import NOTHING, UNKNOWN, Ending, Footprint, Rows, RowSet, meet
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.transcript import Event, EventKind, Failure, Result
from zephyr_lab.sql.classify import mentions_level


@dataclass(frozen=True)
class Effect:
    """One step's effect: the sessions that moved (its own, and those it woke), rows read, locked, freed, published."""

    sessions: frozenset[str]
    looks: RowSet = NOTHING
    locks: RowSet = NOTHING
    frees: RowSet = NOTHING
    publishes: RowSet = NOTHING
    everywhere: bool = False  # reads whatever is published: a snapshot for later statements
    waits: bool = False  # of two steps that wait, the second one may close a cycle
    watched: bool = False  # at SERIALIZABLE, more than a read of a transaction that has written nothing
    tables: bool = False  # takes or releases a lock on a table, as every query does: only opaque steps notice
    opaque: bool = False
    tracked: bool = False  # at SERIALIZABLE, of three sessions: the order of such reads decides who is refused

    @cached_property
    def is_local(self) -> bool:
        """Whether no other session can notice when it happened, except by an opaque step."""
        return self == Effect(self.sessions, tables=self.tables)

    @cached_property
    def is_nothing(self) -> bool:
        return self == Effect(self.sessions)

    def joined(self, other: Effect) -> Effect:
        return Effect(
            self.sessions | other.sessions, self.looks | other.looks, self.locks | other.locks,
            self.frees | other.frees, self.publishes | other.publishes,
            self.everywhere or other.everywhere, self.waits or other.waits, self.watched or other.watched,
            self.tables or other.tables, self.opaque or other.opaque, self.tracked or other.tracked,
        )  # fmt: skip


def dependent(one: Effect, other: Effect) -> bool:
    """Whether two adjacent steps could have different results in the other order."""
    if one.sessions & other.sessions:
        return True
    if one.opaque or other.opaque:
        return not (one.is_nothing or other.is_nothing)
    if one.is_local or other.is_local:
        return False
    if one.watched or other.watched or (one.waits and other.waits) or (one.tracked and other.tracked):
        return True
    return meet(one.locks, other.locks) or _precedes(one, other) or _precedes(other, one)


def _precedes(one: Effect, other: Effect) -> bool:
    """Whether `other` may notice that `one` has published or released something."""
    seen = bool(one.publishes) if other.everywhere else meet(one.publishes, other.looks)
    return seen or meet(one.publishes | one.frees, other.locks)


LESS_THAN_TABLES = """
select count(*) from pg_locks join pg_class on pg_class.oid = relation
where mode = 'SIReadLock' and relnamespace = current_schema::regnamespace
  and database = (select oid from pg_database where datname = current_database())
  and (locktype <> 'relation' or relkind <> 'r')"""
"""How many locks of reads at SERIALIZABLE are on less than a table of the schema, or on an index."""


class Finer(Presumed):
    """A transaction does not read whole tables before it commits, which the search had taken for granted."""

    what = "by_table"


@dataclass
class _Session:
    """The state of a session's transaction during a schedule."""

    open: bool = False
    failed: bool = False
    doubted: bool = False  # failed; without SERIALIZABLE's conflict detection it may not have
    saved: bool = False
    snapshot: bool = False
    opaque: bool = False
    has_read: bool = False
    locks: RowSet = NOTHING
    writes: RowSet = NOTHING


@dataclass
class Effects:
    """Follows an execution, and gives the effect of each step. One for all executions of a spec at a level."""

    spec: Spec
    isolation: IsolationLevel
    footprint: Callable[[str], Footprint]
    _footprints: dict[str, Footprint] = field(default_factory=dict)
    _sessions: dict[str, _Session] = field(default_factory=dict)

    def __post_init__(self) -> None:
        levels = {self.isolation}
        if names_a_level(self.spec):
            # The strictest rules hold, whichever level it is.
            levels = set(IsolationLevel)
        self._watching = IsolationLevel.SERIALIZABLE in levels
        self._one_snapshot = bool(levels & {IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE})
        self._many_snapshots = bool(levels & {IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED})
        self._footprints = told_apart({name: self.footprint(step.sql) for name, step in self.spec.steps.items()})
        # A session whose setup does more than BEGIN starts in an unknown transaction.
        self._setups = {one.name: self.footprint(one.setup) if one.setup else Footprint() for one in self.spec.sessions}
        met = [*self._footprints.values(), *self._setups.values()]
        self.understood = not (
            any(one.unknown for one in met) or any(map(_OF_SESSIONS_TO_COME.search, self.spec.setups))
        )
        if not self.understood:
            # It may observe the order of any other steps, or change their meaning.
            self._footprints = dict.fromkeys(self._footprints, UNKNOWN)
        self._is_opaque_met = any(one.opaque for one in met) or any(not one.idle for one in self._setups.values())
        self._is_crowd = len(self.spec.sessions) > 2
        self._met_tables: set[str] = set()
        self.can_be_by_table = (
            self.isolation is IsolationLevel.SERIALIZABLE
            and len(levels) == 1
            and not self._is_opaque_met
            and all(map(self._is_by_table, met))
        )
        self.begin()

    def begin(self, *, by_table: bool = False) -> None:
        """Starts a new execution: every session has run its setup. `by_table`: see above."""
        self.by_table = by_table and self.can_be_by_table
        self._is_refusal_met = self._is_published = False
        self._sessions = {
            name: _Session(open=setup.begins, snapshot=not setup.idle, opaque=setup.opaque or not setup.idle)
            for name, setup in self._setups.items()
        }

    def foresee(self, step: str, footprint: Footprint) -> None:
        """Sets the footprint of a step, if it is known only during the schedule. Raises Finer."""
        self._footprints[step] = footprint
        if self.by_table and not self._is_by_table(footprint):
            self._refine(f"{step} may end before it has read its table, or three sessions use savepoints or two tables")

    def _refine(self, reason: str) -> NoReturn:
        self.can_be_by_table = False
        raise Finer(reason)

    def _is_by_table(self, footprint: Footprint) -> bool:
        """Whether it scans; of three sessions, whether all touch one table, and what they have written stays."""
        self._met_tables |= {rows.table for rows in footprint.reads | footprint.writes if rows.table}
        return footprint.scans and not (self._is_crowd and (footprint.saves or len(self._met_tables) > 1))

    def check_reads(self, step: str, ask: Callable[[str], list[Result]]) -> None:
        """Asks the server, before a step that ends a transaction, how it tracks what was read. Raises Finer."""
        if self.by_table and self._footprints[step].ends:
            ((less,),) = ask(LESS_THAN_TABLES)[0].rows
            if int(str(less)):
                self._refine("a transaction at SERIALIZABLE has locked less than the tables that it has read")

    def note_opaque(self) -> bool:
        """Notes that a step may touch whatever others touch; returns whether this is the first such step."""
        before, self._is_opaque_met = self._is_opaque_met, True
        return not before

    def is_local(self, step: str) -> bool:
        """Whether no other session can notice when `step`, a session's next, happens."""
        name, footprint = self.spec.steps[step].session, self._footprints[step]
        state = self._sessions[name]
        took = self._took(name, footprint, state)
        # A failing step releases locks as well, at SERIALIZABLE also SIREAD locks.
        holds = footprint.locks or state.locks or (self._is_opaque_met and (took.tables or state.snapshot))
        return took.is_local and not (holds or (self._watching and state.snapshot and not state.failed))

    def after(self, events: Sequence[Event], statuses: Mapping[str, int]) -> Effect:
        """The effect of the step just taken; `statuses` is each session's pq.TransactionStatus now."""
        whole = Effect(frozenset())
        for event in events:
            state = self._sessions[event.session]
            footprint = self._footprints[event.step]
            if state.failed and not (footprint.ends or footprint.opaque):  # refused with 25P02
                whole = whole.joined(self._refused(event.session, state))
                continue
            whole = whole.joined(self._took(event.session, footprint, state))
            if event.kind is EventKind.WAITS:
                # Of the rows that it scans it has met those before the locked one.
                whole = replace(whole, waits=True, watched=whole.watched or self._watching)
                self._holds(state, footprint)
            else:
                whole = whole.joined(self._moved_on(event, footprint, state, statuses[event.session]))
        return whole

    def _took(self, session: str, footprint: Footprint, state: _Session) -> Effect:
        """What a statement reads and locks, given the transaction's state."""
        who = frozenset({session})
        if state.opaque or footprint.opaque:
            return Effect(who, opaque=True)
        if state.failed and not footprint.ends:
            return self._refused(session, state)
        alone = not (state.open or footprint.begins)
        # At SERIALIZABLE a later read of the same snapshot conflicts with writes of what it has read.
        looks = footprint.reads if self._many_snapshots or self._watching or alone else NOTHING
        first = self._one_snapshot and not (footprint.idle or state.snapshot or alone)
        acts = footprint.locks or state.locks or (alone and not footprint.idle) or (footprint.ends and state.snapshot)
        watched = self._watching and bool(acts or state.doubted) and not (footprint.idle and not footprint.ends)
        if self.by_table and not (self._is_published or footprint.ends or alone or state.doubted):
            watched = False
        tables = not footprint.idle or (bool(footprint.ends) and state.snapshot)
        tracked = self._watching and self._is_crowd and bool(footprint.reads) and not self.by_table
        return Effect(who, looks, footprint.locks, everywhere=first, watched=watched, tables=tables, tracked=tracked)

    def _refused(self, session: str, state: _Session) -> Effect:
        """What a statement does in a failed transaction: nothing.

        But false positives are found by running the schedule without conflict detection, where it would do more.
        """
        return Effect(frozenset({session}), watched=self._watching and state.doubted)

    def _holds(self, state: _Session, footprint: Footprint) -> None:
        state.open = state.open or footprint.begins
        state.saved = state.saved or footprint.saves
        state.snapshot = state.snapshot or not footprint.idle
        state.opaque = state.opaque or footprint.opaque
        state.has_read = state.has_read or bool(footprint.reads and not footprint.inserts)
        state.locks |= footprint.locks
        state.writes |= footprint.writes

    def _moved_on(self, event: Event, footprint: Footprint, state: _Session, status: int) -> Effect:
        """What the end of a statement releases and publishes; records the transaction's new state."""
        who = frozenset({event.session})
        self._holds(state, footprint)
        self._is_refusal_met |= event.failure is not None and _is_by_conflicts(event.failure)
        if status == pq.TransactionStatus.INERROR:
            watched = self._watching and state.snapshot and not state.failed
            effect = Effect(who, frees=state.locks, watched=watched, tables=state.snapshot, opaque=state.opaque)
            # With a savepoint everything before it may still be committed.
            kept = state if state.saved else _Session(opaque=state.opaque)
            self._sessions[event.session] = replace(kept, open=True, failed=True, doubted=self._is_refusal_met)
        elif status == pq.TransactionStatus.INTRANS:
            back = footprint.ends is Ending.TO_SAVEPOINT or (state.failed and footprint.ends)
            effect = Effect(who, frees=state.locks if back else NOTHING, opaque=state.opaque)
            state.open, state.failed, state.doubted = True, False, False
        else:
            nothing = event.failure or event.kind is not EventKind.COMPLETED or state.failed
            published = NOTHING if nothing or footprint.ends is Ending.ROLLBACK else state.writes
            self._is_published |= bool(published)
            if self.by_table and self._is_crowd and published and not state.has_read:
                self._refine(f"{event.step} commits what has been written without having read it")
            effect = Effect(who, frees=state.locks, publishes=published, opaque=state.opaque)
            self._sessions[event.session] = _Session()
        return effect


def _is_by_conflicts(failure: Failure) -> bool:
    """Whether SERIALIZABLE's conflict detection has aborted a transaction: not an update since its snapshot, which
    REPEATABLE READ refuses as well."""
    return failure.sqlstate == SERIALIZATION_FAILURE and failure.reported_in in ("predicate.c", "")


_OF_SESSIONS_TO_COME = re.compile(r"(?i)\balter\s+(role|user|database|system)\b")


def names_a_level(spec: Spec) -> bool:
    """Whether SQL of a spec, functions of its setup included, sets an isolation level of its own."""
    messages = [*spec.setups, *(step.sql for step in spec.steps.values())]
    messages += [session.setup for session in spec.sessions if session.setup]
    return any(map(mentions_level, messages))


def told_apart(footprints: Mapping[str, Footprint]) -> dict[str, Footprint]:
    """Keeps rows of a table distinct only if no step depends on their physical order.

    A statement that locks several rows does so in their physical order, and so does one that reads some of them.
    """
    by_place = {rows.table for one in footprints.values() for rows in one.locks - one.inserts if not rows.column} | {
        table for one in footprints.values() for table in one.by_place
    }

    def widened(rows: RowSet) -> RowSet:
        return frozenset(Rows(one.table) if one.table in by_place else one for one in rows)

    return {
        name: replace(one, locks=widened(one.locks), writes=widened(one.writes)) for name, one in footprints.items()
    }
