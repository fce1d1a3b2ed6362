"""A hunt's forms: text, JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.hunt.made import hunt, race, safe, undecided
from zephyr_lab.hunt.decision import Decision, Kind
from zephyr_lab.hunt.found import Known

ABORTS = Decision(("book", "move"), Kind.ABORTS, "40P01, and no anomaly in all 12 schedules", "conflict")
FOUND = hunt(race("book", "book"), race("book", "add"), safe("add", "add"), ABORTS, undecided("move", "move"))


def test_the_matrix_has_a_cell_for_each_pair_in_either_order() -> None:
    assert FOUND.cell("add", "book") is FOUND.cell("book", "add") is FOUND.decisions["book", "add"]
    assert FOUND.cell("add", "move") is None
    rows = [line.split()[1:] for line in str(FOUND).splitlines()[3:6]]
    assert rows == [
        ["book", "RACES", "RACES", "aborts"],
        ["add", "RACES", "safe", "-"],
        ["move", "aborts", "-", "?"],
    ]


def test_what_was_hunted_alone_has_a_column() -> None:
    found = hunt(race("book", "book"), replace(race("book"), pattern="not-atomic"))
    lines = str(found).splitlines()
    assert lines[0].startswith("1 operations, 2 decisions at")
    assert [line.split() for line in lines[2:4]] == [["1", "alone"], ["1", "book", "RACES", "RACES"]]
    assert found.row("book") == [found.decisions["book", "book"], found.decisions["book",]]


def test_races_are_grouped_by_pattern_and_line() -> None:
    """Where no line is known by where the operation is defined, and else by its name."""
    other = replace(race("move", "move", places=()), pattern="conflict")
    found = hunt(race("book", "book"), race("book", "add"), race("book", "move", places=()), other)
    assert {key: len(one) for key, one in found.grouped().items()} == {
        ("read-then-write", "shop.py:22"): 2, ("read-then-write", "shop.py:1"): 1, ("conflict", "move"): 1
    }  # fmt: skip


def test_the_text_says_what_was_found_and_what_was_not_decided() -> None:
    text = str(FOUND)
    assert text.startswith("3 operations, 5 pairs at read committed: 1 safe, 2 races, 1 aborts, 1 undecided;")
    assert text.count("read-then-write at shop.py:22") == 1
    for said in ("book with add", "the timeline", "the verdict", "lost update: a remedy", ABORTS.why):
        assert said in text
    assert "move with move: undecided: the budget ended before its turn" in text
    assert "\n\n\n" not in text


def test_an_operation_says_how_it_was_hunted() -> None:
    works, fails = Known((), "writes slots"), Known((), "reads slots", "raised KeyError")
    assert works.text() == "writes slots"
    assert fails.text().endswith("it does not work alone (raised KeyError), and after no other one: hunted as it is")
    assert replace(fails, prefix=("a", "b")).text().endswith("(raised KeyError), hunted after a, b")
    assert replace(fails, is_hunted=False).text() == "not hunted: raised KeyError"


def test_what_asks_nothing_is_named_and_is_in_no_matrix() -> None:
    found = hunt(safe("add", "add"))
    found.operations["ping"] = Known((), "", "asks nothing", is_hunted=False)
    found.notes.append("one process, not 2: why")
    found.interrupted = True
    assert found.unhunted == ["ping"]
    assert str(found).count("ping") == 1
    assert str(found).endswith("one process, not 2: why\ninterrupted: the rest was not hunted")


def test_the_form_for_json_is_plain() -> None:
    told = json.loads(json.dumps(FOUND.to_dict()))
    assert told["counts"] == {"safe": 1, "races": 2, "aborts": 1, "undecided": 1}
    first = told["decisions"][0]
    assert (first["operations"], first["kind"], first["pattern"]) == (["book", "book"], "races", "read-then-write")
    assert first["finding"]["places"] == ["shop.py:22", "shop.py:23"]
    assert told["operations"]["book"] == {
        "prefix": [], "footprint": "writes books", "trouble": "", "place": "shop.py:1", "hunted": True
    }  # fmt: skip
