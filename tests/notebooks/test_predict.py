"""A prediction is a question with answers: text where nobody can choose, a widget where somebody can."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT
from zephyr_lab.course import predict
from zephyr_lab.course.execute import Job, execute
from zephyr_lab.course.predict import Prediction, answers
from zephyr_lab.course.store import executed
from zephyr_lab.errors import BadInput

# Under load: no cell asserts which of their answers is right.
COMPARED_BY_THE_READER = (
    "In a second and a half some 18 slots fill up. How many of them are sold above their capacity?",
    "24 clients without a pause, one hot row. How do the orders a second compare?",
    "One order of a slot at a time, in the client. What becomes of refusals, and of waiting?",
    "From how many evenly used slots on are under 5 % of the attempts refused?",
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_a_prediction_reads_as_a_question_with_numbered_answers() -> None:
    """And nothing is chosen."""
    asked = predict("After `A B`, how many bookings?", ["1", "2", "an error"])
    assert str(asked).splitlines() == ["After `A B`, how many bookings?", "  1  1", "  2  2", "  3  an error"]
    assert asked.choice is None


def test_what_is_chosen_is_noted_and_can_be_changed() -> None:
    """Through the widget, as a click would; of a question that is not the course's no answer is known."""
    asked = predict("After `A B`, is 1 < 2?", ["yes", "no"])
    shown = asked.widget()
    assert (shown.question, shown.options, shown.answer) == ("After `A B`, is 1 < 2?", ["yes", "no"], 0)
    for choice in (2, 1):
        shown.choice = choice
        assert asked.choice == choice


@cache
def asked_in(path: Path) -> list[tuple[Prediction, str]]:
    """The predictions of a notebook, each with what the code cells below it say and show."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    found = []
    for place, cell in enumerate(cells):
        if re.search(r"(?m)^predict\(", cell.source):
            said = [one.source for one in cells[place + 1 :]]
            outputs = [output for one in cells[place + 1 :] for output in one.outputs]
            said += [output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs]
            *before, last = ast.parse(cell.source).body
            assert isinstance(last, ast.Expr)
            exec(ast.unparse(ast.Module(before, [])), names := {"predict": predict})
            found.append((eval(ast.unparse(last.value), names), "\n".join(said)))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_answer_to_each_prediction_is_known_and_shown_below_it(path: Path) -> None:
    """But for what no cell asserts, since it differs between machines."""
    for prediction, below in asked_in(path):
        if prediction.answer is None:
            assert prediction.question in COMPARED_BY_THE_READER
            continue
        evidence = answers()[prediction.question, prediction.options[prediction.answer - 1]]
        assert evidence
        assert evidence in below, prediction.question


def test_no_answer_is_kept_to_a_question_that_nobody_asks() -> None:
    """Nor two to one."""
    asked = [prediction for path in NOTEBOOKS for prediction, _ in asked_in(path)]
    every = [(one.question, option) for one in asked for option in one.options]
    assert answers().keys() <= set(every)
    assert len({(one.question, one.options) for one in asked if one.answer}) == len(answers())


def test_a_question_without_a_choice_is_refused() -> None:
    """One answer, equal answers, or a string for a list."""
    for options in (["yes"], ["yes", "yes"], [], "yes"):
        with pytest.raises(BadInput, match="at least two answers"):
            predict("Is it so?", options)


def test_in_batch_it_does_not_wait_and_is_stored_as_its_text(tmp_path: Path) -> None:
    """Executed twice, byte for byte the same; and a cell after it runs."""
    cells = [
        "from zephyr_lab.course import predict\n\nasked = predict('Which?', ['one', 'two'])\nasked",
        "asked.choice is None",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbformat.write(notebook, tmp_path / "asks.ipynb")
    stored = executed(tmp_path / "asks.ipynb")
    first, second = nbformat.reads(stored, as_version=4).cells
    assert dict(first.outputs[0].data) == {"text/plain": "Which?\n  1  one\n  2  two"}
    assert second.outputs[0].data["text/plain"] == "True"
    (tmp_path / "asks.ipynb").write_text(stored)
    page = execute(Job(tmp_path / "asks.ipynb", None, tmp_path / "build")).page.read_text()
    assert "1  one" in page
    assert "widget-view" not in page
    assert executed(tmp_path / "asks.ipynb") == stored


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_asks_before_it_runs_its_first_schedule(path: Path) -> None:
    """In the cell below the heading."""
    cells = nbformat.read(path, as_version=4).cells
    heading = next(place for place, cell in enumerate(cells) if "## Predict" in cell.source)
    assert "predict(" in cells[heading + 1].source
