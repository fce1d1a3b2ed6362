"""Checks a history at a level: infers dependencies, names anomalies, and decides what inference leaves open."""

from __future__ import annotations

import time

from zephyr_lab.check import levels, lists, predicates, registers
from zephyr_lab.check.history import History, Workload
from zephyr_lab.check.phenomena import examine
from zephyr_lab.check.read import no_collector
from zephyr_lab.check.registers import Assumptions
from zephyr_lab.check.report import Report
from zephyr_lab.check.verdict import Verdict

DEFAULT_LEVEL = "strict-serializable"


def check(history: History, level: str = DEFAULT_LEVEL, assumptions: Assumptions = Assumptions()) -> Report:  # noqa: B008
    """Whether a history satisfies a level, and the anomalies that violate it.

    Sessions count from the strong session levels on, real time from the strong ones on. A history without a single
    dependency is undecided. Raises BadInput for an unknown level, and with the line where the times of a session's
    transactions overlap.
    """
    with no_collector():
        return _check(history, level, assumptions)


def _check(history: History, level: str, assumptions: Assumptions) -> Report:
    begun = time.perf_counter()
    level = levels.canonical(level)
    if history.workload is Workload.RW_REGISTER:
        level = levels.OF_REGISTERS.get(level, level)
        inference = registers.infer(history, assumptions)
    elif history.workload is Workload.PREDICATE:
        inference = predicates.infer(history)
    else:
        inference = lists.infer(history)
    found = examine(history, inference, level)
    why = Verdict(history, inference, found).decide(level)
    fallen = {one for name in found.names for one in levels.violated_by(name)}
    valid: bool | None = level not in fallen
    if valid and found.empty:
        valid, why = None, "no transaction depends on another, so the history says nothing"
    elif valid and why:
        valid = None
    return Report(
        history,
        level,
        valid,
        found.cycles,
        found.cases,
        tuple(found.names_of_existence),
        "" if valid is False else why,
        inference.notes,
        time.perf_counter() - begun,
    )
