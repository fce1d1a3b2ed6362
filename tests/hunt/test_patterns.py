"""Suspicious pairs, by what each operation asks alone; an operation with a lock is less so."""

from __future__ import annotations

import pytest

from tests.hunt.made import footprint
from zephyr_lab.hunt.patterns import PATTERNS, pattern_of, rank

READ, WRITE = "select booked from slots where id = 1", "update slots set booked = 1 where id = 1"
LOCKED = f"{READ} for update"
COUNT, INSERT = "select count(*) from orders where slot = 1", "insert into orders values (1, 1)"
GET, PUT = "redis: GET booked", "redis: SET booked 1"
TAKE, RELEASE = "redis: SET lock A NX", "redis: DEL lock"
FIRST, SECOND = "select from slots where id = 1 for update", "select from slots where id = 2 for update"

PAIRS = {
    "read-then-write": ((READ, WRITE, "commit"), (WRITE, "commit"), (1, 2)),
    "count-then-insert": ((COUNT, INSERT, "commit"), (COUNT, INSERT, "commit"), (1, 2)),
    "check-in-redis-then-write": ((GET, PUT), ("redis: INCRBY booked 1",), (1, 2)),
    "locks-in-both-orders": ((FIRST, SECOND, "commit"), (SECOND, FIRST, "commit"), (1, 2)),
    "lock-released-before-commit": (
        (TAKE, READ, WRITE, RELEASE, "commit"), (TAKE, READ, WRITE, RELEASE, "commit"), (1, 4)
    ),
    "read-then-write-elsewhere": ((READ, INSERT, "commit"), (COUNT, WRITE, "commit"), (1, 2)),
    "conflict": ((READ, "commit"), (WRITE, "commit"), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_a_pattern_is_named_with_the_lines_that_show_it(name: str) -> None:
    """Whichever of the two operations comes first."""
    one, other, lines = PAIRS[name]
    for pair in ((footprint(*one), footprint(*other)), (footprint(*other), footprint(*one))):
        found, evidence = pattern_of(*pair)
        assert found == name
        assert tuple(access.where for access in evidence or ()) == tuple(f"shop.py:{line}" for line in lines)


LESS = {
    "a lock that both take": ((LOCKED, READ, WRITE, "commit"), "conflict"),
    "no lock of the other one": ((READ, LOCKED, WRITE, "commit"), "read-then-write"),
    "a lock of another transaction": ((LOCKED, "commit", READ, WRITE, "commit"), "read-then-write"),
    "a lock that is held until COMMIT": ((TAKE, READ, WRITE, "commit", RELEASE), "conflict"),
    "an advisory lock, released early": (
        ("select pg_advisory_lock(1)", READ, WRITE, "select pg_advisory_unlock(1)", "commit"),
        "lock-released-before-commit",
    ),
    "another lock, released": (
        ("select pg_advisory_lock(1)", WRITE, "select pg_advisory_unlock(2)", "commit"), "conflict"
    ),
    "a write of nobody's reads": ((WRITE, READ, "commit"), "conflict"),
    "a check of a key by its insert": ((READ, INSERT, "commit"), "conflict"),
    "locks in one order": ((FIRST, SECOND, "commit"), "conflict"),
    "what is only read in Redis": ((GET, WRITE), "conflict"),
}  # fmt: skip


@pytest.mark.parametrize("what", LESS)
def test_what_a_lock_or_another_order_changes(what: str) -> None:
    """An operation with itself."""
    asked, name = LESS[what]
    assert pattern_of(footprint(*asked), footprint(*asked))[0] == name


def test_the_names_are_in_the_order_of_suspicion() -> None:
    assert [rank(name) for name in PATTERNS] == list(range(len(PATTERNS)))
    assert rank("read-then-write") < rank("count-then-insert") < rank("conflict") < rank("memory")
    assert all(said.endswith(".") for said in PATTERNS.values())
