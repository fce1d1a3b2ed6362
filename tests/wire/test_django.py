"""Django on psycopg2 and psycopg 3, its views and those of the REST framework, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

COUNTS = {
    "/read read committed": [14, 12, 0], "/read repeatable read": [14, 0, 12],
    "/locked read committed": [6, 0, 0], "/locked repeatable read": [6, 0, 4],
    "/f read committed": [2, 0, 0], "/f repeatable read": [2, 0, 0],
    "/api read committed": [14, 12, 0], "/api repeatable read": [14, 0, 12],
}  # fmt: skip


@pytest.mark.server
@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize(("driver", "age"), [("psycopg2", 0), ("psycopg2", 600), ("psycopg", 0)])
def test_requests_to_django(driver: str, age: int, kind: str) -> None:
    """A lost update, select_for_update and F(), whether a connection outlives its request or not."""
    program = [sys.executable, "-m", "tests.wire.django_shop", driver, str(age), kind]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found.pop("driver") == driver
    assert found.pop("client") == [14, 12, 0]
    assert "DEBUG = False" in found.pop("debug")
    assert found == COUNTS
