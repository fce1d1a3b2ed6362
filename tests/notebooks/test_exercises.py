"""What the notebooks ask the reader to find exists, and what they say about it is so."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.course import exercise
from zephyr_lab.course.exercises import EXERCISES

CELLS = {path: nbformat.read(path, as_version=4).cells for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def posed(path: Path) -> list[tuple[str, str, Any]]:
    """The exercises of a notebook: name, the stub's source, and the cell that checks it."""
    cells = CELLS[path]
    found = []
    for place, cell in enumerate(cells):
        named = re.search(r'(\w+) = exercise\("([\w-]+)", lab\)', cell.source)
        if named and cell.cell_type == "code":
            stub, check = cells[place + 1 : place + 3]
            assert check.source.startswith(f"{named[1]}.check(")
            found.append((named[2], stub.source, check))
    return found


ALL = [(path, *one) for path in CELLS for one in posed(path)]


def test_each_exercise_is_in_one_notebook() -> None:
    """With its stub below it."""
    assert sorted(name for _, name, _, _ in ALL) == sorted(EXERCISES)


@pytest.mark.thorough_but("idempotent-create", "somebody-stays")
@pytest.mark.parametrize(("path", "name", "stub", "check"), ALL, ids=[name for _, name, _, _ in ALL])
def test_a_stub_is_the_naive_code_and_shows_its_counterexample(
    lab: Lab, path: Path, name: str, stub: str, check: Any
) -> None:
    """As it is stored: words, and a timeline below them; and as the checker answers now."""
    words, picture = check.outputs
    said = words.data["text/plain"]
    assert said.startswith(f"{name}: ")
    assert {"rule broken:", "hint:", "what happened:"} <= set(re.findall(r"(?m)^[a-z ]+:(?= )", said))
    assert "<b>rule broken</b>" in words.data["text/html"]
    assert {"image/png", "image/svg+xml", "text/plain"} <= set(picture.data)
    scope: dict[str, Any] = {}
    exec(compile(stub, "<ipython-input>", "exec"), scope)  # whose lines are a cell's
    function = next(value for key, value in scope.items() if key != "__builtins__")
    answer = exercise(name, lab).check(function)
    assert answer.words() == said
    assert str(answer.transcript) == picture.data["text/plain"]


def test_schedules_that_make_the_two_reads_agree(lab: Lab) -> None:
    """01: B commits before A does, and A reads the same twice, exactly if B's commit is on one side of both reads."""
    case = lab.case("non-repeatable-read", "read committed")
    found = 0
    for order in sorted(set(permutations("AAABB"))):
        steps = case.schedule(" ".join(order)).steps
        at = {name: steps.index(name) for name in steps}
        apart = at["A_read"] < at["B_commit"] < at["A_reread"]
        assert case.verdict(" ".join(order)).anomalous == apart
        found += not apart and at["B_commit"] < at["A_commit"]
    assert found >= 3


def test_an_order_in_another_slot_is_no_phantom(lab: Lab) -> None:
    """02: the new row does not match A's condition."""
    mine = lab.case("phantom").change(B_order="begin; insert into orders values (19, '18:15', 5000)")
    assert str(mine.verdict("A B B A A").kind) == "prevented"


def test_a_version_check_updates_no_row(lab: Lab) -> None:
    """03: B's write answers 0 rows, and A's order is counted."""
    write = "update slots set booked = remembered() + 5000 where slot = '18:00' and booked = remembered()"
    transcript = lab.case("lost-update").change(A_write=write, B_write=write).run("A B A B A B")
    assert [event.text() for event in transcript.events if event.step == "B_write"][-1] == "resumes: 0 rows"
