"""Notebooks that measure: no cell raises, and what they assert of ratios holds. One at a time, with nothing beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from zephyr_lab.course.execute import SHORT, Job, execute, only_measured, plan

pytestmark = pytest.mark.server

JOBS = [
    pytest.param(job, id=job.name, marks=[] if job.notebook.stem == SHORT else [pytest.mark.thorough])
    for job in only_measured(plan(ROOT / "notebooks", Path("build")))
]


@pytest.mark.alone
@pytest.mark.timeout(600)
@pytest.mark.parametrize("job", JOBS)
def test_a_measured_notebook_holds(job: Job, tmp_path: Path) -> None:
    """Executed as `make measure` does."""
    run = execute(Job(job.notebook, job.level, tmp_path, job.measured))
    assert run.error == ""
    assert run.result
