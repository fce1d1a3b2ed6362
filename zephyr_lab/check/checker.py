"""Checks a history at a level: infers dependencies, names anomalies, and decides what inference leaves open."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from zephyr_lab.check import levels, lists, registers
from zephyr_lab.check.chooser import ROUNDS
from zephyr_lab.check.history import History, Workload
from zephyr_lab.check.inference import Inference
from zephyr_lab.check.levels import Order
from zephyr_lab.check.phenomena import Findings, examine
from zephyr_lab.check.read import no_collector
from zephyr_lab.check.registers import Assumptions
from zephyr_lab.check.report import Report

DEFAULT_LEVEL = "strict-serializable"


def check(
    history: History,
    level: str = DEFAULT_LEVEL,
    assumptions: Assumptions = Assumptions(),  # noqa: B008
    rounds: int = ROUNDS,
) -> Report:
    """Whether a history satisfies a level, and the anomalies that violate it.

    Sessions count from the strong session levels on, real time from the strong ones on. A history without a single
    dependency is undecided. `rounds`: how often a SAT solver may choose an order of writes, or an explanation of reads
    by predicate be tried, before the answer is *cannot tell*. Raises BadInput for an unknown level, and with the line
    where the times of a session's transactions overlap.
    """
    with no_collector():
        return _check(history, level, assumptions, rounds)


_ACYCLIC = {
    Order.DATA: "serializable",
    Order.PROCESS: "strong-session-serializable",
    Order.REALTIME: "strong-serializable",
}
"""The strongest level that holds where nothing is on a cycle, by the order that the edges include."""


@dataclass(frozen=True)
class _Judgement:
    inference: Inference
    found: Findings
    valid: bool | None
    why: str


def _check(history: History, level: str, assumptions: Assumptions, rounds: int) -> Report:
    begun = time.perf_counter()
    level = levels.canonical(level)
    if history.workload is Workload.RW_REGISTER:
        level = levels.OF_REGISTERS.get(level, level)
        judged = _judged(history, registers.infer(history, assumptions), level, rounds)
    elif history.workload is Workload.PREDICATE:
        judged = _of_predicates(history, level, assumptions.fragment, rounds)
    else:
        judged = _judged(history, lists.infer(history), level, rounds)
    return Report(
        history,
        level,
        judged.valid,
        judged.found.cycles,
        judged.found.cases,
        {name: judged.found.proofs.get(name, "") for name in judged.found.names_of_existence},
        "" if judged.valid is False else judged.why,
        judged.inference.notes,
        time.perf_counter() - begun,
    )


def _judged(history: History, inference: Inference, level: str, rounds: int) -> _Judgement:
    found = examine(history, inference, level)
    if found.acyclic and not found.names and not found.empty and level in levels.weaker(_ACYCLIC[levels.needs(level)]):
        return _Judgement(inference, found, True, "")
    from zephyr_lab.check.verdict import Verdict  # what it decides by takes longer to import than 10^5 operations

    why = Verdict(history, inference, found, rounds).decide(level)
    fallen = {one for name in found.names for one in levels.violated_by(name)}
    valid: bool | None = level not in fallen
    if valid and found.empty:
        valid, why = None, "no transaction depends on another, so the history says nothing"
    elif valid and why:
        valid = None
    return _Judgement(inference, found, valid, why)


def _of_predicates(history: History, level: str, fragment: bool | None, rounds: int) -> _Judgement:
    """Of a history with several explanations: valid if one of them is, and violated if none is."""
    from zephyr_lab.check import predicates

    judged = _judged(history, predicates.infer(history, fragment), level, rounds)
    several, sure = predicates.openness(history)
    if not several or (sure and judged.valid is False):
        return judged
    first, undecided = judged, ""
    for tried, inference in enumerate(predicates.explanations(history, fragment)):
        if tried >= 3 * rounds:
            return replace(first, valid=None, why=f"none of the {tried:,} explanations that were tried is allowed")
        one = _judged(history, inference, level, rounds)
        if one.valid:
            return one
        first = one if not tried else first
        undecided = undecided or (one.why if one.valid is None else "")
    return replace(first, valid=None, why=undecided) if undecided else first
