"""A prediction is a question with answers: text where nobody can choose, a widget where somebody can."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT
from zephyr_lab.course import predict
from zephyr_lab.course.execute import Job, execute
from zephyr_lab.course.store import executed
from zephyr_lab.errors import BadInput

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_a_prediction_reads_as_a_question_with_numbered_answers() -> None:
    """And nothing is chosen."""
    asked = predict("After `A B`, how many bookings?", ["1", "2", "an error"])
    assert str(asked).splitlines() == ["After `A B`, how many bookings?", "  1  1", "  2  2", "  3  an error"]
    assert asked.choice is None


def test_what_is_chosen_is_noted_and_can_be_changed() -> None:
    """Through the widget, as a click would."""
    asked = predict("After `A B`, is 1 < 2?", ["yes", "no"])
    question, buttons, noted = asked.widget().children
    assert question.value == "After <code>A B</code>, is 1 &lt; 2?"
    assert noted.value == ""
    for choice in (2, 1):
        buttons.value = choice
        assert asked.choice == choice
        assert f"<b>{choice}</b>" in noted.value


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
