"""The glossary: each word is met where it says, and each anomaly of the course is in it."""

from __future__ import annotations

import re

import nbformat
import pytest

from tests.conftest import ROOT

NOTEBOOKS = ROOT / "notebooks"
ROW = re.compile(r"^\| \*\*(.+?)\*\* \| (.+?) \| \[([\w-]+)\]\(([\w-]+)\.ipynb\) \| ?(.*?) ?\|$", re.MULTILINE)
TEXT = (NOTEBOOKS / "glossary.md").read_text(encoding="utf-8")
ROWS = ROW.findall(TEXT)


def test_the_glossary_is_a_table_of_words_in_order() -> None:
    """Every row is read below; each word is there once, with one sentence."""
    assert len(ROWS) == len(re.findall(r"(?m)^\| \*\*", TEXT)) > 40
    words = [word for word, *_ in ROWS]
    assert words == sorted(set(words), key=str.casefold)
    for _, meaning, name, link, _ in ROWS:
        assert name == link
        assert 3 <= len(meaning.split()) <= 35


@pytest.mark.parametrize(("word", "name"), [(word, name) for word, _, name, _, _ in ROWS], ids=[row[0] for row in ROWS])
def test_a_word_is_met_in_its_notebook(word: str, name: str) -> None:
    """In what is written there, or in what is shown."""
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    shown = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for c in cells
        for output in c.get("outputs", [])
    ]
    text = " ".join([cell.source for cell in cells] + shown)
    assert word.casefold() in re.sub(r"\s+", " ", text).casefold()


def test_a_source_that_is_named_is_listed() -> None:
    """With its title, below the table."""
    sources = TEXT.partition("## The sources")[2]
    for name, year in set(
        re.findall(r"(Berenson|Adya|Ports|Bailis|Kleppmann)[^|;\n]*? (\d{4})", " ".join(row[4] for row in ROWS))
    ):
        assert re.search(rf"(?m)^- {name}.* {year}\.$", sources), (name, year)
