"""What an operation asks when it runs alone: each statement and Redis command with what it touches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from zephyr_lab.explore.footprint import RowSet
from zephyr_lab.functions.outside import LIFETIMES
from zephyr_lab.functions.trace import Trace
from zephyr_lab.functions.trips import RedisAccess, RoundTrip
from zephyr_lab.redis_commands import Kind as RedisKind
from zephyr_lab.redis_commands import kind as redis_kind
from zephyr_lab.schedule.transcript import SQL_WIDTH
from zephyr_lab.sql.classify import Kind, Statement, classify
from zephyr_lab.views.abridged import one_line
from zephyr_lab.wire.housekeeping import asks_about

REDIS, ADVISORY, SEQUENCES = "Redis", "advisory locks", "sequences"
_PREFIX = "redis: "
_UNLOCKS = re.compile(r"(?i)\bpg_advisory_unlock")
_LOCKS_ALONE = re.compile(
    r"(?i)select\s+(pg_catalog\.)?pg_(try_)?advisory_(xact_)?(un)?lock(_shared)?\s*\((?:[^()]|\([^()]*\))*\)(\s+as\s+\w+)?;?"
)
_LOCKS = re.compile(r"(?i)\bpg_(try_)?advisory_(xact_)?lock")


class Action(StrEnum):
    READ = "read"
    INSERT = "insert"
    CHANGE = "change"
    LOCK = "lock"
    UNLOCK = "unlock"
    END = "end"
    OTHER = "other"


@dataclass(frozen=True)
class Access:
    """One statement, or Redis command. `targets` are tables, REDIS or ADVISORY; `rows` its WHERE, or the Redis key.

    `where` is the line that asked it, such as `shop.py:41`, or ''; `transaction` counts from 0. `locks`: others wait
    for it until it is let go; `many`: it reads by an aggregate or a range and not by a key.
    """

    text: str
    action: Action
    targets: frozenset[str] = frozenset()
    rows: str = ""
    where: str = ""
    transaction: int = 0
    locks: bool = False
    many: bool = False

    @property
    def writes(self) -> bool:
        return self.action in (Action.INSERT, Action.CHANGE)


@dataclass(frozen=True)
class Footprint:
    """All that an operation asked: `reads` and `writes` (or locks) by table.

    `unclear` are statements that are not understood; `unseen` is what else it may share with others, such as memory.
    """

    accesses: tuple[Access, ...]
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    unclear: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    def text(self) -> str:
        """`reads slots; writes orders, slots; not understood: select odd()`, and how many more."""
        parts = [("reads", sorted(self.reads - self.writes)), ("writes", sorted(self.writes))]
        said = [f"{verb} {', '.join(names)}" for verb, names in parts if names]
        if self.unclear:
            more = f", and {len(self.unclear) - 1} more" if len(self.unclear) > 1 else ""
            said.append(f"not understood: {one_line(next(iter(self.unclear)), SQL_WIDTH)}{more}")
        return "; ".join(said) or "touches nothing"


def footprint_of(trace: Trace, session: str, *, trusts_memory: bool) -> Footprint:
    """Of a session. With `trusts_memory`, a service keeps nothing in memory that its requests share."""
    accesses: list[Access] = []
    reads, writes = set[str](), set[str]()
    unclear: dict[str, None] = {}
    unseen = tuple(one for one in trace.unseen if one != LIFETIMES)  # they are in Redis, which it writes
    if trace.hides_memory and not trusts_memory:
        unseen = (*unseen, "what a service or an app keeps in memory")
    for trip in trace.trips[session]:
        accesses += accesses_of(trip, accesses[-1] if accesses else None)
        if trip.redis:
            (writes if trip.redis is RedisAccess.WRITES else reads).add(REDIS)
            continue
        for statement in _statements(trip):
            touched = trace.footprint(statement.text)
            locked = _locked(statement)
            if (touched.unknown or (touched.opaque and not locked)) and not touched.clock:
                unclear[statement.text] = None
            reads |= _tables(touched.reads)
            writes |= _tables(touched.writes | touched.locks) | (locked if touched.opaque else set())
    if not trace.numbers_are_shared:  # who draws a number inserts into the table that has it
        writes.discard(SEQUENCES)
    return Footprint(tuple(accesses), frozenset(reads), frozenset(writes), tuple(unclear), unseen)


def _tables(rows: RowSet) -> set[str]:
    return {one.table or SEQUENCES for one in rows}


def _locked(statement: Statement) -> set[str]:
    """What a statement locks that does nothing else; nothing for any other."""
    if statement.kind is Kind.LOCK:
        return set(statement.tables)
    return {ADVISORY} if locks_alone(statement.text) else set()


def locks_alone(text: str) -> bool:
    """Whether a statement takes or releases an advisory lock, and does nothing else."""
    return bool(_LOCKS_ALONE.fullmatch(text))


def _statements(trip: RoundTrip) -> list[Statement]:
    return [one for one in classify(trip.whole or trip.sql) if not asks_about(one.text)]


def accesses_of(trip: RoundTrip, last: Access | None = None) -> Iterator[Access]:
    """Of a round trip, after an access of the same operation; `last` is None at its beginning."""
    number = 0 if last is None else last.transaction + (last.action is Action.END)
    if trip.redis:
        for command in trip.sql.removeprefix(_PREFIX).split("; "):
            yield _of_redis(command.split(" "), command, trip.where, number)
        return
    for statement in _statements(trip):
        if statement.kind in (Kind.COMMIT, Kind.ROLLBACK):
            yield Access(statement.text, Action.END, where=trip.where, transaction=number)
            number += 1
        elif statement.kind in (Kind.QUERY, Kind.CHANGE, Kind.LOCK):
            yield _of_sql(statement, trip.where, number)


def _of_redis(words: Sequence[str], text: str, where: str, number: int) -> Access:
    name, key = words[0].upper(), words[1] if len(words) > 1 else ""
    options = {word.upper() for word in words[2:]}
    locks = name == "SETNX" or (name == "SET" and "NX" in options)
    if locks:
        action = Action.LOCK
    elif name in ("DEL", "UNLINK"):
        action = Action.UNLOCK
    else:
        action = Action.READ if redis_kind(name) is RedisKind.READS else Action.CHANGE
    return Access(text, action, frozenset({REDIS}), key, where, number, locks=locks)


def _of_sql(statement: Statement, where: str, number: int) -> Access:
    text = statement.text
    if statement.kind is Kind.LOCK:
        return Access(text, Action.LOCK, frozenset(statement.tables), "", where, number, locks=True)
    if _UNLOCKS.search(text) or _LOCKS.search(text):
        unlocks = bool(_UNLOCKS.search(text))
        action = Action.UNLOCK if unlocks else Action.LOCK
        return Access(text, action, frozenset({ADVISORY}), _arguments(text), where, number, locks=not unlocks)
    parsed = _parsed(text)
    if parsed is None:
        return Access(text, Action.OTHER, where=where, transaction=number)
    tables = {one.name.lower() for one in parsed.find_all(exp.Table) if one.name}
    condition = parsed.args.get("where")
    rows = condition.this.sql(dialect="postgres").lower() if condition else ""
    locks = parsed.find(exp.Lock) is not None
    if not isinstance(parsed, exp.Query):
        action = Action.INSERT if isinstance(parsed, exp.Insert) else Action.CHANGE
        target = parsed.find(exp.Table)
        targets = frozenset({target.name.lower()} if target is not None else tables)
        return Access(text, action, targets, rows, where, number, locks=action is Action.CHANGE)
    many = parsed.find(exp.AggFunc) is not None or not _is_by_key(condition)
    return Access(text, Action.READ, frozenset(tables), rows, where, number, locks=locks, many=many)


def _is_by_key(condition: exp.Expr | None) -> bool:
    """Whether a WHERE compares columns with constants for equality, and nothing else."""
    if condition is None:
        return False
    terms = condition.this.flatten() if isinstance(condition.this, exp.And) else [condition.this]
    return all(isinstance(one, exp.EQ) for one in terms)


def _arguments(text: str) -> str:
    return text.partition("(")[2].rpartition(")")[0].strip()


@lru_cache(maxsize=1024)
def _parsed(text: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, dialect="postgres")
    except SqlglotError:
        return None
