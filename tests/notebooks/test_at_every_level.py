"""papermill runs the notebooks at every level, and what they found is read back from their outputs."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from tests.conftest import ROOT
from zephyr_lab import IsolationLevel
from zephyr_lab.anomalies import CATALOGUE, anomaly
from zephyr_lab.cli.course import BEST_KNOWN
from zephyr_lab.course.execute import (
    PARAMETER,
    SHORT,
    Job,
    Report,
    Run,
    execute,
    only_measured,
    plan,
    without_long_ones,
)
from zephyr_lab.course.result import read_result, result
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
    assert {"00-start", "10-matrix"} <= set(names)
    with pytest.raises(BadInput, match="no notebooks in"):
        plan(tmp_path, tmp_path)


# nbval executes each notebook as it is stored, hence at READ COMMITTED those that take a level. These are executed here
# at one of the three others as well; `make run` and `make thorough` have all.
OTHERS = [level for level in IsolationLevel if level is not IsolationLevel.READ_COMMITTED]
LEVELLED = [job for job in plan(NOTEBOOKS, Path("build")) if job.level]
AT_LEVELS = [
    pytest.param(
        job, id=job.name, marks=[] if job.level == OTHERS[number // 4 % len(OTHERS)] else [pytest.mark.thorough]
    )
    for number, job in enumerate(LEVELLED)
]


@pytest.mark.server
@pytest.mark.thorough_but("02-phantom--repeatable-read")
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


def test_the_matrix_is_read_back_as_a_notebook_has_counted_it(tmp_path: Path, lab: Lab) -> None:
    """From the JSON of its result cell; what is printed of it is what the lab prints."""
    counted = lab.matrix(["lost-update", "phantom"])
    cells = [
        nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", result(counted)._repr_mimebundle_())])
    ]
    found = read_result(nbformat.v4.new_notebook(cells=cells))
    run = Run(plan(NOTEBOOKS, tmp_path)[0], tmp_path / "page.html", found, "")
    assert str(Report(tmp_path / "index.html", (run,)).matrix(lab.server)) == str(counted)


def test_what_measures_is_executed_last_and_alone(tmp_path: Path) -> None:
    """And in a plain run only the shortest of it, which there is."""
    todo = plan(NOTEBOOKS, tmp_path)
    measured = [job.notebook.stem for job in only_measured(todo)]
    assert [name[:2] for name in measured] == ["30", "31", "32", "33", "34", "35", "36", "37"]
    assert [job for job in without_long_ones(todo) if job.measured] == [
        job for job in todo if job.notebook.stem == SHORT
    ]
    assert len(without_long_ones(todo)) == len(todo) - len(measured) + 1


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
    report = Report(tmp_path / "build" / "index.html", tuple(runs))
    assert report.problems() == ["bad: cell 1: ZeroDivisionError: division by zero", "empty: no result cell"]
    assert report.matrix(lab.server) is None
    report.write_index(lab.matrix(["lost-update"]).counted())
    page = report.index.read_text()
    assert "ZeroDivisionError" in page
    assert page.count('class="occurs"') == 2


@pytest.mark.thorough
@pytest.mark.server
def test_the_command_counts_the_best_known_first_and_tells_what_failed(tmp_path: Path) -> None:
    """As `make run` and `make measure` call it."""
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    command = [Path(sys.executable).with_name("zephyr-lab"), "notebooks", tmp_path, "--into", tmp_path / "build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    names = [line.split()[0] for line in done.stdout.splitlines()[1 : len(BEST_KNOWN) + 1]]
    assert names == list(BEST_KNOWN)
    assert "bad: cell 1: ZeroDivisionError: division by zero" in done.stderr
    assert "write-skew" in (tmp_path / "build" / "index.html").read_text()
    measured = subprocess.run([*command, "--measured"], capture_output=True, text=True, timeout=100, check=False)
    assert (measured.returncode, measured.stdout[:15]) == (0, "0 executions of")
    assert (tmp_path / "build" / "measured.html").exists()
