"""PostgreSQL's programs from elsewhere, where this machine has some."""

from __future__ import annotations

from pathlib import Path

import pytest

from zephyr_lab import Lab

FOUND = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not FOUND, reason="no PostgreSQL of the distribution's on this machine")
def test_a_distributions_postgresql_gives_the_same_matrix() -> None:
    """As ZEPHYR_LAB_PG_BIN; of whatever version from 13."""
    with Lab(pg_bin=str(FOUND[-1])) as lab:
        assert lab.server == f"PostgreSQL {FOUND[-1].parent.name}.{lab.server.partition('.')[2]}"
        assert lab.matrix().unexpected() == []
