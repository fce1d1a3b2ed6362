"""docs/pytest.md and docs/frameworks.md: their snippets are written, run, and print what the pages show."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.pytest_plugin.conftest import Project

pytestmark = pytest.mark.server

pytest_plugins = "pytester"

EXTERNAL = "postgresql://tester@db.example/scratch"


def sections(name: str) -> dict[str, list[tuple[str, str]]]:
    """A page's sections with fenced code: heading -> (language, code)."""
    page, found = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"), {}
    for section in page.split("\n## ")[1:]:
        if blocks := re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL):
            found[section.partition("\n")[0]] = blocks
    return found


PYTEST, FRAMEWORKS = sections("pytest"), sections("frameworks")


@pytest.mark.thorough_but("Redis beside PostgreSQL")
@pytest.mark.parametrize("heading", list(PYTEST))
def test_the_page_of_the_plugin_shows_what_happens(
    project: Project, heading: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are written under the name in their first line, commands are run, and print the lines that follow them."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # for services of the page
    if EXTERNAL in "".join(code for _, code in PYTEST[heading]):
        monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", "host=nowhere.invalid")  # the page names the server itself
    check_section(project, [(language, code.replace(EXTERNAL, dsn)) for language, code in PYTEST[heading]])


@pytest.mark.thorough
@pytest.mark.parametrize("heading", list(FRAMEWORKS))
def test_the_page_of_frameworks_shows_what_happens(project: Project, heading: str) -> None:
    """In the same way."""
    check_section(project, FRAMEWORKS[heading])


def check_section(project: Project, blocks: list[tuple[str, str]]) -> None:
    """Writes and runs what a section shows."""
    printed: list[str] = []
    for language, code in blocks:
        if language == "sh":
            printed = [line for command in code.splitlines() for line in _run(project, command)]
        elif language == "text":
            missing = [line for line in code.splitlines() if not any(one.startswith(line) for one in printed)]
            assert not missing, "\n".join([*missing, "", *printed])
        else:
            name = re.match(r"# ([\w.]+)\n", code)
            assert name, code
            project.write(name[1], code)
    assert printed


def _run(project: Project, command: str) -> list[str]:
    command, _, code = command.partition("  # exit ")
    run = project.pytest(*shlex.split(command)[1:])
    assert run.ret == int(code or 0), run.stdout.str()
    return run.outlines
