"""One lab a worker, on servers of its own; the header says which."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from zephyr_lab import Lab
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.model import Spec
from zephyr_lab.servers.embedded import Supervised

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

TIERS = {
    "lab": "server",
    "servers": "server",
    "production": "server",
    "postgres": "server",
    "valkey": "server",
    "browser": "browser",
}
"""What marks a test that uses one of these fixtures. What starts a server in another way is marked where it stands."""


def pytest_configure() -> None:
    """Ctrl-C is tested: a script's background ignores SIGINT, and Python then raises no KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks by what a test uses, and by `thorough_but("a", "b")`: of its parameters all but these are thorough."""
    for item in items:
        for fixture in TIERS.keys() & set(item.fixturenames):  # type: ignore[attr-defined]
            item.add_marker(TIERS[fixture])
    named: dict[str, set[str]] = {}
    for item in items:
        for mark in item.iter_markers("thorough_but"):
            parameters = item.callspec.id  # type: ignore[attr-defined]
            missing = named.setdefault(item.nodeid.removesuffix(f"[{parameters}]"), set(mark.args))
            if parameters not in mark.args:
                item.add_marker("thorough")
            missing.discard(parameters)
    for item in items:
        if item.get_closest_marker("thorough") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))
    missing = {test: sorted(ids) for test, ids in named.items() if ids}
    if missing and not any("::" in one for one in config.args):
        raise pytest.UsageError(f"thorough_but names parameters that are not there: {missing}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that is not marked `server` cannot start one in this process."""
    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("server"):
            patch.setattr(Supervised, "__init__", _unmarked)
        return (yield)


def _unmarked(*_: object) -> None:
    pytest.fail("this test starts a server: mark it with pytest.mark.server")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab on embedded servers, whatever the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ZEPHYR_LAB_PG_DSN", "ZEPHYR_LAB_REDIS_URL"):
            patch.delenv(name, raising=False)
        with Lab() as lab:
            yield lab


@pytest.fixture(scope="session")
def shared() -> Path:
    """PostgreSQL's specs and others' histories, which are no part of this project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ is not beside the project: other people's specs are not checked")
    return SHARED


def slots_spec(sessions: str, name: str = "slots") -> Spec:
    """A spec on a table of three slots: `sessions` is the rest of the file."""
    setup = """
    setup { create table slots (slot text primary key, booked int not null);
            insert into slots values ('a', 0), ('b', 0), ('c', 0); analyze slots; }
    teardown { drop table slots; }
    """
    return specfile.parse(setup + sessions, name=name)
