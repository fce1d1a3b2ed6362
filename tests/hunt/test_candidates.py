"""Which pairs may race: what is independent is left out with its reason, what is not understood never is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.hunt.made import footprint
from zephyr_lab.hunt.access import Footprint
from zephyr_lab.hunt.candidates import Candidate, Independent, conflict, judged, pairs, ranked, triples

READS = footprint("select booked from slots where id = 1")
WRITES = footprint("update slots set booked = 1 where id = 1")
BOOKS = footprint("select booked from slots where id = 1", "update slots set booked = 1 where id = 1")
LOOKS = footprint("select hits from visits")
VISITS = footprint("update visits set hits = hits + 1")
ODD = replace(LOOKS, unclear=("select odd()",))
REMEMBERS = replace(LOOKS, unseen=("memory",))

CONFLICTS = [
    (READS, READS, ""),
    (READS, LOOKS, ""),
    (WRITES, VISITS, ""),
    (READS, WRITES, "one writes slots, and the other reads it"),
    (WRITES, WRITES, "both write slots"),
    (READS, ODD, "not understood: select odd()"),
    (WRITES, replace(WRITES, unclear=("select odd()",)), "both write slots"),
    (READS, REMEMBERS, "not seen: memory"),
    (Footprint(()), Footprint(()), ""),
]


@pytest.mark.parametrize(("one", "other", "why"), CONFLICTS)
def test_operations_conflict_in_either_direction(one: Footprint, other: Footprint, why: str) -> None:
    assert conflict(one, other) == conflict(other, one) == why


def test_an_independent_pair_says_what_each_touches() -> None:
    found = judged(("look", "book"), ("create",), [READS, VISITS])
    assert isinstance(found, Independent)
    assert (found.prefix, found.why) == (("create",), "independent: reads slots | writes visits")


@pytest.mark.parametrize(("other", "pattern"), [(ODD, "not-understood"), (REMEMBERS, "memory")])
def test_what_is_not_understood_or_seen_is_a_candidate(other: Footprint, pattern: str) -> None:
    found = judged(("look", "odd"), (), [READS, other])
    assert isinstance(found, Candidate)
    assert found.pattern == pattern


def test_what_is_suspicious_in_one_operation_does_not_concern_another_that_touches_none_of_it() -> None:
    """A lock that is released early, of one that shares memory alone with the other: such pairs come last."""
    asked = "redis: SET lock A NX", "update slots set booked = 1", "redis: DEL lock", "commit"
    early = replace(footprint(*asked), unseen=("memory",))
    found, itself = judged(("early", "look"), (), [early, REMEMBERS]), judged(("early", "early"), (), [early, early])
    assert isinstance(found, Candidate)
    assert isinstance(itself, Candidate)
    assert (found.pattern, itself.pattern) == ("memory", "lock-released-before-commit")


def test_a_candidate_names_its_lines_once() -> None:
    found = judged(("book", "book"), (), [BOOKS, BOOKS])
    assert isinstance(found, Candidate)
    assert (found.pattern, found.places) == ("read-then-write", ("shop.py:1", "shop.py:2"))
    assert replace(found, evidence=found.evidence[:1] * 2).places == ("shop.py:1",)


def test_the_most_suspicious_come_first_and_else_the_first_ones() -> None:
    made = [Candidate((name,), (), pattern, "") for name, pattern in [
        ("a", "conflict"), ("b", "memory"), ("c", "read-then-write"), ("d", "conflict"), ("e", "not-understood"),
    ]]  # fmt: skip
    assert [one.operations[0] for one in ranked(made)] == ["c", "a", "d", "e", "b"]


def test_pairs_are_each_with_each_and_with_itself() -> None:
    assert pairs(["a", "b"]) == [("a", "a"), ("a", "b"), ("b", "b")]


def test_a_triple_is_hunted_where_its_parts_depend_on_each_other_and_no_pair_races() -> None:
    """a and b depend on each other, b and c, not a and c; (d, d) races."""
    dependent = {("a", "b"), ("b", "c"), ("d", "d"), ("a", "d")}
    known = {pair: Candidate(pair, (pair[0],), "conflict", "") for pair in dependent}

    found = triples(["a", "b", "c", "d"], lambda one: one not in dependent, lambda one: one != ("d", "d"), known.get)
    assert [(one.operations, one.prefix) for one in found] == [
        (("a", "a", "b"), ("a",)), (("a", "a", "d"), ("a",)), (("a", "b", "b"), ("a",)), (("a", "b", "c"), ("a", "b")),
        (("a", "b", "d"), ("a",)), (("b", "b", "c"), ("b",)), (("b", "c", "c"), ("b",)),
    ]  # fmt: skip
