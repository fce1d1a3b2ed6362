"""The notebooks as they are stored: executed from top to bottom, the same on any machine."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT
from zephyr_lab.course.result import read_result
from zephyr_lab.course.store import UNCOMPARED, executed, is_measured, normal_form

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 1_300_000  # bytes; a timeline is about 50,000, the whole matrix 500,000


def by_name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_is_stored_executed_in_its_normal_form(path: Path) -> None:
    """nbval would pass a stripped notebook without comparing anything."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)
    assert normal_form(notebook) == text
    assert len(text) < LARGEST
    assert read_result(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_stores_nothing_of_the_machine(path: Path) -> None:
    """No paths, addresses, ports, schemas or server versions in an output."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = {kind: text for kind, text in output.get("data", {}).items() if kind != "image/png"}
            shown = str(data) + output.get("text", "")
            assert not re.search(r"(?<![\w.])/(root|home|tmp|usr|work|opt|Users)/|0x[0-9a-f]{6}|127\.0\.0\.1", shown)
            assert not re.search(r"zephyr_lab_[0-9a-f]{6}|PostgreSQL \d|127\.0\.\d", shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_reads_as_a_course(path: Path) -> None:
    """Short cells; a prediction before the first run; a figure; a rule to keep, and where to go next."""
    notebook = nbformat.read(path, as_version=4)
    assert len(notebook.cells) >= 15
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lines = {True: 10, False: 6}  # a function to be changed by the reader may be longer
    assert all(len(cell.source.splitlines()) <= lines["exercise" in cell.metadata.get("tags", [])] for cell in code)
    assert max(len(text.split()) for text in prose) <= 110
    text = "\n".join(prose)
    assert "## Predict" in text
    assert "**The rule of this notebook:**" in text
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    for link in re.findall(r"\]\(([^)]+\.ipynb)\)", text):
        assert (path.parent / link).exists()


def test_only_measured_notebooks_are_not_compared() -> None:
    """By the kind in their metadata; of the others no cell has a tag that lets nbval look away."""
    measured = []
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        ignored = [UNCOMPARED in cell.metadata.get("tags", []) for cell in code]
        assert all(ignored) if is_measured(notebook) else not any(ignored)
        if is_measured(notebook):
            measured.append(path.stem)
            assert any("assert " in cell.source for cell in code)
    assert [name[:2] for name in measured] == ["30", "31", "32", "33", "34", "35", "36", "37"]


OF_PYTHON_3_11 = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="stored outputs are those of Python 3.11 and its lock"
)
STRICT = [path for path in NOTEBOOKS if not is_measured(nbformat.read(path, as_version=4))]
TIMES = int(os.environ.get("ZEPHYR_LAB_TIMES", "3"))


def without_pictures(text: str) -> str:
    """A PNG's bytes another processor may round otherwise; the SVG beside it stays."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return nbformat.writes(notebook)


@pytest.mark.server
@OF_PYTHON_3_11
@pytest.mark.parametrize("path", STRICT[:1], ids=by_name)
def test_executed_again_it_is_byte_identical(path: Path) -> None:
    """nbval compares the outputs of all notebooks; this is about what it leaves out."""
    assert without_pictures(executed(path)) == without_pictures(path.read_text(encoding="utf-8"))


@pytest.mark.server
@OF_PYTHON_3_11
@pytest.mark.thorough
@pytest.mark.parametrize("path", STRICT, ids=by_name)
def test_executed_again_and_again_it_is_byte_identical(path: Path) -> None:
    """As often as ZEPHYR_LAB_TIMES says."""
    stored = without_pictures(path.read_text(encoding="utf-8"))
    assert [without_pictures(executed(path)) == stored for _ in range(TIMES)] == [True] * TIMES
