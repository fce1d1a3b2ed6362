"""Faults of a run: how they are written, that each is brought about and gone, and when the service is back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.load.test_runs import exact
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.load import Incident
from zephyr_lab.load.counts import Counts, Outcome
from zephyr_lab.load.faults import Fault, Happened, Line
from zephyr_lab.load.report import Report
from zephyr_lab.load.server_monitor import Cpu, Seen
from zephyr_lab.load.truth import Truth

GRPC: dict[str, Any] = {"through": "grpc", "deadline": 2, "tries": 20}
REDIS = {"strategy": "redis-lua-idempotent"}


def test_faults_are_read() -> None:
    """With and without the letter of seconds; the line as seconds and shares."""
    one = Incident(kill="redis@5", stall="service@1.5s:2", lock="slots@0s:0.5s", through="grpc", **REDIS).check()
    assert one.faults == [
        Fault("kill", "redis", 5.0),
        Fault("stall", "service", 1.5, 2.0),
        Fault("lock", "slots", 0, 0.5),
    ]
    assert Incident(network="delay=20ms,loss=1%", cut="commit/7").line == Line(0.02, 0.01, 7)
    assert Incident(cut="commit").line == Line(cut=100)
    assert Incident().line is None


BAD = {
    "an unknown target": ({"kill": "mysql@1s"}, "write service@5s; there are: postgres, backend"),
    "no time": ({"kill": "redis"}, "write service@5s"),
    "a stall without an end": ({"stall": "redis@1s"}, "write service@5s:3s"),
    "a lock beyond the run": ({"lock": "orders@8s:3s"}, "within the run of 10 seconds"),
    "a service in the clients": ({"kill": "service@1s"}, "add --through grpc"),
    "a strategy without Redis": ({"stall": "redis@1s:1s", "strategy": "one-statement"}, "take redis-lua-idempotent"),
    "an unknown network": ({"network": "jitter=1ms"}, "write delay=20ms,loss=1%"),
    "a network that loses all": ({"network": "loss=100%"}, "a loss of at most 50%"),
    "another cut": ({"cut": "begin"}, "write commit, or commit/20"),
    "tries without a client": ({"tries": 3}, "add --through grpc"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be_brought_about_is_refused(name: str) -> None:
    """Before anything is started, with what would be right."""
    fields, said = BAD[name]
    with pytest.raises(BadInput, match=said):
        Incident(**fields).check()


def _report(created: list[int]) -> Report:
    """Of a run of three seconds, in which ten orders a quarter of a second were asked for."""
    counts = Counts(outcomes=bytearray([Outcome.CREATED] * sum(created)))
    counts.offered.update(dict.fromkeys(range(12), 10))
    counts.created.update(dict(enumerate(created)))
    cpu = Cpu(0, 0, 0, 0, 2, 3)
    return Report(Incident(rate=40, seconds=3), "", counts, Truth(), Seen(), cpu, 0)


def test_it_is_back_when_it_stays_back() -> None:
    """For a second and for the rest; a burst of what had waited is not yet it."""
    fault = Happened("locked orders", 0.5, 1.0)
    assert _report([10] * 12).recovered(fault) == 0
    assert _report([10, 10, 0, 0, 0, 0, 20, 15, 10, 10, 10, 10]).recovered(fault) == 0.25
    assert _report([10, 10, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0]).recovered(fault) is None
    assert _report([10, 10] + [0] * 10).recovered(fault) is None


def test_answers_to_commit_that_are_lost_cost_no_order(lab: Lab) -> None:
    """Each is asked for again by its id; with a lock in the midst, after which the service is back: all are served but
    one or two, who are told so, where the slots of the day were being read in a transaction that lost its answer.
    """
    report = lab.incident(
        Incident(strategy="one-statement", rate=60, seconds=1.6, cut="commit/10", lock="orders@0.1s:0.2s")
    )
    exact(report)
    assert report.wrong == []
    assert 0.9 * report.sent <= report.created == report.sent - report.counts.errors["OperationalError"]
    assert report.counts.refusals["OperationalError"] >= 5
    ((fault),) = report.faults
    assert (fault.name, report.problems) == ("locked orders", ())
    assert 0.1 <= fault.began < fault.gone - 0.2
    assert f"locked orders at {fault.began:.1f} s" in str(report)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("killed postmaster", {"kill": "postmaster@1s", **GRPC}),
        ("killed redis", {"kill": "redis@1s", **REDIS, **GRPC}),
        ("killed service", {"kill": "service@1s", **GRPC}),
        ("stalled redis", {"stall": "redis@1s:1s", **REDIS, **GRPC}),
        ("stalled postgres", {"stall": "postgres@1s:1s", **GRPC}),
        ("stalled service", {"stall": "service@1s:1s", **GRPC}),
        ("locked slots", {"lock": "slots@1s:1s", **GRPC}),
    ],
)
def test_the_service_is_back_within_three_seconds(lab: Lab, name: str, conditions: dict[str, Any]) -> None:
    """After the fault is gone; nothing acknowledged is lost, nothing doubled or oversold."""
    report = lab.incident(Incident(**{"strategy": "one-statement", "rate": 40, "seconds": 9, **conditions}))
    assert [one.name for one in report.faults] == [name]
    assert report.problems == ()
    assert not report.breaks_a_promise, report
    back = report.recovered(report.faults[0])
    assert back is not None, report
    assert back <= 3, report
    assert lab.case("lost-update").run().final, "the lab's own sessions are there again"


@pytest.mark.thorough
def test_a_bad_network_makes_orders_late_and_not_wrong(lab: Lab) -> None:
    """Each message takes ten milliseconds each way."""
    report = lab.incident(Incident(strategy="one-statement", rate=20, seconds=2, network="delay=10ms,loss=1%"))
    exact(report)
    assert report.wrong == []
    assert report.latency(0.01) > 2 * 10, "one message, and its answer"
