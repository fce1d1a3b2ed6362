"""PostgreSQL for this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zephyr_lab.servers.embedded import start_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A superuser's DSN."""
    server, dsn = start_postgres()
    yield dsn
    server.close()
