"""The notebooks as one course: each says where one may stop, what to keep, and leads on to the next."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT

# Those from 30 on are measured, and tell a story of their own.
PATHS = [path for path in sorted((ROOT / "notebooks").glob("*.ipynb")) if path.stem < "30"]


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
    """By the first link of "Where next" alone, each time."""
    read, path = ["00-start"], PATHS[0]
    while path.stem < "30":
        onward = "\n\n".join(prose(path)).partition("**Where next:**")[2]
        path = path.with_name(re.findall(r"\]\(([\w-]+\.ipynb)\)", onward)[0])
        assert path.stem not in read
        read.append(path.stem)
    assert sorted(read[:-1]) == [one.stem for one in PATHS]


def test_the_start_leads_to_the_questions_and_the_words() -> None:
    """So does the README."""
    for text in (
        "\n".join(prose(PATHS[0])),
        (ROOT / "README.md").read_text(encoding="utf-8").replace("(notebooks/", "("),
    ):
        assert "](questions.md)" in text
        assert "](glossary.md)" in text
