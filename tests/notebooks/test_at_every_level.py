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
    """Four executions of those that take one, one of the others."""
    jobs = plan(NOTEBOOKS, tmp_path)
    names = [job.name for job in jobs]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("03-")] == [
        f"03-lost-update--{str(level).replace(' ', '-')}" for level in IsolationLevel
    ]
    assert {"00-start", "04-matrix"} <= set(names)
    with pytest.raises(BadInput, match="no notebooks in"):
        plan(tmp_path, tmp_path)


# Those that take no level are executed by nbval. Of the others one level each, `make run` and `make thorough` have all.
AT_LEVELS = [
    pytest.param(job, id=job.name, marks=[pytest.mark.thorough] if (number + number // 4) % 4 != 1 else [])
    for number, job in enumerate(job for job in plan(NOTEBOOKS, Path("build")) if job.level)
]


@pytest.mark.parametrize("job", AT_LEVELS)
def test_a_notebook_finds_what_the_catalogue_expects(job: Job, tmp_path: Path) -> None:
    """Read from the executed file, as CI would."""
    run = execute(Job(job.notebook, job.level, tmp_path))
    assert run.error == ""
    found = read_result(nbformat.read(tmp_path / f"{job.name}.ipynb", as_version=4))
    assert found == run.result
    assert run.page.stat().st_size > 10_000
    assert found
    assert found["isolation_level"] == job.level
    cases = found.get("cases") or {found["case"]: found["verdict"]}
    assert cases == {name: str(anomaly(name).expected[IsolationLevel.of(job.level)]) for name in cases}


def test_every_anomaly_is_in_a_notebook() -> None:
    """By its name, in the code that runs it."""
    code = "\n".join(
        cell.source
        for path in NOTEBOOKS.glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    )
    assert [one.name for one in CATALOGUE if f'"{one.name}"' not in code] == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_parameter_is_spelt_as_the_plan_spells_it(path: Path) -> None:
    """papermill only warns about a parameter that a notebook does not have."""
    logging.getLogger("papermill").setLevel(logging.ERROR)
    assert set(papermill.inspect_notebook(str(path))) <= {PARAMETER}


def test_a_failing_notebook_is_reported_and_the_index_still_written(tmp_path: Path, lab: Lab) -> None:
    """With the cell and the error."""
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=[]), tmp_path / "empty.ipynb")
    runs = [execute(job) for job in plan(tmp_path, tmp_path / "build")]
    report = Report(tmp_path / "build", tuple(runs))
    assert report.problems() == ["bad: cell 1: ZeroDivisionError: division by zero", "empty: no result cell"]
    report.write_index(lab.matrix(["lost-update"]))
    page = report.index.read_text()
    assert "ZeroDivisionError" in page
    assert page.count('class="occurs"') == 2
