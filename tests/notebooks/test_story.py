"""The notebooks as one course: each says where one may stop, what to keep, and leads on to the next."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT
from zephyr_lab.course.store import is_measured

ALL = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Those that are measured tell a story of their own.
PATHS = [path for path in ALL if not is_measured(nbformat.read(path, as_version=4))]
COURSE = (ROOT / "docs" / "course.md").read_text(encoding="utf-8")


def prose(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_can_be_left_early_and_leads_on(path: Path) -> None:
    """With an exit, a rule, and a way to go, in short cells; each of them once."""
    cells = prose(path)
    text = "\n\n".join(cells)
    assert len(re.findall(r"\*\*Stop here if all you want is the answer[.:]\*\*", text)) == 1
    assert text.count("**The rule of this notebook:**") == 1
    assert max(len(cell.split()) for cell in cells) <= 100
    (onward,) = re.findall(r"(?s)\*\*Where next:\*\*(.+?)(?:\n\n|\Z)", text)
    assert re.findall(r"\]\(([\w-]+)\.ipynb\)", onward)


def test_one_gets_from_the_start_to_every_notebook() -> None:
    """By the first link of "Where next" alone, each time, and back to the start."""
    read, path = [], ALL[0]
    while path.stem not in read:
        read.append(path.stem)
        onward = "\n\n".join(prose(path)).partition("**Where next:**")[2]
        path = path.with_name(re.findall(r"\]\(([\w-]+\.ipynb)\)", onward)[0])
    assert read == [one.stem for one in ALL]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_says_where_it_stands_and_is_no_longer_than_a_sitting(path: Path) -> None:
    """Its part, its time, what comes before it and what one can do afterwards; as the page of the course has it."""
    head = re.findall(r"(?m)^\*(Part \d) · (\d+) minutes · (.+?)\. Afterwards (.+)\.\*$", "\n".join(prose(path)[:2]))
    assert len(head) == 1
    part, minutes, before, objective = head[0]
    for link in re.findall(r"\]\(([\w-]+)\.ipynb\)", before):
        assert link < path.stem
    assert len(nbformat.read(path, as_version=4).cells) <= 45
    section = COURSE.partition(f"## {part}")[2].partition("\n## ")[0]
    assert f"({'../notebooks/' + path.name}) | {minutes} | {objective} |" in section


def test_the_start_leads_to_the_questions_and_the_words() -> None:
    """So does the README."""
    for text in (
        "\n".join(prose(PATHS[0])),
        (ROOT / "README.md").read_text(encoding="utf-8").replace("(notebooks/", "("),
    ):
        assert "](questions.md)" in text
        assert "](glossary.md)" in text
