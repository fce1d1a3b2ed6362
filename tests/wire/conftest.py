"""PostgreSQL and Valkey for this folder's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zephyr_lab.servers.embedded import start_postgres, start_valkey


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A superuser's DSN."""
    server, dsn = start_postgres()
    yield dsn
    server.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """A URL, of a unix socket."""
    server, url = start_valkey()
    yield url
    server.close()
