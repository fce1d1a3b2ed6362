"""PostgreSQL's programs from elsewhere, where this machine has some."""

from __future__ import annotations

from pathlib import Path

import pytest

from zephyr_lab import Lab
from zephyr_lab.cli.course import BEST_KNOWN

pytestmark = pytest.mark.server

FOUND = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not FOUND, reason="no PostgreSQL of the distribution's on this machine")
def test_a_distributions_postgresql_gives_the_same_matrix() -> None:
    """As ZEPHYR_LAB_PG_BIN; of whatever version from 13."""
    with Lab(pg_bin=str(FOUND[-1])) as lab:
        assert lab.server == f"PostgreSQL {FOUND[-1].parent.name}.{lab.server.partition('.')[2]}"
        assert lab.matrix(BEST_KNOWN).unexpected() == []


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.skipif(not FOUND, reason="no PostgreSQL of the distribution's on this machine")
def test_each_gives_the_whole_matrix() -> None:
    """Of those that this machine has, all rows."""
    for programs in FOUND:
        with Lab(pg_bin=str(programs)) as lab:
            assert lab.matrix().unexpected() == [], lab.server
