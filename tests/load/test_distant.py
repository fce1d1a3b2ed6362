"""Clients on the workers of a cluster: totals are exact, they begin together, and what cannot be is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from tests.load.test_runs import crowd, exact
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.load import Incident, Progress, distant, to_json
from zephyr_lab.load.distant import Cluster

LocalCluster = pytest.importorskip("distributed").LocalCluster
from distributed import Client  # noqa: E402


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def executor(client: Client) -> Executor:
    executor: Executor = client.get_executor(pure=False)
    return executor


@pytest.mark.thorough
def test_the_orders_of_all_clients_add_up(lab: Lab, executor: Executor) -> None:
    """Each has every second one; histograms and counts are merged, and the offsets of their clocks said."""
    seen: list[Progress] = []
    report = lab.incident(Incident(strategy="one-statement", rate=100, seconds=2, arrivals="constant", seed=3),
                          seen.append, executor=executor)  # fmt: skip
    exact(report)
    assert report.sent == 200
    assert report.incident.processes == 2
    assert report.counts.latency.total() == report.created
    assert max(one.sent for one in seen) > 0
    assert report.processes_lost == 0
    assert len(report.clocks) == 2
    assert all(one.error < 1 and abs(one.ahead) <= one.error for one in report.clocks)  # on one machine
    assert "of 2 clients on a cluster" in str(report)
    assert len(json.loads(to_json([report]))[0]["clocks"]) == 2
    alone = lab.incident(Incident(strategy="one-statement", rate=100, seconds=2, arrivals="constant", seed=3))
    assert alone.clocks == ()
    assert alone.sent == 200


@pytest.mark.thorough
@pytest.mark.parametrize(("strategy", "through"), [("redis-lua", "direct"), ("select-for-update", "grpc")])
def test_they_reach_the_labs_own_servers_on_this_machine(
    lab: Lab, executor: Executor, strategy: str, through: str
) -> None:
    exact(lab.incident(crowd(strategy, through=through), executor=executor))


@pytest.mark.thorough
def test_an_interrupt_ends_them_with_what_they_counted(lab: Lab, executor: Executor) -> None:
    interrupted: list[Progress] = []

    def stop(progress: Progress) -> None:
        if progress.sent > 10 and not interrupted:
            interrupted.append(progress)
            raise KeyboardInterrupt

    report = lab.incident(
        Incident(strategy="one-statement", rate=50, seconds=60, arrivals="constant"), stop, executor=executor
    )
    exact(report)
    assert report.stopped
    assert 10 < report.sent < 1_000


@pytest.mark.thorough
def test_workers_elsewhere_need_a_server_that_they_reach(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(executor)
    cluster.check_reach("the lab's own server")
    monkeypatch.setattr(distant, "_machine", lambda: "here")
    with pytest.raises(BadInput, match=r"own server is reached from this machine only, and the worker tcp://.*PG_DSN"):
        cluster.check_reach("the lab's own server")


def test_another_executor_is_refused() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(BadInput, match="ThreadPoolExecutor cannot promise"):
        Cluster(executor)
