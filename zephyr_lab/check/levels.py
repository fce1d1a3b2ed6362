"""Isolation levels, the anomalies each forbids, and which level implies which; named as Elle names them.

Sources. Adya, "Weak Consistency" (1999): read uncommitted (PL-1), read committed (PL-2), cursor stability, consistent
view (PL-2+), repeatable read (PL-2.99), snapshot isolation, update serializable, serializable (PL-3), strict
serializable (PL-SS). Bailis et al., "Highly Available Transactions" (VLDB 2013): monotonic atomic view, the order of
the weak levels. Cerone, Bernardi, Gotsman, "A Framework for Transactional Consistency Models with Atomic Visibility"
(CONCUR 2015): read atomic, causal, update atomic, parallel snapshot isolation, prefix. Cerone, Gotsman, "Analysing
Snapshot Isolation" (PODC 2016): snapshot isolation is the absence of cycles without two rw in a row. Daudjee, Salem
(VLDB 2006): strong session levels, where a session's order counts; strong ones, where real time counts. Crooks et al.,
"Seeing is Believing" (PODC 2017): all of these as what a client can see. Biswas, Enea, "On the Complexity of Checking
Transactional Consistency" (OOPSLA 2019): the weak levels as axioms on reads of registers. Terry et al., "Session
Guarantees" (PDIS 1994), and Brzezinski et al. (PDP 2004): the guarantees of sessions, and PRAM (see `sessions`).

`repeatable-read` is Adya's, and not PostgreSQL's REPEATABLE READ, which is snapshot isolation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache

from zephyr_lab.errors import BadInput

IMPLIES: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "cursor-stability": ("read-committed",),
    "monotonic-view": ("read-committed",),
    "monotonic-snapshot-read": ("read-committed",),
    "monotonic-atomic-view": ("read-committed",),
    "read-atomic": ("monotonic-atomic-view",),
    "causal-cerone": ("read-atomic",),
    "update-atomic": ("read-atomic",),
    "prefix": ("causal-cerone",),
    "parallel-snapshot-isolation": ("causal-cerone", "update-atomic"),
    "consistent-view": ("cursor-stability", "monotonic-view"),
    "forward-consistent-view": ("consistent-view",),
    "update-serializable": ("forward-consistent-view",),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "snapshot-isolation": (
        "forward-consistent-view",
        "monotonic-atomic-view",
        "monotonic-snapshot-read",
        "parallel-snapshot-isolation",
        "prefix",
    ),
    "serializable": ("repeatable-read", "snapshot-isolation", "update-serializable"),
    "strong-session-read-uncommitted": ("read-uncommitted",),
    "read-your-writes": ("read-committed",),
    "monotonic-reads": ("read-committed",),
    "monotonic-writes": ("read-committed",),
    "writes-follow-reads": ("read-committed",),
    "pram": ("read-your-writes", "monotonic-reads", "monotonic-writes"),
    "strong-session-read-committed": (
        "read-committed",
        "strong-session-read-uncommitted",
        "monotonic-writes",
        "writes-follow-reads",
    ),
    "strong-session-snapshot-isolation": (
        "snapshot-isolation",
        "strong-session-parallel-snapshot-isolation",
        "strong-session-prefix",
    ),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-read-uncommitted": ("strong-session-read-uncommitted",),
    "strong-read-committed": ("strong-session-read-committed", "strong-read-uncommitted"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation", "strong-read-committed"),
    "strong-serializable": ("strong-session-serializable", "strong-snapshot-isolation"),
    # The levels of Biswas and Enea, and of Cerone, Bernardi and Gotsman, all include session order.
    "strong-session-monotonic-atomic-view": ("monotonic-atomic-view", "strong-session-read-committed"),
    "strong-session-read-atomic": ("read-atomic", "strong-session-monotonic-atomic-view", "read-your-writes"),
    "strong-session-causal": ("causal-cerone", "strong-session-read-atomic", "pram"),
    "strong-session-prefix": ("prefix", "strong-session-causal"),
    "strong-session-parallel-snapshot-isolation": ("parallel-snapshot-isolation", "strong-session-causal"),
}
"""Each level with the weaker ones that it implies directly."""

ALIASES = {
    "strict-serializable": "strong-serializable",
    "pl-1": "read-uncommitted",
    "pl-2": "read-committed",
    "pl-2l": "monotonic-view",
    "pl-cs": "cursor-stability",
    "pl-2+": "consistent-view",
    "pl-msr": "monotonic-snapshot-read",
    "pl-fcv": "forward-consistent-view",
    "pl-2.99": "repeatable-read",
    "pl-3u": "update-serializable",
    "pl-si": "snapshot-isolation",
    "pl-3": "serializable",
    "pl-ss": "strong-serializable",
    "conflict-serializable": "serializable",
    "rola": "update-atomic",
    "causal": "strong-session-causal",
    "causal-consistency": "strong-session-causal",
    "read-my-writes": "read-your-writes",
    "ryw": "read-your-writes",
    "mr": "monotonic-reads",
    "mw": "monotonic-writes",
    "wfr": "writes-follow-reads",
    "pipelined-ram": "pram",
    "fifo": "pram",
}

OF_REGISTERS = {
    "monotonic-atomic-view": "strong-session-monotonic-atomic-view",
    "read-atomic": "strong-session-read-atomic",
    "causal-cerone": "strong-session-causal",
    "prefix": "strong-session-prefix",
    "parallel-snapshot-isolation": "strong-session-parallel-snapshot-isolation",
}
"""What is checked of registers when a weak level is requested: with sessions, as checkers of registers define it."""

_VARIANTS = ("", "-process", "-realtime")


def _anomalies() -> dict[str, tuple[str, ...]]:
    """Each anomaly with its generalisations."""
    implied: dict[str, tuple[str, ...]] = {
        "G1a": ("G1",),
        "G1b": ("G1",),
        "incompatible-order": ("G1a",),
        "dirty-update": ("G1a",),
        "future-read": ("G1c",),
        "lost-update": ("write-skew", "G2-item"),
        "write-skew": ("G2",),
        "non-monotonic-read": ("non-monotonic-read-process",),
        "fractured-read": ("fractured-read-process",),
        "non-causal-read": ("non-causal-read-process",),
    }
    special = {
        "G0": ("G1c",),
        "G1c": ("G1",),
        "G1": (),
        "G-single-item": ("G-single", "G-nonadjacent-item"),
        "G-single": ("G-nonadjacent",),
        "G-nonadjacent-item": ("G-nonadjacent", "G2-item"),
        "G-nonadjacent": ("G2",),
        "G2-item": ("G2",),
        "G2": (),
    }
    for name, wider in special.items():
        for i, variant in enumerate(_VARIANTS):
            # A cycle without session order is one with it; and session order is a part of real time.
            also = (name + _VARIANTS[i + 1],) if i + 1 < len(_VARIANTS) else ()
            implied[name + variant] = tuple(one + variant for one in wider) + also
    return implied


SPECIAL_CASE_OF = _anomalies()

FORBIDS: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": ("G0", "duplicate-elements", "cyclic-versions", "thin-air-read", "predicate-mismatch"),
    "read-committed": ("G1", "own-write-unseen"),
    "cursor-stability": ("G1", "lost-update"),
    "monotonic-atomic-view": ("non-monotonic-read",),
    "read-atomic": ("internal", "G1a", "future-read", "fractured-read"),
    "causal-cerone": ("internal", "G1a", "non-causal-read"),
    "update-atomic": ("lost-update",),
    "prefix": ("internal", "G1a"),
    "parallel-snapshot-isolation": ("internal", "G1a"),
    "consistent-view": ("G1", "G-single"),
    "repeatable-read": ("G1", "G2-item", "lost-update"),
    "snapshot-isolation": ("internal", "G1", "G-nonadjacent"),
    "serializable": ("internal", "G1", "G2", "predicate-read-miss"),
    "strong-session-read-uncommitted": ("G0-process",),
    "strong-session-read-committed": ("G1c-process",),
    "strong-session-snapshot-isolation": ("internal", "G1-process", "G-nonadjacent-process"),
    "strong-session-serializable": ("G1-process", "G2-process"),
    "strong-read-uncommitted": ("G0-realtime",),
    "strong-read-committed": ("G1c-realtime",),
    "strong-snapshot-isolation": ("internal", "G1-realtime", "G-nonadjacent-realtime"),
    "strong-serializable": ("G1-realtime", "G2-realtime"),
    "strong-session-monotonic-atomic-view": ("non-monotonic-read-process",),
    "strong-session-read-atomic": ("fractured-read-process",),
    "strong-session-causal": ("non-causal-read-process",),
    "read-your-writes": ("own-session-write-unseen",),
    "monotonic-reads": ("non-monotonic-session-read",),
    "monotonic-writes": ("non-monotonic-write",),
    "writes-follow-reads": ("write-before-read",),
    "pram": ("non-pram-read",),
}
"""What each level forbids beyond the levels it implies. `LEVEL-cycle-exists` belongs to its level, too."""

CYCLE_EXISTS = "-cycle-exists"


def canonical(level: str) -> str:
    """The canonical name of a level. Raises BadInput, listing the levels, for an unknown one."""
    name = "-".join(str(level).lower().replace("_", " ").replace("-", " ").split())
    name = ALIASES.get(name, ALIASES.get(str(level).lower(), name))
    if name not in IMPLIES:
        raise BadInput(f"unknown level {level!r}; known are: {', '.join(sorted([*IMPLIES, 'strict-serializable']))}")
    return name


def title(level: str) -> str:
    """The name of a level in a sentence: for the strictest, the usual one of two."""
    return "strict-serializable" if level == "strong-serializable" else level


def _closure(starts: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    seen, left = set(), list(starts)
    while left:
        if (one := left.pop()) not in seen:
            seen.add(one)
            left += edges.get(one, ())
    return seen


@cache
def weaker(level: str) -> frozenset[str]:
    """The level itself and all that it implies."""
    return frozenset(_closure([level], IMPLIES))


@cache
def violated_by(anomaly: str) -> frozenset[str]:
    """All levels that an anomaly rules out."""
    if anomaly.endswith(CYCLE_EXISTS):
        forbidding = {anomaly.removesuffix(CYCLE_EXISTS)}
    else:
        general = _closure([anomaly], SPECIAL_CASE_OF)
        forbidding = {level for level, forbidden in FORBIDS.items() if general & set(forbidden)}
    return frozenset(level for level in IMPLIES if weaker(level) & forbidding)


def boundary(anomalies: Iterable[str]) -> tuple[list[str], list[str]]:
    """The weakest levels that anomalies rule out, and all that these rule out."""
    fallen = {level for anomaly in anomalies for level in violated_by(anomaly)}
    weakest = {level for level in fallen if not (weaker(level) - {level}) & fallen}
    return sorted(weakest), sorted(fallen - weakest)


class Order(StrEnum):
    """Orders beside the data: none, session order, or session order and real time."""

    DATA = ""
    PROCESS = "process"
    REALTIME = "realtime"


def needs(level: str) -> Order:
    """The order of a level."""
    below = weaker(level)
    if any(one.startswith("strong-") and not one.startswith("strong-session-") for one in below):
        return Order.REALTIME
    return Order.PROCESS if any(one.startswith("strong-session-") for one in below) else Order.DATA
