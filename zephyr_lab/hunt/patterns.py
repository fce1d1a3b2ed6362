"""What makes a pair of operations suspicious: by what each asks when it runs alone.

Only the order in which pairs are explored, and the name of what is found, follow from this: whether a pair races is
decided by running it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from zephyr_lab.hunt.access import ADVISORY, REDIS, Access, Action, Footprint

Evidence = tuple[Access, Access]

PATTERNS = {
    "read-then-write": "Rows are read without a lock, and then written by what was read.",
    "count-then-insert": "Rows are counted or searched without a lock, and one is inserted by what was found.",
    "check-in-redis-then-write": "A key is read in Redis, and something is written by what was read.",
    "locks-in-both-orders": "Two operations take the same two locks, each in another order.",
    "lock-released-before-commit": "A lock is released before the transaction that it guards has committed.",
    "read-then-write-elsewhere": "Rows are read without a lock, and others written by what was read.",
    "not-atomic": "An operation that ends at one of its round trips, or gets no answer, has happened in part.",
    "expiry": "A key, or the patience for a lock, expires while an operation relies on it.",
    "conflict": "One operation writes what the other one reads or writes.",
    "not-understood": "What an operation asks is not understood, so that it may depend on any other.",
    "memory": "They share neither a row nor a key, and what they may share in memory is not seen.",
}  # fmt: skip
"""By name, what is said of it; the most suspicious first."""


def pattern_of(one: Footprint, other: Footprint) -> tuple[str, Evidence | None]:
    """The name of the most telling pattern of two operations, and the two accesses that show it."""
    for name, find in _FINDERS:
        for here, there in ((one, other), (other, one)):
            if found := next(find(here.accesses, there.accesses), None):
                return name, found
    return "conflict", None


def rank(name: str) -> int:
    """Its place among the patterns, from 0."""
    return list(PATTERNS).index(name)


Accesses = tuple[Access, ...]
Find = Callable[[Accesses, Accesses], Iterator[Evidence]]


def _reads_then(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    """Each read of tables without a lock that both have taken before it, with each later write."""
    for read, write in combinations(mine, 2):
        looks = read.action is Action.READ and not read.locks and REDIS not in read.targets
        if looks and write.writes and not _is_guarded(read, mine, others):
            yield read, write


def _is_guarded(read: Access, mine: Accesses, others: Accesses) -> bool:
    """Whether the transaction holds a lock by then that the other operation takes as well."""
    before = [one for one in mine[: mine.index(read)] if one.locks and one.transaction == read.transaction]
    return any(one.locks and other.locks and one.targets & other.targets for one in before for other in others)


def _written(others: Accesses) -> frozenset[str]:
    return frozenset[str]().union(*(one.targets for one in others if one.writes))


def _read_then_write(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    for read, write in _reads_then(mine, others):
        if write.action is Action.CHANGE and read.targets & write.targets & _written(others):
            yield read, write


def _count_then_insert(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    for read, write in _reads_then(mine, others):
        searched = read.many or read.targets & write.targets
        if write.action is Action.INSERT and searched and read.targets & _written(others):
            yield read, write


def _check_in_redis(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    if any(REDIS in one.targets and one.action is not Action.READ for one in others):
        for read, write in combinations(mine, 2):
            if read.action is Action.READ and REDIS in read.targets and write.writes:
                yield read, write


def _locks_in_both_orders(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    orders = {(_lock(one), _lock(other)) for one, other in _lock_pairs(others)}
    for one, other in _lock_pairs(mine):
        if (_lock(other), _lock(one)) in orders:
            yield one, other


def _lock_pairs(accesses: Accesses) -> Iterator[Evidence]:
    for one, other in combinations(accesses, 2):
        if one.locks and other.locks and one.transaction == other.transaction and _lock(one) != _lock(other):
            yield one, other


def _lock(access: Access) -> tuple[frozenset[str], str]:
    return access.targets, access.rows


def _released_early(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    for lock, release in combinations(mine, 2):
        if not (lock.locks and release.action is Action.UNLOCK and lock.targets == release.targets):
            continue
        if lock.targets <= {REDIS, ADVISORY} and (lock.rows == release.rows) and _is_open(release, mine):
            yield lock, release


def _is_open(release: Access, mine: Accesses) -> bool:
    """Whether a transaction that has written something ends only after a lock's release."""
    place = mine.index(release)
    return any(
        one.action is Action.END and any(at.writes and at.transaction == one.transaction for at in mine[:place])
        for one in mine[place + 1 :]
    )


def _write_elsewhere(mine: Accesses, others: Accesses) -> Iterator[Evidence]:
    for read, write in _reads_then(mine, others):
        if read.targets & _written(others):
            yield read, write


# A lock that is released early explains the reads and writes under it, so it is looked for first.
_FINDERS: list[tuple[str, Find]] = [
    ("lock-released-before-commit", _released_early),
    ("check-in-redis-then-write", _check_in_redis),
    ("read-then-write", _read_then_write),
    ("count-then-insert", _count_then_insert),
    ("locks-in-both-orders", _locks_in_both_orders),
    ("read-then-write-elsewhere", _write_elsewhere),
]
