"""The checker's levels as a lattice: which implies which, and which anomaly rules out which."""

from __future__ import annotations

from functools import cache
from typing import Any

from zephyr_lab.check.levels import FORBIDS, IMPLIES, SPECIAL_CASE_OF, title, violated_by, weaker

# What the server is held to at each of its levels (`explore.recording`).
POSTGRESQL = {
    "read-committed": "READ COMMITTED", "snapshot-isolation": "REPEATABLE READ", "serializable": "SERIALIZABLE",
}  # fmt: skip
# The case of the catalogue that shows an anomaly, or the attempt at one that PostgreSQL prevents.
CASES = {
    "G0": "dirty-write", "G1a": "aborted-read", "G1b": "intermediate-read", "G1c": "circular-information-flow",
    "G-single": "read-skew", "lost-update": "lost-update", "write-skew": "write-skew", "G2": "write-skew-predicate",
    "G2-item": "write-skew", "non-monotonic-read": "non-repeatable-read", "fractured-read": "read-skew",
}  # fmt: skip


@cache
def height(level: str) -> int:
    """How many levels are below it, one below the other."""
    return max((1 + height(one) for one in IMPLIES[level]), default=0)


def lattice() -> dict[str, Any]:
    """`rows` of levels, the strictest first; `levels` and `anomalies` with all that follows from each."""
    anomalies = sorted({*SPECIAL_CASE_OF, *(one for names in FORBIDS.values() for one in names)}, key=str.lower)
    fallen = {name: sorted(violated_by(name)) for name in anomalies}
    rows: list[list[str]] = [[] for _ in range(max(map(height, IMPLIES)) + 1)]
    for level in sorted(IMPLIES):
        rows[height(level)].append(level)
    return {
        "rows": rows[::-1],
        "levels": {
            level: {
                "title": title(level),
                "implies": list(IMPLIES[level]),
                "weaker": sorted(weaker(level) - {level}),
                "stronger": sorted(one for one in IMPLIES if level in weaker(one) and one != level),
                "forbids": [name for name in anomalies if level in fallen[name]],
                "server": POSTGRESQL.get(level, ""),
            }
            for level in IMPLIES
        },
        "anomalies": {name: {"rules_out": fallen[name], "case": CASES.get(name, "")} for name in anomalies},
    }
