"""Every notebook at every isolation level, through papermill: executed notebooks, their pages, and an index."""

from __future__ import annotations

import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import nbformat

from zephyr_lab.anomalies.matrix import LEGEND, Matrix
from zephyr_lab.course.result import read_result
from zephyr_lab.course.store import QUIET, normal_form, read_notebook
from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.levels import IsolationLevel

PARAMETER = "isolation_level"
_LINK = re.compile(r'href="([\w.-]+)\.ipynb"')


@dataclass(frozen=True)
class Job:
    """One execution to do: a notebook, and the level it is given; None where it takes none."""

    notebook: Path
    level: str | None
    into: Path

    @property
    def name(self) -> str:
        return self.notebook.stem + (f"--{self.level.replace(' ', '-')}" if self.level else "")


@dataclass(frozen=True)
class Run:
    """One execution done: its page, what its result cell says, and the error that stopped it, if one did."""

    job: Job
    page: Path
    result: dict[str, Any] | None
    error: str

    @property
    def word(self) -> str:
        """What is written on the link to its page."""
        if self.error:
            return "failed"
        return str((self.result or {}).get("verdict", "ok")) if self.job.level else "ok"


def plan(folder: Path, into: Path) -> list[Job]:
    """Four executions of each notebook that takes `isolation_level`, one of each other. Raises BadInput for none."""
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        raise BadInput(f"no notebooks in {folder}: name the folder that holds them")
    jobs = []
    for path in notebooks:
        levels = list(IsolationLevel) if _takes_level(path) else [None]
        jobs += [Job(path, str(level) if level else None, into) for level in levels]
    return jobs


def _takes_level(path: Path) -> bool:
    cells = read_notebook(path).cells
    return any("parameters" in cell.metadata.get("tags", []) and PARAMETER in cell.source for cell in cells)


def execute(job: Job) -> Run:
    """Executes one notebook into `job.into` and renders its page. An error in a cell is reported, not raised."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    job.into.mkdir(parents=True, exist_ok=True)
    target = job.into / f"{job.name}.ipynb"
    error = ""
    try:
        # `immediate`: a graceful shutdown of the kernel stalls for seconds now and then.
        papermill.execute_notebook(
            str(job.notebook), str(target), parameters={PARAMETER: job.level} if job.level else {},
            progress_bar=False, kernel_name="python3", shutdown_kernel="immediate", cwd=str(job.notebook.parent),
            extra_arguments=QUIET,
        )  # fmt: skip
    except PapermillExecutionError as failure:
        error = f"cell {failure.exec_count}: {failure.ename}: {failure.evalue}"
    notebook = nbformat.read(target, as_version=4)
    found = read_result(notebook)
    if not error and found is None:
        error = "no result cell"
    if not error and job.level and found and found.get("isolation_level") != job.level:
        error = f"was given {job.level!r} and reports {found.get('isolation_level')!r}"
    return Run(job, _page(job, notebook), found, error)


def _page(job: Job, notebook: nbformat.NotebookNode) -> Path:
    from nbconvert import HTMLExporter

    # Nothing is fetched from elsewhere: the page works offline; a widget, which does not, is there as its text.
    notebook = nbformat.reads(normal_form(notebook), as_version=4)
    page, _ = HTMLExporter(require_js_url="", mathjax_url="", jquery_url="", mermaid_js_url="").from_notebook_node(
        notebook
    )
    path = job.into / f"{job.name}.html"
    path.write_text(_LINK.sub(lambda found: f'href="{_page_of(found[1], job)}"', page), encoding="utf-8")
    return path


def _page_of(stem: str, job: Job) -> str:
    """The page that a link to a notebook leads to: at the same level, where that notebook takes one."""
    notebook = job.notebook.with_name(f"{stem}.ipynb")
    level = (job.level or str(IsolationLevel.READ_COMMITTED)) if notebook.exists() and _takes_level(notebook) else None
    return f"{Job(notebook, level, job.into).name}.html"


def execute_all(folder: Path, into: Path, jobs: int, seen: Callable[[int, int], None]) -> Report:
    """Executes the plan, `jobs` at a time; `seen` is told how many are done of how many."""
    todo = plan(folder, into)
    seen(0, len(todo))
    runs = []
    with tempfile.TemporaryDirectory(prefix="zephyr-lab-ipython-") as scratch:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(scratch,)) as pool:
            for done, future in enumerate(as_completed([pool.submit(execute, job) for job in todo]), start=1):
                runs.append(future.result())
                seen(done, len(todo))
    runs.sort(key=lambda run: todo.index(run.job))
    return Report(into, tuple(runs))


def _prepare(scratch: str) -> None:
    os.environ["IPYTHONDIR"] = scratch  # kernels keep their history there, not in the reader's home


@dataclass(frozen=True)
class Report:
    """All executions of a folder of notebooks, and where their pages are."""

    into: Path
    runs: tuple[Run, ...]

    @property
    def index(self) -> Path:
        return self.into / "index.html"

    @property
    def notebooks(self) -> list[str]:
        return list(dict.fromkeys(run.job.notebook.stem for run in self.runs))

    def problems(self) -> list[str]:
        """Executions that did not end well, in words."""
        return [f"{run.job.name}: {run.error}" for run in self.runs if run.error]

    def write_index(self, measured: Matrix) -> None:
        """Writes `index.html`: the matrix, and a link to every executed notebook with what it found."""
        pages = jinja2.Environment(loader=jinja2.PackageLoader("zephyr_lab", "course"), autoescape=True)
        notebooks = {name: [run for run in self.runs if run.job.notebook.stem == name] for name in self.notebooks}
        page = pages.get_template("index.html.j2").render(
            matrix=measured,
            today=date.today().isoformat(),
            legend=LEGEND,
            levels=[str(level) for level in IsolationLevel],
            notebooks=notebooks,
        )
        self.index.write_text(page, encoding="utf-8")
