"""Histories of the literature, each at the levels that it parts; `test_levels_by_brute_force` has the rest."""

from __future__ import annotations

import pytest

from zephyr_lab import check

LONG_FORK = [
    {"session": 0, "type": "ok", "ops": [["w", "x", 1]]},
    {"session": 1, "type": "ok", "ops": [["w", "y", 1]]},
    {"session": 2, "type": "ok", "ops": [["r", "x", 1], ["r", "y", None]]},
    {"session": 3, "type": "ok", "ops": [["r", "x", None], ["r", "y", 1]]},
]
"""Two readers see two writes in different orders."""
OWN_WRITE = [{"session": 0, "type": "ok", "ops": [["w", "x", 1], ["r", "x", 1], ["r", "x", None]]}]
GONE_AGAIN = [
    {"session": 0, "type": "ok", "ops": [["w", "x", 1]]},
    {"session": 1, "type": "ok", "ops": [["r", "x", 1], ["r", "x", None]]},
]


READ_ONLY = [
    {"session": 0, "type": "ok", "ops": [["r", "x", None], ["w", "y", 1]]},
    {"session": 1, "type": "ok", "ops": [["w", "x", 1]]},
    {"session": 2, "type": "ok", "ops": [["r", "x", 1], ["r", "y", None]]},
]
"""The read-only anomaly (Fekete, O'Neil, O'Neil, 2004): those who write are serializable, and not with who reads."""
AS_LISTS = [
    {**row, "ops": [["append", key, value] if kind == "w" else ["r", key, [value] if value else []]
                    for kind, key, value in row["ops"]]}
    for row in READ_ONLY
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "level", "valid"),
    [
        (READ_ONLY, "update-serializable", False),
        (READ_ONLY[:2], "update-serializable", True),
        (READ_ONLY, "snapshot-isolation", True),
        (AS_LISTS, "update-serializable", False),
        (AS_LISTS[:2], "update-serializable", True),
        (AS_LISTS, "snapshot-isolation", True),
        (LONG_FORK, "prefix", False),
        (LONG_FORK, "parallel-snapshot-isolation", True),
        (OWN_WRITE, "read-committed", False),
        (GONE_AGAIN, "monotonic-atomic-view", False),
        (GONE_AGAIN, "read-committed", True),
    ],
)
def test_registers_of_the_literature_get_its_verdicts(rows: list[dict], level: str, valid: bool) -> None:
    """Cerone, Bernardi, Gotsman (2015), figure 2; Biswas and Enea (2019)."""
    assert check.check(check.from_transactions(rows), level).valid is valid
