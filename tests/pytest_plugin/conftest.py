"""Another project, whose tests a pytest in a process of its own runs with the plugin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from zephyr_lab.servers.embedded import start_postgres


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    """A server that is not the plugin's own: most of the runs begin sooner on it."""
    server, dsn = start_postgres()
    yield dsn
    server.close()


class Project:
    """Another project's folder, and pytest in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester, self.path = pytester, pytester.path

    def write(self, name: str, text: str) -> None:
        (self._pytester.path / name).write_text(text, encoding="utf-8")

    def tests(self, *texts: str) -> None:
        self._pytester.makepyfile("\n".join(map(_dedented, texts)))

    def pytest(self, *arguments: str | Path) -> pytest.RunResult:
        return self._pytester.runpytest_subprocess("-p", "zephyr_lab.pytest_plugin", *arguments)


def _dedented(text: str) -> str:
    return re.sub(r"(?m)^ {4}", "", text)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, dsn: str) -> Project:
    """With the plugin alone, whatever else is installed, on the module's server."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", dsn)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Project(pytester)
