"""docs/frameworks.md: its snippets are written, run, and print what the page shows."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.pytest_plugin.test_pytest_plugin import Project, check_section, dsn, project, sections

pytest_plugins = "pytester"
__all__ = ["dsn", "project"]  # fixtures

PAGE = sections((ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8"))


@pytest.mark.server
@pytest.mark.thorough
@pytest.mark.parametrize("heading", list(PAGE))
def test_the_page_shows_what_happens(project: Project, heading: str) -> None:
    check_section(project, PAGE[heading])
