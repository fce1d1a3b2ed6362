"""Every question that the course takes up is answered by a cell that runs, where the index says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import nbformat
import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from zephyr_lab.cli import app
from zephyr_lab.course.questions import COMMAND, QUESTIONS, RANKED, Place, Question, find, to_markdown
from zephyr_lab.errors import BadInput

PAGE = ROOT / "notebooks" / "questions.md"
PLACES = [(one, place) for one in QUESTIONS for place in one.places]


@cache
def notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def headings(name: str) -> list[str]:
    prose = (cell.source for cell in notebook(name).cells if cell.cell_type == "markdown")
    return re.findall(r"(?m)^## (.+)$", "\n".join(prose))


def shown_under(heading: str, name: str) -> Iterator[str]:
    """What the code cells under a heading have printed, and what they assert."""
    open_here = False
    for cell in notebook(name).cells:
        if cell.cell_type == "markdown":
            begun = re.findall(r"(?m)^## (.+)$", cell.source)
            open_here = heading in begun if begun else open_here
        elif open_here:
            for output in cell.outputs:
                yield output.get("text") or output.get("data", {}).get("text/plain", "")
            yield from re.findall(r"(?m)^ *assert .+$", cell.source)


@pytest.mark.parametrize(("one", "place"), PLACES, ids=[f"{one.number}-{place.heading}" for one, place in PLACES])
def test_a_question_is_answered_by_what_a_cell_has_shown(one: Question, place: Place) -> None:
    """Under the heading that the index names, which the notebook has once."""
    assert headings(place.notebook).count(place.heading) == 1
    assert any(place.evidence in text for text in shown_under(place.heading, place.notebook)), place


def test_every_number_is_there_once() -> None:
    """The ranked ones first; each asks something, and has somewhere to look."""
    assert [one.number for one in QUESTIONS] == list(range(1, len(QUESTIONS) + 1))
    assert len(QUESTIONS) > RANKED == 25
    assert len({one.asked for one in QUESTIONS}) == len(QUESTIONS)
    for one in QUESTIONS:
        assert one.places
        assert one.answer.endswith(".")
        assert len(one.answer.split()) <= 45
        assert one.asked_in or one.number > RANKED
        assert "|" not in one.asked + one.answer + one.places[0].heading


def test_the_index_page_is_what_the_questions_give() -> None:
    """Else it was forgotten, or changed by hand."""
    assert PAGE.read_text(encoding="utf-8") == to_markdown(), f"make it again: {COMMAND}"
    linked = set(re.findall(r"\]\(([^)#]+)", to_markdown()))
    assert [link for link in sorted(linked) if not (PAGE.parent / link).exists()] == []


def test_the_command_prints_searches_and_makes_the_page() -> None:
    """By words in any case; a word that nobody uses is said to be that."""
    said = CliRunner().invoke(app, ["questions", "SKIP", "locked"])
    assert said.exit_code == 0
    assert said.output.startswith(" 7 Two workers took the same job.")
    assert "13-queues-and-locks: Without a transaction" in said.output
    assert CliRunner().invoke(app, ["questions", "--format", "markdown"]).output == to_markdown()
    assert {one.number for one in find(["deadlock"])} >= {8, 27, 28}
    with pytest.raises(BadInput, match="no question has 'xyzzy'"):
        find(["xyzzy"])
