"""Other people's histories, with the verdicts of their tests, of Elle, and of up to three checkers of registers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import SHARED
from zephyr_lab import check
from zephyr_lab.check import levels
from zephyr_lab.check.report import Report

HISTORIES = SHARED / "histories"
MANIFEST = HISTORIES / "manifest.jsonl"
LABELLED = [json.loads(line) for line in MANIFEST.open()] if MANIFEST.exists() else []
# More of the same, a second and more each; those that stay are of all generators and verdicts.
BIG = (
    "dbcop-antidote_all_writes-3_30_20_180",
    "dbcop-roachdb_general_all_writes-6_30_40_360",
    "dbcop-galera_all_writes-6_30_20_360",
    "dbcop-roachdb_partition_writes-12",
    "veristrong-cobra-fauna-page",
    "veristrong-cobra-yuga-G2-b",
    "polysi-fig7-20",
    "dbcop-antidote_all_writes-6",
    "dbcop-antidote_all_writes-12",
    "dbcop-galera_all_writes-1",
    "dbcop-galera_all_writes-9",
    "dbcop-galera_partition_writes-1",
    "dbcop-galera_partition_writes-9",
)
OF_ANOMALY = {"G0": "read-uncommitted", "G1": "read-committed", "G2": "serializable", "dirty-update": "read-committed"}
OF_REGISTERS = {
    "rc": "monotonic-atomic-view",
    "ra": "read-atomic",
    "cc": "causal-cerone",
    "si": "strong-session-snapshot-isolation",
    "ser": "strong-session-serializable",
}


def ids(entries: list[dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(one, id=one["id"], marks=[pytest.mark.thorough] * one["id"].startswith(BIG)) for one in entries
    ]


ELLE = [one for one in LABELLED if one["id"].startswith("elle-")]
FRODO = [one for one in LABELLED if one["id"].startswith("frodo-")]
REGISTERS = [one for one in LABELLED if one.get("final")]

pytestmark = pytest.mark.skipif(not LABELLED, reason="other people's histories are not beside the project")


def reports(entry: dict[str, Any]) -> Any:
    """From a level to the report; the history is read once."""
    options = entry["expected"].get("opts") or {}
    assumed = check.Assumptions(*(bool(options.get(f"{name}-keys?")) for name in ("wfr", "sequential", "linearizable")))
    history = check.read(HISTORIES / entry["file"])
    return lambda level: check.check(history, level, assumed)


def named_by_search(names: list[str]) -> set[str]:
    """Without what Elle says when its search ran out of time, or had nothing to search."""
    return {one for one in names if not one.endswith(("-cycle-exists", "-timeout", "-graph"))}


def missing(report: Report, names: list[str]) -> set[str]:
    return named_by_search(names) - set(report.names)


@pytest.mark.parametrize("entry", ids(ELLE))
def test_a_history_gets_the_verdicts_of_elle(entry: dict[str, Any]) -> None:
    """Valid or not at every model Elle judged it at, its weakest violated models, and its anomalies among ours.

    Where Elle's search hit its limit, or picked one of several equally long lists, ours may find more.
    """
    expected, at = entry["expected"], reports(entry)
    for level, (valid, names) in (expected.get("levels_elle") or {}).items():
        if valid is None:
            continue  # Elle refused the history at this level
        report = at(level)
        if not (expected.get("partial") or "cycle-search-timeout" in names) or valid is False:
            assert report.valid is (None if valid == "unknown" else valid), level
        assert not missing(report, names), level
    options = expected.get("opts") or {}
    models = options.get("consistency-models") or [OF_ANOMALY[one] for one in options.get("anomalies") or []]
    report = at((models or ["strict-serializable"])[0])
    assert not missing(report, expected["anomaly_types"])
    if expected.get("not_") and not expected.get("partial") and "cycle-search-timeout" not in expected["anomaly_types"]:
        assert report.weakest == expected["not_"]
    elif expected.get("not_"):
        weakest = {below for level in report.weakest for below in levels.weaker(level)}
        assert weakest <= {below for level in expected["not_"] for below in levels.weaker(levels.canonical(level))}


@pytest.mark.parametrize("entry", ids(FRODO))
def test_a_history_of_frodo_has_at_least_its_anomaly(entry: dict[str, Any]) -> None:
    """Valid where its test says so; otherwise the anomaly is among those found."""
    report = reports(entry)("serializable")
    assert report.valid is entry["expected"]["valid"]
    assert not missing(report, entry["expected"]["anomaly_types"])


@pytest.mark.parametrize("entry", ids(REGISTERS))
def test_a_register_history_gets_the_verdicts_of_its_checkers(entry: dict[str, Any]) -> None:
    """Read committed (as the axiom has it), read atomic, causal, snapshot isolation, serializable; with sessions."""
    at = reports(entry)
    for short, level in OF_REGISTERS.items():
        if entry["final"][short] is not None:
            assert at(level).valid is entry["final"][short], level


def test_every_label_is_compared() -> None:
    """No history is left out."""
    assert len(ELLE) + len(FRODO) + len(REGISTERS) == len(LABELLED)
