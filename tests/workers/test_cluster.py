"""A Dask cluster of two processes: the same results, also when one of them is killed, and no server left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from zephyr_lab import Lab
from zephyr_lab.cli import app
from zephyr_lab.errors import MissingExtra, ServerUnavailable
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.workers import cluster as clusters

LocalCluster = pytest.importorskip("distributed").LocalCluster
from distributed import Client  # noqa: E402

SETUP = "create table slots (id int primary key, booked int not null); insert into slots values (1, 0)"


def told(found: Exploration) -> dict[str, Any]:
    return {**found.to_dict(), "seconds": 0}


def servers(pids: list[int]) -> list[int]:
    """The supervisors of servers among the children of processes, which end with them."""
    found = []
    for pid in pids:
        try:
            children = psutil.Process(pid).children(recursive=True)
            found += [one.pid for one in children if one.is_running() and "postgres" in one.name()]
        except psutil.NoSuchProcess:
            continue
    return found


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)  # until the system has ended them
    return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def workers(client: Client) -> list[int]:
    return list(client.run(os.getpid).values())


@pytest.mark.server
@pytest.mark.thorough
def test_a_worker_that_is_killed_changes_nothing(lab: Lab, client: Client) -> None:
    """Its piece is done by the other one; its server ends with it; the one that takes its place has one of its own."""
    case = lab.case("lost-update", "repeatable read").with_sessions(3)
    alone = case.explore(reduction=False)
    killed: list[int] = []
    their_servers: list[int] = []

    def kill(found: Exploration) -> None:
        if found.schedules > alone.schedules // 4 and not killed:
            killed.append(workers(client)[0])
            their_servers.extend(servers(killed))
            os.kill(killed[0], signal.SIGKILL)

    found = case.explore(reduction=False, executor=client.get_executor(pure=False), on_progress=kill)
    assert told(found) == told(alone)
    assert killed
    assert their_servers
    assert gone(their_servers)


@pytest.mark.server
@pytest.mark.thorough
def test_functions_run_on_a_cluster(lab: Lab, client: Client) -> None:
    """Closures of a test, which its workers cannot import by their names."""
    one = 1

    def book(conn: psycopg.Connection[Any]) -> int:
        row = conn.execute("select booked from slots where id = 1").fetchone()
        assert row
        conn.execute("update slots set booked = %s where id = 1", [row[0] + one])
        return int(row[0])

    functions: list[Callable[..., Any]] = [book, book, lambda conn: book(conn)]
    how: dict[str, Any] = {"setup": SETUP, "reduction": True}
    found = lab.explore(functions, **how, executor=client.get_executor(pure=False))
    assert told(found) == told(lab.explore(functions, **how))
    hunted = lab.hunt({"book": functions[2]}, setup=SETUP, executor=client.get_executor(pure=False))
    assert [one.kind for one in hunted.decisions.values()] == ["races"]


@pytest.mark.server
@pytest.mark.thorough
def test_labs_are_closed_with_the_one_that_asked_for_them(client: Client) -> None:
    with Lab() as lab:
        lab.matrix(["lost-update"], executor=client.get_executor(pure=False))
        assert len(servers(workers(client))) > 2
    assert servers(workers(client)) == []


@pytest.mark.server
@pytest.mark.thorough
def test_a_worker_that_is_closed_closes_its_lab() -> None:
    with ExitStack() as stack:
        cluster = stack.enter_context(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0"))
        client = stack.enter_context(Client(cluster, set_as_default=False))
        lab = stack.enter_context(Lab())
        lab.case("lost-update").explore(reduction=False, executor=client.get_executor(pure=False))
        left = servers(workers(client))
        assert left
        cluster.scale(0)
        assert gone(left)


@pytest.mark.server
@pytest.mark.thorough
def test_the_commands_take_a_cluster(client: Client, tmp_path: Path) -> None:
    """The dashboard is on standard error; functions of a file travel with its code."""
    address = client.scheduler.address
    program = [sys.executable, "-m", "zephyr_lab"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *words, "--cluster", address],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    (tmp_path / "till.py").write_text("def look(conn):\n    conn.execute('select booked from slots')\n")
    explored = run("explore", "lost-update", "--no-reduction", "--format", "json", "--checkpoint", "search")
    assert json.loads(explored.stdout)["schedules"] == 14, explored.stderr
    assert "dashboard: http" in explored.stderr
    assert (tmp_path / "search").exists()
    hunted = run("hunt", "till.py:look", "--setup", SETUP, "--format", "json")
    assert hunted.returncode == 0, hunted.stderr
    assert run("matrix", "lost-update").returncode == 0


def test_no_scheduler_and_no_library_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.2)
    with pytest.raises(ServerUnavailable, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 .*dask scheduler"):
        CliRunner().invoke(app, ["explore", "phantom", "--cluster", "tcp://127.0.0.1:9"], catch_exceptions=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"a Dask cluster needs distributed: pip install 'zephyr-lab\[cluster\]'"):
        CliRunner().invoke(app, ["explore", "phantom", "--cluster", "tcp://127.0.0.1:9"], catch_exceptions=False)
