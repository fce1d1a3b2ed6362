"""Every notebook at every isolation level, through papermill: executed notebooks, their pages, and an index.

Strict notebooks run as many at a time as there are processors; then those of the measured kind one after another, or
they would measure each other.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import papermill
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from zephyr_lab.anomalies.matrix import LEGEND, Counted
from zephyr_lab.course.result import read_result
from zephyr_lab.course.store import QUIET, is_measured, normal_form, read_notebook
from zephyr_lab.errors import BadInput
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.warm import on_disk
from zephyr_lab.warm.managers import AsyncManager

PARAMETER = "isolation_level"
SHORT = "31-the-detector"  # of those that measure, the one that is done first
_LINK = re.compile(r'href="([\w.-]+)\.ipynb"')


@dataclass(frozen=True)
class Job:
    """An execution to do: a notebook, and its level, or None if it takes none."""

    notebook: Path
    level: str | None
    into: Path
    measured: bool = False

    @property
    def name(self) -> str:
        return self.notebook.stem + (f"--{self.level.replace(' ', '-')}" if self.level else "")


@dataclass(frozen=True)
class Run:
    """An execution done: its page, the content of its result cell, and the error that stopped it, if any."""

    job: Job
    page: Path
    result: dict[str, Any] | None
    error: str

    @property
    def word(self) -> str:
        """The text of the link to its page."""
        if self.error:
            return "failed"
        return str((self.result or {}).get("verdict", "ok")) if self.job.level else "ok"


def plan(folder: Path, into: Path) -> list[Job]:
    """Four executions of each notebook that takes `isolation_level`, one of any other. Raises BadInput for none."""
    notebooks = sorted(folder.glob("*.ipynb"))
    if not notebooks:
        raise BadInput(f"no notebooks in {folder}: name the folder that holds them")
    jobs = []
    for path in notebooks:
        notebook = read_notebook(path)
        levels = list(IsolationLevel) if _takes_level(notebook) else [None]
        jobs += [Job(path, str(level) if level else None, into, is_measured(notebook)) for level in levels]
    return jobs


def _takes_level(notebook: nbformat.NotebookNode) -> bool:
    return any("parameters" in cell.metadata.get("tags", []) and PARAMETER in cell.source for cell in notebook.cells)


def execute(job: Job) -> Run:
    """Executes one notebook into `job.into` and renders its page. An error in a cell is reported, not raised."""
    job.into.mkdir(parents=True, exist_ok=True)
    target = job.into / f"{job.name}.ipynb"
    error = ""
    try:
        # `immediate`: a graceful shutdown of the kernel stalls for seconds now and then.
        with on_disk() if job.measured else nullcontext():
            papermill.execute_notebook(
                str(job.notebook),
                str(target),
                parameters={PARAMETER: job.level} if job.level else {},
                progress_bar=False,
                kernel_name="python3",
                shutdown_kernel="immediate",
                cwd=str(job.notebook.parent),
                extra_arguments=QUIET,
                kernel_manager_class=AsyncManager,
                request_save_on_cell_execute=False,
                autosave_cell_every=0,
            )
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
    page, _ = _exporter().from_notebook_node(nbformat.reads(normal_form(notebook), as_version=4))
    path = job.into / f"{job.name}.html"
    path.write_text(_LINK.sub(lambda found: f'href="{_page_of(found[1], job)}"', page), encoding="utf-8")
    return path


@cache
def _exporter() -> HTMLExporter:
    # Nothing is fetched from elsewhere: the page works offline; a widget, which does not, is there as its text.
    return HTMLExporter(require_js_url="", mathjax_url="", jquery_url="", mermaid_js_url="")


def _page_of(stem: str, job: Job) -> str:
    """The page that a link to a notebook leads to, at the same level if that notebook takes one."""
    notebook = job.notebook.with_name(f"{stem}.ipynb")
    level = (job.level or str(IsolationLevel.READ_COMMITTED)) if _can_take_level(notebook) else None
    return f"{Job(notebook, level, job.into).name}.html"


@cache
def _can_take_level(path: Path) -> bool:
    return path.exists() and _takes_level(read_notebook(path))


def only_measured(todo: Sequence[Job]) -> list[Job]:
    """The jobs of the measured kind."""
    return [job for job in todo if job.measured]


def without_long_ones(todo: Sequence[Job]) -> list[Job]:
    """All strict jobs, and the shortest of the measured kind."""
    return [job for job in todo if not job.measured or job.notebook.stem == SHORT]


def execute_all(
    todo: Sequence[Job], jobs: int, on_progress: Callable[[], object], meanwhile: Callable[[], object] = lambda: None
) -> list[Run]:
    """Executes a plan: strict notebooks `jobs` at a time, then measured ones alone. Returns the runs in its order.

    `on_progress` is called after each, `meanwhile` once, when the strict ones have begun. Call this while no
    other thread runs: on Linux its workers are forks.
    """
    done: dict[Job, Run] = {}
    strict = [job for job in todo if not job.measured]
    if strict:
        # Forks have papermill imported. What takes no level and has stored most runs longest: first, so that nobody
        # waits for it.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        strict.sort(key=lambda job: (job.level is not None, -job.notebook.stat().st_size))
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            futures = [pool.submit(execute, job) for job in strict]
            meanwhile()
            for future in as_completed(futures):
                done[future.result().job] = future.result()
                on_progress()
    else:
        meanwhile()
    for job in todo:
        if job.measured:
            done[job] = execute(job)
            on_progress()
    return [done[job] for job in todo]


@dataclass(frozen=True)
class Report:
    """All executions of a folder of notebooks, and their pages; `index` is the page with links to them."""

    index: Path
    runs: tuple[Run, ...]

    @property
    def notebooks(self) -> list[str]:
        return list(dict.fromkeys(run.job.notebook.stem for run in self.runs))

    def problems(self) -> list[str]:
        """The failed executions, in words."""
        return [f"{run.job.name}: {run.error}" for run in self.runs if run.error]

    def matrix(self, server: str) -> Counted | None:
        """The largest matrix in the notebooks' results, or None."""
        found = [run.result for run in self.runs if run.result and "counts" in run.result and not run.error]
        return Counted.of(server, max(found, key=lambda one: len(one["counts"]))) if found else None

    def write_index(self, measured: Counted | None) -> None:
        """Writes a page with the matrix, and a link to every executed notebook with its result."""
        pages = jinja2.Environment(loader=jinja2.PackageLoader("zephyr_lab", "course"), autoescape=True)
        notebooks = {name: [run for run in self.runs if run.job.notebook.stem == name] for name in self.notebooks}
        page = pages.get_template("index.html.j2").render(
            matrix=measured,
            today=date.today().isoformat(),
            legend=LEGEND,
            levels=[str(level) for level in IsolationLevel],
            notebooks=notebooks,
        )
        self.index.parent.mkdir(parents=True, exist_ok=True)
        self.index.write_text(page, encoding="utf-8")
