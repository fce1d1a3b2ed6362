"""The page on services shows what happens: its files are written, its commands run, and print what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.wire.services import GO_SOURCES, JDBC
from zephyr_lab.wire.description import _COMMAND, _REQUEST, _SERVICE

PAGE = (ROOT / "docs" / "services.md").read_text(encoding="utf-8")
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONN", "ETIMEDOUT")
NEEDS = {
    "go": "golang-go",
    "javac": "default-jdk-headless",
    "node": "nodejs",
    "npm": "npm",
    "psql": "postgresql-client",
}


def sections() -> dict[str, list[tuple[str, str]]]:
    """Those with fenced code: heading -> (language, code)."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        if blocks := re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL):
            found[section.partition("\n")[0]] = blocks
    return found


def _skip_without(heading: str, code: str) -> None:
    for program, package in NEEDS.items():
        needed = re.search(rf"\b{program}\b", code) or (program == "javac" and "java " in code)
        if needed and shutil.which(program) is None:
            pytest.skip(f"no {program} here (Debian: {package})")
    if heading == "Go" and not (GO_SOURCES / "src/github.com/lib/pq").is_dir():
        pytest.skip("no lib/pq for Go here (Debian: golang-github-lib-pq-dev)")
    if heading == "Java" and not JDBC.exists():
        pytest.skip("no JDBC driver for PostgreSQL here (Debian: libpostgresql-jdbc-java)")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where `zephyr-lab`, `python` and `pytest` are these, and Go finds its packages where Debian has them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in {
        "python": "",
        "zephyr-lab": "-m zephyr_lab",
        "pytest": "-m pytest -p zephyr_lab.pytest_plugin",
    }.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (programs / name).chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ZEPHYR_LAB_", "PYTEST_"))}
    return {
        **clean, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "200",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "GO111MODULE": "off", "GOPATH": str(GO_SOURCES), "CGO_ENABLED": "0",
        "npm_config_cache": str(tmp_path / "cache"), "npm_config_audit": "false", "npm_config_fund": "false",
        "NO_COLOR": "1",
    }  # fmt: skip


@pytest.mark.server
@pytest.mark.thorough
@pytest.mark.xdist_group("services")
@pytest.mark.parametrize("heading", list(sections()))
def test_the_page_shows_what_happens(heading: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """Files are written under the name in their first line, commands are run, and print the lines that follow them."""
    blocks = sections()[heading]
    _skip_without(heading, "".join(code for _, code in blocks))
    folder = tmp_path / "project"
    folder.mkdir()
    printed: list[str] = []
    for language, code in blocks:
        if language == "sh":
            printed = [line for command in code.splitlines() for line in _run(command, folder, environment)]
        elif language == "text":
            missing = [line for line in code.splitlines() if not any(one.startswith(line) for one in printed)]
            assert not missing, "\n".join([*missing, "", *printed])
        else:
            name = re.match(r"(?:#|//) ([\w.]+)\n", code)
            assert name, code
            (folder / name[1]).write_text(code, encoding="utf-8")
    assert printed


def _run(command: str, folder: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if command.startswith("npm") and any(code in done.stderr for code in NO_NETWORK):
        pytest.skip("the npm registry is out of reach")
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout.splitlines()


def test_the_page_names_every_key() -> None:
    """Of the file, of a request and of a command."""
    table = PAGE.partition("## What the file may say")[2]
    assert {name for name in {*_SERVICE, *_REQUEST, *_COMMAND} if f"`{name}`" not in table} == set()
