"""Races that are known: by operations and pattern, in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.hunt.made import hunt, race, safe, undecided
from zephyr_lab.errors import BadInput
from zephyr_lab.hunt.baseline import Baseline, KnownRace

FOUND = hunt(race("book", "add"), race("book", "book"), safe("add", "add"), undecided("move", "move"))


def test_what_is_written_is_read_again_and_the_order_of_operations_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "races.json"
    Baseline.of(FOUND).write(path)
    assert path.read_text() == (
        '[\n{"operations": ["add", "book"], "pattern": "read-then-write"},\n'
        '{"operations": ["book", "book"], "pattern": "read-then-write"}\n]\n'
    )
    known = Baseline.read(path)
    assert known == Baseline.of(FOUND)
    assert known.new(FOUND) == known.stale(FOUND) == []
    assert known.new(hunt(race("add", "book"))) == []
    Baseline().write(path)
    assert Baseline.read(path) == Baseline()


def test_another_pair_or_another_pattern_is_new() -> None:
    known = Baseline.of(hunt(race("book", "book")))
    other = replace(race("book", "book"), pattern="conflict")
    assert known.new(hunt(other, race("add", "book"))) == [race("add", "book"), other]


def test_what_is_decided_otherwise_or_gone_is_stale_and_what_is_undecided_is_not() -> None:
    names = [("add", "add"), ("gone", "gone"), ("move", "move"), ("book", "book")]
    known = Baseline(frozenset(KnownRace(one, "read-then-write") for one in names))
    assert [one.text() for one in known.stale(FOUND)] == [
        "add with add (read-then-write)", "gone with gone (read-then-write)"
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"operations": ["a"]}]', '{"a": 1}'])
def test_a_file_that_is_no_baseline_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "races.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"races\.json is no baseline, which --write-baseline makes"):
        Baseline.read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"cannot read the baseline .*none\.json: No such file.*; --write-baseline makes"
    ):
        Baseline.read(tmp_path / "none.json")
