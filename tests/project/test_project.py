"""The files around the code say the same as the code: workflows, forms, citation, hooks, changelog."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import zephyr_lab
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CITATION.cff")]
TEXTS += sorted((ROOT / ".github").glob("**/*.*ml")) + sorted((ROOT / ".github").glob("*.md"))


def read(path: str | Path) -> Any:
    """A YAML file, whose key `on` YAML takes for True."""
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def commands(job: dict[str, Any]) -> str:
    """What a job's steps run, a line each."""
    return "\n".join(step.get("run") or step["uses"].partition("@")[0] for step in job["steps"])


def test_ci_is_strict_on_311_and_lax_on_newer_ones() -> None:
    """`.ci/run`, the lowest and the newest versions, and other machines; the executed notebooks are kept."""
    jobs = read(".github/workflows/ci.yml")["jobs"]
    assert set(jobs) == {
        "strict",
        "check",
        "thorough",
        "newer-python",
        "lowest-versions",
        "newest-versions",
        "other-platforms",
    }
    assert "make check" in commands(jobs["check"])
    assert "make thorough" in commands(jobs["thorough"])
    strict = commands(jobs["strict"])
    assert 'python-version": "3.11"' in json.dumps(jobs["strict"])
    assert re.search(r"^bash \.ci/run$.*^make run$.*^actions/upload-artifact$", strict, re.MULTILINE | re.DOTALL)
    assert jobs["newer-python"]["strategy"]["matrix"]["python"] == ["3.13", "3.14"]
    assert "make test PYTHON=python${{ matrix.python }} NBVAL=--nbval-lax" in commands(jobs["newer-python"])
    assert "make lowest" in commands(jobs["lowest-versions"])
    assert jobs["other-platforms"]["strategy"]["matrix"]["machine"] == ["ubuntu-24.04-arm", "macos-15"]
    folders = re.findall(r"tests/\w+", commands(jobs["other-platforms"]))
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert mirrors() - {"tests/load"} <= set(folders)
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"


def mirrors() -> set[str]:
    """The folders of tests that mirror a package."""
    return {f"tests/{one.name}" for one in (ROOT / "tests").glob("[a-z]*") if (ROOT / "zephyr_lab" / one.name).is_dir()}


def test_each_package_s_tests_run_on_a_wheel_and_on_the_oldest_versions() -> None:
    names = re.search(r"^MIRRORS := \$\(addprefix tests/,(.*)\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert names
    assert mirrors() <= {f"tests/{name}" for name in names[1].split()}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_ends(path: Path) -> None:
    """More is granted only to jobs that run no code of the checkout; none waits for six hours or names a secret."""
    text, workflow = path.read_text(), read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]
    assert "secrets." not in text
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= (180 if name == "thorough" else 25), name
        if "permissions" in job:
            assert "actions/checkout" not in commands(job), name
            assert "make" not in commands(job), name


def test_actions_are_pinned_by_major_version_the_same_everywhere() -> None:
    """Their newest minor ones come by themselves, the next major one by Dependabot."""
    used = re.findall(r"uses: (\S+?)@(\S+)", "".join(path.read_text() for path in WORKFLOWS))
    assert len(used) > 10
    assert len(dict(used)) == len(set(used))
    assert all(re.fullmatch(r"v\d+|release/v\d+", version) for _, version in used)
    assert {"pip", "github-actions"} == {one["package-ecosystem"] for one in read(".github/dependabot.yml")["updates"]}


def test_make_knows_every_target_that_is_named() -> None:
    """In workflows, in the dev container, and in CONTRIBUTING.md."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in [*WORKFLOWS, ROOT / "CONTRIBUTING.md", ROOT / ".devcontainer" / "devcontainer.json"]:
        named = set(re.findall(r"\bmake (?:-C \w+ )?([a-z][\w-]*)", path.read_text(encoding="utf-8")))
        assert named <= targets, path.name


def test_a_release_is_built_tested_and_published_in_this_order() -> None:
    """As a trusted publisher, whose token the job that publishes alone may ask for."""
    jobs = read(".github/workflows/release.yml")["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "build": None,
        "test": "build",
        "publish": "test",
        "announce": "publish",
    }
    assert jobs["publish"]["environment"] == "pypi"
    assert {name: job["permissions"] for name, job in jobs.items() if "permissions" in job} == {
        "publish": {"id-token": "write"},
        "announce": {"contents": "write"},
    }
    assert "pypa/gh-action-pypi-publish" in commands(jobs["publish"])


def release_notes(tag: str) -> subprocess.CompletedProcess[str]:
    """What the release workflow runs."""
    script = ROOT / ".github" / "release_notes.py"
    return subprocess.run([sys.executable, script, tag], capture_output=True, text=True, check=False)


def test_a_tag_that_is_not_the_version_is_refused() -> None:
    """And the notes of the version are its section of the changelog, no more."""
    done = release_notes(f"v{zephyr_lab.__version__}")
    assert done.returncode == 0, done.stderr
    assert "### Added" in done.stdout
    assert not re.search("^## ", done.stdout, re.MULTILINE)
    refused = release_notes("v0.0.999")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert f"not v{zephyr_lab.__version__}" in refused.stderr


def test_the_citation_is_of_this_version() -> None:
    """With the date of its section in the changelog, and the licence and authors of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = read("CITATION.cff")
    assert citation["version"] == zephyr_lab.__version__
    heading = f"## [{citation['version']}] - {citation['date-released']}"
    assert heading in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_hooks_have_the_version_of_ruff_that_make_check_has() -> None:
    """It formats otherwise from one minor version to the next."""
    locked = re.search(r"^ruff==(\S+)", (ROOT / "requirements" / "dev.lock").read_text(), re.MULTILINE)
    hooks = {hook["id"]: hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert locked
    for name in ("ruff-check", "ruff-format"):
        assert hooks[name]["additional_dependencies"] == [f"ruff=={locked[1]}"]


def test_a_wrong_verdict_is_asked_for_what_reproduces_it() -> None:
    """All of it required; every form sends what concerns data and passwords elsewhere."""
    forms = {path.stem: read(path) for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert set(forms) == {"wrong_verdict", "bug", "question"}
    body = forms["wrong_verdict"]["body"]
    required = {one.get("id") for one in body if one.get("validations", {}).get("required")}
    assert required >= {"program", "level", "said", "expected", "versions", "doctor"}
    assert all("SECURITY.md" in json.dumps(forms[name]) for name in ("wrong_verdict", "bug"))


def test_nothing_names_an_address_that_is_not_there() -> None:
    """No e-mail address or repository's URL was invented, no template's gap left open; files linked to exist."""
    assert len(TEXTS) > 10
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[\w.]+@[\w-]+\.\w|INSERT|TODO|example\.(com|org)|github\.com/(?!mozilla/)", text), (
            path.name
        )
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_dev_container_opens_the_course_with_a_token() -> None:
    """On loopback, which Codespaces forwards to its owner; nobody turns the token off."""
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert ":1-3.11" in container["image"]
    start = container["postAttachCommand"]
    assert "--ServerApp.ip=127.0.0.1" in start
    assert not re.search("token=|password=|allow_origin|disable_check", start)
    first = re.search(r"default_url=/lab/tree/(\S+) (\w+)$", start)
    assert first
    assert (ROOT / first[2] / first[1]).exists()
    assert container["forwardPorts"] == [8888]
