"""pytest plugin: a test runs functions of its own project in every order, and fails with the order that breaks them.

`docs/pytest.md` shows how to use it. Loading it imports pytest and the standard library only: drivers and servers
come with the first test that uses the fixture `zephyr`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from zephyr_lab.options import TEST_OPTIONS, ExploreOptions
from zephyr_lab.testing import (
    EXPLORED,
    INCOMPLETE,
    NOT_COMPARED,
    REPLAYED,
    UNSAID,
    Replayed,
    Zephyr,
    changed,
    levels_named,
    refusals_named,
    seconds_of,
)

HUNT_FORMATS = ("text", "json", "sarif", "html")

if TYPE_CHECKING:
    from zephyr_lab.lab import Lab
    from zephyr_lab.wire.service import Service

# -- options and settings


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zephyr", "every order of a test's sessions (zephyr_lab)")
    group.addoption("--zephyr-replay", metavar="SCHEDULE", help='run only this schedule, such as "A B B A"')
    group.addoption(
        "--zephyr-export", metavar="FILE", action="append", default=[],
        help="write the counterexample of the test that fails to this file: .html, .spec, .sql or .py; can be repeated",
    )  # fmt: skip
    group.addoption("--zephyr-budget", metavar="SECONDS", type=seconds_of, help=ExploreOptions.about("budget").help)
    group.addoption("--zephyr-isolation", metavar="LEVELS", help="isolation levels of tests that name none: a,b or all")
    group.addoption("--zephyr-dsn", metavar="DSN", help="PostgreSQL to use instead of a temporary one")
    group.addoption("--zephyr-redis-url", metavar="URL", help="Redis or Valkey to use instead of a temporary one")
    group.addoption("--zephyr-hunt", action="store_true", help="hunt for races among what the suite asks PostgreSQL")
    group.addoption("--zephyr-hunt-budget", metavar="SECONDS", type=seconds_of, help="time of that hunt (60)")
    group.addoption("--zephyr-hunt-format", choices=HUNT_FORMATS, help="form of its report (text)")
    group.addoption("--zephyr-hunt-output", metavar="FILE", help="write the report to this file")
    group.addoption(
        "--zephyr-hunt-strict", action="store_true", default=None, help="races, and what is undecided, fail the run"
    )
    parser.addini("zephyr_hunt_setup", "file.sql or module:function that makes the tables of --zephyr-hunt")
    parser.addini("zephyr_budget", "seconds that an exploration may take where a test names none")
    parser.addini("zephyr_isolation", "level of tests that name none: a,b or all (default: read committed)")
    parser.addini("zephyr_refusals", "SQLSTATEs and exceptions' full names that are refusals where a test names none")
    parser.addini("zephyr_dsn", "a PostgreSQL to work on, in a schema of its own (default: ZEPHYR_LAB_PG_DSN)")
    parser.addini("zephyr_redis_url", "a Redis or Valkey to work on (default: ZEPHYR_LAB_REDIS_URL)")


def _setting(config: pytest.Config, name: str) -> Any:
    """The option, else the ini file's, else None."""
    option = config.getoption(f"--{name.replace('_', '-')}")
    return (config.getini(name) or None) if option is None else option


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"zephyr({', '.join(f'{name}=...' for name in TEST_OPTIONS)}): "
        "how the fixture `zephyr` explores; isolation is a level, a list of them, or 'all'",
    )
    if level := _setting(config, "zephyr_isolation"):
        levels_named(level)
    if budget := config.getini("zephyr_budget"):
        seconds_of(budget)
    if config.getoption("--zephyr-hunt"):
        from zephyr_lab.suite.plugin import SuiteHunt  # with psycopg, and a parser of SQL

        config.pluginmanager.register(SuiteHunt(config), "zephyr-hunt")


def _marked(node: pytest.Item) -> ExploreOptions:
    """The options of the markers of a test, its class and its module, the nearest last. Raises UsageError."""
    options = UNSAID
    for mark in reversed(list(node.iter_markers("zephyr"))):
        options = changed(options, mark.kwargs, mark.args)
    return options


def _levels_of(node: pytest.Item) -> list[str]:
    return levels_named(
        _marked(node).isolation or _setting(node.config, "zephyr_isolation") or ExploreOptions.isolation
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with several levels becomes one test for each."""
    if "zephyr_isolation" not in metafunc.fixturenames:
        return
    try:
        levels = _levels_of(metafunc.definition)
    except pytest.UsageError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {error}") from None
    if len(levels) > 1:
        ids = [level.replace(" ", "-") for level in levels]
        metafunc.parametrize("zephyr_isolation", levels, indirect=True, ids=ids)


# -- fixtures


@pytest.fixture(scope="session")
def zephyr_dsn(pytestconfig: pytest.Config) -> str | None:
    """The DSN of an external PostgreSQL, if any. Override it if your tests start one."""
    dsn: str | None = _setting(pytestconfig, "zephyr_dsn")
    return dsn


@pytest.fixture(scope="session")
def zephyr_redis_url(pytestconfig: pytest.Config) -> str | None:
    """The URL of an external Redis or Valkey, if any."""
    url: str | None = _setting(pytestconfig, "zephyr_redis_url")
    return url


@pytest.fixture(scope="session")
def _zephyr_lab(zephyr_dsn: str | None, zephyr_redis_url: str | None) -> Iterator[Lab]:
    """One lab per worker."""
    from zephyr_lab.errors import ServerUnavailable
    from zephyr_lab.lab import Lab

    try:
        lab = Lab(pg_dsn=zephyr_dsn, redis_url=zephyr_redis_url)
    except ServerUnavailable as error:
        pytest.fail(f"zephyr: {error}", pytrace=False)
    with lab:
        yield lab


@pytest.fixture(scope="session")
def zephyr_service(_zephyr_lab: Lab) -> Callable[..., Service]:
    """Starts a service of yours on the lab's servers, for a fixture of yours of any scope; as `Lab.service` does.

    with zephyr_service("./shop") as shop:
        yield shop
    """
    return _zephyr_lab.service


@pytest.fixture
def zephyr_isolation(request: pytest.FixtureRequest) -> str:
    """The isolation level that the test runs at, such as `read committed`."""
    if hasattr(request, "param"):
        return str(request.param)
    levels = _levels_of(request.node)
    if len(levels) > 1:
        raise pytest.UsageError("zephyr: a test at several levels must name the fixture `zephyr` as its argument")
    return levels[0]


@pytest.fixture
def zephyr(request: pytest.FixtureRequest, zephyr_isolation: str, _zephyr_lab: Lab) -> Zephyr:
    """Runs functions of yours, each a session, in every order of their round trips to a real PostgreSQL."""
    options = replace(_marked(request.node), isolation=zephyr_isolation)
    if options.budget is None and (budget := request.config.getini("zephyr_budget")):
        options = replace(options, budget=seconds_of(budget))
    if not options.refusals:
        options = replace(options, refusals=refusals_named(request.config.getini("zephyr_refusals")))
    # pytest-django blocks the project's database for tests without its mark; sessions do not use that database.
    has_django = any(map(request.config.pluginmanager.has_plugin, ("django", "pytest_django.plugin")))  # -p names it so
    blocker = request.getfixturevalue("django_db_blocker") if has_django else None
    return Zephyr(_zephyr_lab, request.node, options, blocker.unblock if blocker else contextlib.nullcontext)


# -- reports

_SAID_IF_RIGHT = (INCOMPLETE, NOT_COMPARED)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call() -> Generator[None, Any, Any]:
    """A test whose schedule was replayed has passed, whatever it would have checked next."""
    try:
        return (yield)
    except Replayed:
        return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was replayed without an anomaly; what was not explored, or not compared; and with -v every exploration."""
    reports = [
        one for several in terminalreporter.stats.values() for one in several
        if isinstance(one, pytest.TestReport) and one.when == "call"
    ]  # fmt: skip
    shown = []
    for one in reports:
        for name, text in one.user_properties:
            if name == REPLAYED:
                shown.append(f"{one.nodeid}\n{text}\n")
            elif terminalreporter.verbosity > 0 if name == EXPLORED else name in _SAID_IF_RIGHT and not one.failed:
                shown.append(f"{one.nodeid}: {text}")
    if terminalreporter.config.getoption("--zephyr-replay"):
        replayed = any(name == REPLAYED for one in reports for name, _ in one.user_properties)
        if not replayed and not any(one.failed for one in reports):
            shown.append("nothing was replayed: no test that was run explores")
    if shown and not terminalreporter.no_summary:
        terminalreporter.section("zephyr")
        for text in shown:
            terminalreporter.write_line(text)
