"""From edges to anomalies: which orders count at which level, and what is proved where the search gives up."""

from __future__ import annotations

import numpy as np
import pytest

from zephyr_lab.check import cycles
from zephyr_lab.check.graph import Edges, Kind
from zephyr_lab.check.history import History
from zephyr_lab.check.inference import Inference
from zephyr_lab.check.phenomena import Findings, examine
from zephyr_lab.check.read import from_transactions

WW, WR, RW = Kind.WW, Kind.WR, Kind.RW
Edge = tuple[int, int, Kind]


def history_of(sessions: str, timed: bool = True) -> History:
    """A transaction for each digit, in that session; each ends before the next one begins."""
    return from_transactions(
        {
            "session": int(one),
            "type": "ok",
            "ops": [["append", "x", i]],
            **({"t0": 2 * i, "t1": 2 * i + 1} if timed else {}),
        }
        for i, one in enumerate(sessions)
    )


def inferred(*edges: Edge, predicate: bool = False, nodes: int = 4) -> Inference:
    parts = [
        Edges.of(np.array([one]), np.array([other]), kind, nodes, predicate=predicate) for one, other, kind in edges
    ]
    return Inference(parts, nodes)


def names(sessions: str, level: str, *edges: Edge, timed: bool = True) -> list[str]:
    return examine(history_of(sessions, timed), inferred(*edges), level).names


@pytest.mark.parametrize(
    ("level", "found"),
    [
        ("serializable", []),
        ("snapshot-isolation", []),
        ("strong-session-serializable", ["G0-process"]),
        ("strong-serializable", ["G0-process", "G0-realtime"]),
    ],
)
def test_the_order_of_a_session_counts_at_the_levels_that_have_it(level: str, found: list[str]) -> None:
    """Daudjee and Salem (2006): strong session levels; the strong ones count real time, which has it in it."""
    assert names("00", level, (1, 0, WW)) == found


@pytest.mark.parametrize(
    ("level", "found"), [("strong-session-serializable", []), ("strong-serializable", ["G1c-realtime"])]
)
def test_real_time_counts_at_the_strong_levels_only(level: str, found: list[str]) -> None:
    """Of two sessions; where no time is known there is none."""
    assert names("01", level, (1, 0, WR)) == found
    assert names("01", level, (1, 0, WR), timed=False) == []


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ([(0, 1, WW), (1, 0, WW)], ["G0"]),
        ([(0, 1, WW), (1, 0, WR)], ["G1c"]),
        ([(0, 1, RW), (1, 0, WR)], ["G-single-item"]),
        ([(0, 1, RW), (1, 0, RW)], ["G2-item"]),
        ([(0, 1, WW)], []),
        ([(0, 1, RW), (1, 2, WW), (2, 3, RW), (3, 0, WW)], ["G-nonadjacent-item"]),
    ],
)
def test_cycles_of_the_data_have_adyas_names(edges: list[Edge], found: list[str]) -> None:
    """At any level; nothing more is proved of what was named."""
    for level in ("serializable", "read-committed"):
        findings = examine(history_of("0123"), inferred(*edges), level)
        assert (findings.names, findings.exists, findings.empty) == (found, [], False)
        assert {name: [cycle.anomaly for cycle in some] for name, some in findings.cycles.items()} == {
            name: [name] for name in found
        }


def test_anomalies_without_a_cycle_come_first() -> None:
    """As they were inferred; a history without any dependency says so."""
    inference = inferred((0, 1, WW), (1, 0, WW))
    inference.add("G1a", read=1)
    found = examine(history_of("01"), inference, "serializable")
    assert found.names == ["G1a", "G0"]
    assert found.cases == {"G1a": [{"read": 1}]}
    assert examine(history_of("01"), inferred(), "serializable").empty
    assert not examine(history_of("00"), inferred(), "strong-session-serializable").empty


def test_a_cycle_that_is_not_named_is_proved_to_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that gives up does not make a history valid: for each level the cycle that it forbids is decided."""
    monkeypatch.setattr(cycles, "find", lambda *_: [])

    def proved(sessions: str, level: str, *edges: Edge, predicate: bool = False) -> list[str]:
        return examine(history_of(sessions), inferred(*edges, predicate=predicate), level).exists

    ww, wr, single, g2 = (
        [(0, 1, WW), (1, 0, WW)],
        [(0, 1, WW), (1, 0, WR)],
        [(0, 1, RW), (1, 0, WR)],
        [(0, 1, RW), (1, 0, RW)],
    )
    assert proved("01", "serializable", *ww) == ["read-uncommitted"]
    assert proved("01", "serializable", *wr) == ["read-committed"]
    assert proved("01", "serializable", *single) == ["snapshot-isolation", "repeatable-read"]
    assert proved("01", "serializable", *g2) == ["repeatable-read"]
    assert proved("01", "serializable", *g2, predicate=True) == ["serializable"]
    assert proved("01", "serializable", (0, 1, WW)) == []
    for level, order in (("strong-session-serializable", "strong-session-"), ("strong-serializable", "strong-")):
        sessions = "00" if order == "strong-session-" else "01"
        assert proved(sessions, level, (1, 0, WW)) == [f"{order}read-uncommitted"]
        assert proved(sessions, level, (1, 0, WR)) == [f"{order}read-committed"]
        assert proved(sessions, level, (1, 0, RW)) == [f"{order}snapshot-isolation"]
    assert proved("010", "strong-session-serializable", (2, 1, RW), (1, 0, RW)) == ["strong-session-serializable"]
    barred = examine(history_of("01"), inferred(*g2), "serializable")
    assert barred.names == ["repeatable-read-cycle-exists"] == [Findings.name_of("repeatable-read")]
