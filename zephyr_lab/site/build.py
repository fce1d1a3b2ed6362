"""Builds the site with Sphinx: offline, into a folder that works when its files are opened from disk.

The pages are the notebooks, executed as copies (the measured ones as stored); transcripts in them are steppers. Around
them: a front page with the one idea and the matrix, functions and classes from their docstrings, and what this does not
show.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jinja2
import myst_nb  # noqa: F401  # both are named in Sphinx's settings, and are missed here, before anything is executed
import nbformat
import pydata_sphinx_theme  # noqa: F401
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.docutils import docutils_namespace

from zephyr_lab.anomalies.catalogue import CATALOGUE
from zephyr_lab.course.result import read_result
from zephyr_lab.course.store import CELL_SECONDS, Execution, executed_with_widgets, is_measured, read_notebook
from zephyr_lab.errors import BadInput, SiteFailed
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.shipped import shipped
from zephyr_lab.site import figures
from zephyr_lab.site.api import PAGES, as_rst, page
from zephyr_lab.site.conf import SETTINGS
from zephyr_lab.site.kept import Kept
from zephyr_lab.site.lattice import lattice
from zephyr_lab.site.schedules import Schedules, address, cases, schedules_now, script
from zephyr_lab.site.widgets import own, static
from zephyr_lab.warm import JOBS, environment, warm_kernels

HERE = Path(__file__).parent
OWN = (".buildinfo", "index.html")  # by which a folder is known as one that may be replaced
LEVELS = [str(level) for level in IsolationLevel if level is not IsolationLevel.READ_UNCOMMITTED]
_LIMITS = re.compile(r"(?ms)^## What this does not show\n(.*?)(?=^## |\Z)")
_OF_NOTEBOOK = re.compile(
    r"(?ms)^## What this does not show\n(.+?)(?=\n## |\n\*\*The rule|\Z)"
    r"|^\*\*What this does not show:\*\* (.+?)(?=\n\n|\Z)"
)
_FROM_FOLDER = re.compile(r"\]\((?=[\w-]+\.(ipynb|md)\b)")
_FROM_DOCS = re.compile(r"\]\((?=[\w-]+\.md\b)")
_OUTSIDE = re.compile(r"\]\(\.\./([\w./-]+)\)")
_ORPHAN = "---\norphan: true\n---\n\n"  # a page that no table of contents names

Execute = Callable[[Path], Execution]


@dataclass(frozen=True)
class Built:
    """What came of a build: the cells that failed, whose pages say so, and Sphinx's warnings."""

    failures: list[str]
    warnings: list[str]


def executed_now(path: Path, cell_seconds: int = CELL_SECONDS, cache: Path | None = None) -> Execution:
    """A notebook as it comes out now; of the measured kind as it is stored, since two at once would measure each other.

    With a `cache`, one whose code and surroundings have not changed is taken from there. Raises BadInput.
    """
    stored = read_notebook(path)
    if is_measured(stored):
        return Execution(stored)
    if cache and (kept := Kept(cache).find(stored)):
        return Execution(kept)
    made = executed_with_widgets(path, cell_seconds)
    if cache and made.stopped_at is None:
        Kept(cache).keep(made.notebook, path)
    return made


def build(
    folder: Path,
    into: Path,
    jobs: int = JOBS,
    execute: Execute = executed_now,
    schedules: Callable[[], Schedules] = schedules_now,
) -> Built:
    """Executes the notebooks of a folder and builds the site; the page of a notebook that failed says where and why.

    `schedules` gives the runs that a reader can choose between, by case.

    Raises BadInput if there are no notebooks or `into` holds something else, SiteFailed.
    """
    paths = sorted(folder.glob("*.ipynb"))
    if not paths:
        raise BadInput(f"no notebooks in {folder}: name the folder that holds them")
    if into.exists() and any(into.iterdir()) and not all((into / name).exists() for name in OWN):
        raise BadInput(f"{into} holds something else than a site: name another folder, or empty it")
    with tempfile.TemporaryDirectory(prefix="zephyr-lab-site-") as scratch:
        made, runs = _execute(paths, jobs, execute, schedules)
        source = Path(scratch) / "source"
        write_sources(source, {name: with_failure(one) for name, one in made.items()}, folder.parent, runs)
        _downloads(paths, Path(scratch) / "downloads")
        failures = [one.failure for one in made.values() if one.failure]
        return Built(failures, _sphinx(source, Path(scratch), into))


def _execute(
    paths: Sequence[Path], jobs: int, execute: Execute, schedules: Callable[[], Schedules]
) -> tuple[dict[str, Execution], Schedules]:
    """Every notebook executed, `jobs` at a time; each has a kernel of its own, hence threads do."""
    with environment(ZEPHYR_LAB_OBSERVE="1"), warm_kernels(), ThreadPoolExecutor(jobs) as pool:
        runs = pool.submit(schedules)
        made = dict(zip([path.stem for path in paths], pool.map(execute, paths), strict=True))
        return made, runs.result()


def with_failure(made: Execution) -> nbformat.NotebookNode:
    """The notebook for its page, with a notice above the cell that failed."""
    if made.stopped_at is None:
        return made.notebook
    notebook = cast("nbformat.NotebookNode", nbformat.from_dict(made.notebook))
    said = f"```{{error}}\n{made.failure}\n\nThis cell and those below it have no results on this page.\n```"
    notebook.cells.insert(made.stopped_at, nbformat.v4.new_markdown_cell(said, id="failure"))
    return notebook


def write_sources(
    source: Path, notebooks: Mapping[str, nbformat.NotebookNode], checkout: Path, runs: Schedules
) -> None:
    """What Sphinx builds the site from."""
    (source / "notebooks").mkdir(parents=True)
    (source / "api").mkdir()
    shared: dict[str, str] = {}
    for name, notebook in notebooks.items():
        page_of = with_download(static(notebook, shared), name)
        nbformat.write(page_of, source / "notebooks" / f"{name}.ipynb")
        _take_along(notebook, checkout, source)
    beside = sorted((checkout / "notebooks").glob("*.md"), reverse=True)  # the questions, then the glossary
    for path in beside:
        shutil.copy(path, source / "notebooks")
    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE / "pages"), autoescape=False)
    readme = checkout / "README.md"
    limits = _LIMITS.search(readme.read_text(encoding="utf-8")) if readme.exists() else None
    for name in ("index", "course", "limits", "matrix", "schedules", "levels"):
        text = pages.get_template(f"{name}.md.j2").render(
            notebooks={name: _title(notebook) for name, notebook in notebooks.items()},
            beside=[path.stem for path in beside],
            limits=limits[1].strip() if limits else "",
            of_notebooks={name: _limits_of(notebook) for name, notebook in notebooks.items()},
            rows=_measured(notebooks, runs),
            levels=LEVELS,
            cases=cases(runs),
            lattice=lattice(),
            syllabus=_syllabus(),
        )
        (source / f"{name}.md").write_text(text, encoding="utf-8")
    for name, title in PAGES.items():
        (source / "api" / f"{name}.rst").write_text(page(name, title), encoding="utf-8")
    (source / "api" / "index.rst").write_text(page("index", "Functions and classes"), encoding="utf-8")
    shutil.copytree(shipped("docs"), source / "docs", dirs_exist_ok=True)
    _statics(source / "_static", shared, runs)


def _statics(statics: Path, shared: dict[str, str], runs: Schedules) -> None:
    """Scripts and styles; the widgets' code is in one file, and the schedules of each case in another."""
    (statics / "schedules").mkdir(parents=True)
    for name in ("widgets.js", "site.css", "search.js", "schedules.js", "lattice.js", "progress.js"):
        shutil.copy(HERE / name, statics)
    (statics / "figures.css").write_text(figures.style(), encoding="utf-8")
    stepper = own("stepper", shared)
    (statics / "sources.js").write_text(widget_sources(shared), encoding="utf-8")
    told = f"window.zephyrCases = {json.dumps(cases(runs))};\nwindow.zephyrStepper = {json.dumps(stepper)};\n"
    (statics / "cases.js").write_text(told, encoding="utf-8")
    for name, some in runs.items():
        (statics / "schedules" / f"{name}.js").write_text(script(name, some), encoding="utf-8")


def _downloads(paths: Iterable[Path], folder: Path) -> None:
    """The notebooks themselves, as they are stored."""
    folder.mkdir()
    for path in paths:
        shutil.copy(path, folder)


def with_download(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """It with a line below its title: where to have it, and how to run it. Changes what it is given."""
    said = f"""<p class="zephyr-run"><a href="../downloads/{name}.ipynb" download>Download this notebook</a>, or
    have the course in JupyterLab, with a PostgreSQL of its own: <code>pip install 'zephyr-lab[course]'</code>, then
    <code>zephyr-lab course</code>. On this page everything has been run: choose, step, and open what is folded.</p>"""
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(said, id="download"))
    return notebook


def _take_along(notebook: nbformat.NotebookNode, checkout: Path, source: Path) -> None:
    """Copies what a notebook links to outside of its folder: Markdown becomes a page, anything else can be fetched."""
    for link in set(
        _OUTSIDE.findall("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    ):
        target = source / link
        if (checkout / link).is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            text = (checkout / link).read_text(encoding="utf-8")
            target.write_text(_ORPHAN + text if target.suffix == ".md" else text, encoding="utf-8")


def widget_sources(shared: Mapping[str, str]) -> str:
    """The widgets' code and style, once for all pages."""
    return f"window.zephyrWidgetSources = {json.dumps(dict(shared))};\n"


def _title(notebook: nbformat.NotebookNode) -> str:
    found = re.search(r"(?m)^# (.+)$", "\n".join(cell.source for cell in notebook.cells))
    return found[1] if found else "Untitled"


def _syllabus() -> str:
    """What `docs/course.md` says below its title; its links lead from the root."""
    _, _, text = shipped("docs", "course.md").read_text(encoding="utf-8").partition("\n")
    return _FROM_DOCS.sub("](docs/", text).replace("](../", "](")


def _limits_of(notebook: nbformat.NotebookNode) -> str:
    """What a notebook says that it does not show, under a heading or in a sentence; its links lead from the root."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := _OF_NOTEBOOK.search(cell.source)):
            return _FROM_FOLDER.sub("](notebooks/", (found[1] or found[2]).strip()).replace("](../", "](")
    return ""


def _measured(notebooks: Mapping[str, nbformat.NotebookNode], runs: Schedules) -> list[dict[str, Any]]:
    """The matrix that one of the notebooks has measured, row by row; empty if none has.

    A cell is a word, and the address of a schedule that shows it, or '' where a case has too many to be on a page.
    """
    for notebook in notebooks.values():
        found = (read_result(notebook) or {}).get("matrix")
        if found:
            return [
                {
                    "name": one.name,
                    "title": one.title,
                    "group": one.group,
                    "phenomenon": one.phenomenon,
                    "cells": [
                        (word := found[one.name][level], address(one.name, level, word, runs)) for level in LEVELS
                    ],
                }
                for one in CATALOGUE
                if one.name in found
            ]
    return []


def _sphinx(source: Path, scratch: Path, into: Path) -> list[str]:
    """Builds beside the old site, which stays as it was where that fails."""
    made, warnings = scratch / "made", io.StringIO()
    try:
        with docutils_namespace():  # what extensions register is forgotten: another build would be told of it
            app = Sphinx(
                srcdir=source,
                confdir=None,
                outdir=made,
                doctreedir=scratch / "doctrees",
                buildername="html",
                confoverrides=SETTINGS,
                status=None,
                warning=warnings,
                freshenv=True,
            )
            app.connect("autodoc-process-docstring", as_rst)
            app.build()
    except SphinxError as error:
        raise SiteFailed(f"Sphinx: {error}; {into} stays as it was") from None
    shutil.copytree(scratch / "downloads", made / "downloads")
    if into.exists():
        shutil.rmtree(into)
    shutil.copytree(made, into)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue()).replace(f"{source}{os.sep}", "")
    return [line for line in plain.strip().splitlines() if not _is_of_the_course_alone(line, source)]


def _is_of_the_course_alone(warning: str, source: Path) -> bool:
    """Whether it is of a link from a page of the lab's to a notebook of the course, in a site of other notebooks."""
    link = re.search(r"target not found: '(?:\.\./)?(notebooks/[\w-]+\.(?:ipynb|md))", warning)
    return link is not None and shipped(link[1]).exists() and not (source / link[1]).exists()
