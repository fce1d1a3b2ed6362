"""Small histories that a checker is easily wrong about, each with the verdicts that the literature gives it."""

from __future__ import annotations

import pytest

from tests.conftest import SHARED
from zephyr_lab import check
from zephyr_lab.check import levels
from zephyr_lab.errors import BadInput

HISTORIES = SHARED / "review" / "histories"

pytestmark = pytest.mark.skipif(
    not HISTORIES.is_dir(), reason="other people's small histories are not beside the project"
)

ABOVE_READ_UNCOMMITTED = [one for one in levels.IMPLIES if not one.endswith("read-uncommitted")]
VERDICTS = [
    ("a_future", ABOVE_READ_UNCOMMITTED, False, "future-read"),  # a cycle of information, which PL-1 does not forbid
    ("c_fractured_list", ["monotonic-atomic-view"], False, "non-monotonic-read"),
    ("c_fractured_list", ["read-atomic"], False, "fractured-read"),
    ("c_fractured_list", ["causal-cerone"], False, "non-causal-read"),
    ("c_fractured_list", ["prefix"], False, "prefix-cycle-exists"),
    ("c_fractured_list", ["read-committed", "cursor-stability"], True, ""),
    ("d_info", ["strict-serializable", "strong-session-serializable"], None, ""),
    ("f_unread", ["snapshot-isolation"], False, "snapshot-isolation-cycle-exists"),
    ("f_unread", ["prefix", "read-atomic"], True, ""),
    ("g_thin", list(levels.IMPLIES), False, "thin-air-read"),
    ("h_rr", ["repeatable-read"], False, "repeatable-read-cycle-exists"),
    ("h_rr", ["update-serializable"], False, "update-serializable-cycle-exists"),
    ("h_rr", ["serializable"], False, "serializable-cycle-exists"),
    ("h_rr", ["snapshot-isolation"], True, ""),
    ("tb2", ["read-committed", "serializable"], None, ""),
]


@pytest.mark.parametrize(("name", "asked", "valid", "anomaly"), VERDICTS)
def test_a_small_history_gets_its_verdict(name: str, asked: list[str], valid: bool | None, anomaly: str) -> None:
    """At each of the levels, and named."""
    history = check.read(HISTORIES / f"{name}.jsonl")
    for level in asked:
        report = check.check(history, level)
        assert report.valid is valid, level
        assert not anomaly or anomaly in report.forbidden, level


def test_an_event_of_no_type_is_bad_input() -> None:
    """With its line, and no traceback."""
    with pytest.raises(BadInput, match="it is invoke, ok, fail or info"):
        check.read(HISTORIES / "tb1.edn")
