"""Checks a history at a level: infers dependencies, names anomalies, and decides what inference leaves open."""

from __future__ import annotations

import time

from zephyr_lab.check import axioms, levels, lists, predicates, registers
from zephyr_lab.check.cycles import Cycle, Step
from zephyr_lab.check.decide import Decision, Model, decide
from zephyr_lab.check.explain import Explainer
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.history import History, Workload
from zephyr_lab.check.levels import Order
from zephyr_lab.check.phenomena import Findings, examine
from zephyr_lab.check.read import no_collector
from zephyr_lab.check.registers import Assumptions
from zephyr_lab.check.report import Report

DEFAULT_LEVEL = "strict-serializable"
_MODELS = {
    "snapshot-isolation": (Model.SNAPSHOT_ISOLATION, Order.DATA),
    "serializable": (Model.SERIALIZABLE, Order.DATA),
    "strong-session-snapshot-isolation": (Model.SNAPSHOT_ISOLATION, Order.PROCESS),
    "strong-session-serializable": (Model.SERIALIZABLE, Order.PROCESS),
    "strong-snapshot-isolation": (Model.SNAPSHOT_ISOLATION, Order.REALTIME),
    "strong-serializable": (Model.SERIALIZABLE, Order.REALTIME),
}
"""The levels that are decided for registers, weaker ones first."""


def check(history: History, level: str = DEFAULT_LEVEL, assumptions: Assumptions = Assumptions()) -> Report:  # noqa: B008
    """Whether a history satisfies a level, and the anomalies that violate it.

    Sessions count from the strong session levels on, real time from the strong ones on. A history without a single
    dependency is undecided. Raises BadInput for an unknown level, and with the line for an impossible history: a list
    with an element that was never appended.
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
    why = ""
    if history.workload is Workload.RW_REGISTER:
        why = _axiom(history, level, found) or _decide(history, level, found)
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


def _axiom(history: History, level: str, found: Findings) -> str:
    """Adds the anomaly of a weak level's axiom; returns why it is undecided, or ''."""
    if level not in levels.AXIOMS:
        return ""
    axiom = levels.AXIOMS[level]
    verdict = axioms.check(history, axiom, sessions=True)
    if verdict.holds is None:
        return "too many transactions to tell what is visible to which"
    if not verdict.holds:
        explainer = Explainer(history, [])
        anomaly = axioms.ANOMALY[axiom]
        steps = tuple(_axiom_step(history, explainer, *step) for step in verdict.steps)
        found.cycles.setdefault(anomaly, []).append(Cycle(anomaly, steps))
    return ""


def _axiom_step(
    history: History, explainer: Explainer, one: int, other: int, kind: Kind, first: int, second: int
) -> Step:
    note = ""
    if kind is Kind.WW:
        key, read = explainer._of(second) if second >= 0 else ("", "")
        reader = explainer.name(int(history.owner[second])) if second >= 0 else ""
        state = "the first state" if other >= len(history) else f"{explainer.name(other)}'s write"
        note = f"{explainer.name(one)}'s write to {key} was visible to {reader}, which read {key} = {read} from {state}"
        if second < 0:
            note = f"the first state comes before {explainer.name(other)}'s writes"
    return Step(one, other, kind, first, second, note=note)


def _decide(history: History, level: str, found: Findings) -> str:
    """Adds the levels that no order of the writes satisfies; returns why it is undecided, or ''."""
    if level not in _MODELS or found.empty or history.told_order:
        return ""

    def ruled_out(one: str) -> bool:
        return any(one in levels.violated_by(name) for name in found.names)

    if not ruled_out(level):
        decision = decide(history, *_MODELS[level])
        if decision.holds:
            return ""
        if decision.holds is None:
            return decision.why
        _add(found, level, decision)
    # The weaker levels first.
    for weaker, model in _MODELS.items():
        if weaker in levels.weaker(level) and weaker != level and not _fallen_below(weaker, found):
            decision = decide(history, *model, rounds=20)
            if decision.holds is False:
                _add(found, weaker, decision)
    return ""


def _fallen_below(level: str, found: Findings) -> bool:
    """Whether the level is violated by another anomaly than the existence of its own cycle, or of a stronger one."""
    return any(level in levels.violated_by(name) for name in found.names)


def _add(found: Findings, level: str, decision: Decision) -> None:
    found.exists.append(level)
    if decision.steps:
        name = found.name_of(level)
        found.cycles[name] = [Cycle(name, decision.steps)]
