"""Reads by predicate: what they must have met, though they did not return it."""

from __future__ import annotations

from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.errors import BadInput


def judged(*transactions: Any, level: str = "serializable") -> check.Report:
    rows = [{"session": i, "type": "ok", "ops": ops} for i, ops in enumerate(transactions)]
    return check.check(check.from_transactions(rows), level)


def test_write_skew_over_a_predicate_is_g2_and_not_g2_item() -> None:
    """Each counted before the other had inserted; repeatable read in Adya's sense does not forbid it."""
    report = judged(
        [["rp", ["=", 1], {}], ["insert", "a", 1]],
        [["rp", ["=", 1], {}], ["insert", "b", 1]],
    )
    assert report.names == ["G2"]
    assert report.weakest == ["serializable"]
    assert "changes the match" in report.worst.text


def test_a_deleted_row_that_is_not_returned_was_seen_as_deleted() -> None:
    """So its deletion comes before the read, which found another row as it was before."""
    report = judged(
        {"a": 0, "b": 0},
        [["delete", "a"], ["delete", "b"]],
        [["rp", "true", {"b": 0}]],
    )
    assert "G-single" in report.names


def test_a_row_that_matches_in_every_version_must_be_returned() -> None:
    """Otherwise the predicate missed it."""
    assert judged({"a": 2}, [["rp", ["mod", 2, 0], {}]]).names == ["predicate-read-miss"]


def test_the_length_of_a_list_is_a_predicate() -> None:
    """An append that makes it match comes after a read that did not return it."""
    report = judged(
        [["rp", "len>0", []], ["append", "y", 1]],
        [["r", "y", []], ["append", "x", 1]],
        [["r", "x", [1]], ["r", "y", [1]]],
    )
    assert "G2" in report.names


def test_a_serial_history_with_predicates_is_valid() -> None:
    """Reads that see what was written before them."""
    assert judged(
        {"a": 0}, [["w", "a", 1]], [["rp", ["=", 1], {"a": 1}]], [["delete", "a"]], [["rp", "true", {}]]
    ).valid


def test_an_unknown_predicate_is_refused_with_its_line() -> None:
    """The known ones are listed."""
    with pytest.raises(BadInput, match="line 1: unknown predicate 'price > 3'; known are"):
        judged([["rp", "price > 3", {}]])
