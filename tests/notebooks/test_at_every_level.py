"""papermill runs the notebooks at every level, and what they found is read back from their outputs."""

from __future__ import annotations

import logging
from pathlib import Path

import nbformat
import papermill
import pytest

from tests.conftest import ROOT
from zephyr_lab import IsolationLevel
from zephyr_lab.anomalies import CATALOGUE, anomaly
from zephyr_lab.course.execute import PARAMETER, Job, Report, execute, plan
from zephyr_lab.course.result import read_result
from zephyr_lab.errors import BadInput
from zephyr_lab.lab import Lab

NOTEBOOKS = ROOT / "notebooks"


def test_the_plan_is_every_notebook_at_every_level_it_takes(tmp_path: Path) -> None:
    """Three notebooks at four levels, two once."""
    jobs = plan(NOTEBOOKS, tmp_path)
    assert len(jobs) == len({job.name for job in jobs}) == 14
    with pytest.raises(BadInput, match="no notebooks in"):
        plan(tmp_path, tmp_path)


@pytest.mark.parametrize("job", plan(NOTEBOOKS, Path("build")), ids=lambda job: job.name)
def test_a_notebook_finds_what_the_catalogue_expects(job: Job, tmp_path: Path) -> None:
    """Read from the executed file, as CI would."""
    run = execute(Job(job.notebook, job.level, tmp_path))
    assert run.error == ""
    found = read_result(nbformat.read(tmp_path / f"{job.name}.ipynb", as_version=4))
    assert found == run.result
    assert run.page.stat().st_size > 10_000
    if job.level:
        assert found
        name = job.notebook.stem.partition("-")[2]
        assert found["isolation_level"] == job.level
        assert found["verdict"] == str(anomaly(name).expected[IsolationLevel.of(job.level)])


@pytest.mark.parametrize(
    "path",
    [path for one in CATALOGUE for path in NOTEBOOKS.glob(f"[0-9][0-9]-{one.name}.ipynb")],
    ids=lambda path: path.stem,
)
def test_the_parameter_is_spelt_as_the_plan_spells_it(path: Path) -> None:
    """papermill only warns about a parameter that a notebook does not have."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    assert PARAMETER in papermill.inspect_notebook(str(path))


def test_a_failing_notebook_is_reported_and_the_index_still_written(tmp_path: Path, lab: Lab) -> None:
    """With the cell and the error."""
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[]), tmp_path / "empty.ipynb")
    runs = [execute(job) for job in plan(tmp_path, tmp_path / "build")]
    report = Report(tmp_path / "build", tuple(runs))
    assert report.problems() == ["bad: cell 1: ZeroDivisionError: division by zero", "empty: no result cell"]
    measured = lab.matrix()
    report.write_index(measured)
    page = report.index.read_text()
    assert "ZeroDivisionError" in page
    assert page.count('class="occurs"') == sum(row.count("occurs") for row in measured.rows())
