"""Whether a level holds, where no anomaly that was found rules it out: decided, or *cannot tell*, never by omission.

A level that cannot be decided, or is not decided itself, still holds where a stronger one does.
"""

from __future__ import annotations

from collections.abc import Iterator

from zephyr_lab.check import axioms, levels
from zephyr_lab.check import sessions as session_guarantees
from zephyr_lab.check.axioms import Axiom
from zephyr_lab.check.chooser import ROUNDS
from zephyr_lab.check.cycles import Cycle, Step
from zephyr_lab.check.decide import Model, decide, solved
from zephyr_lab.check.explain import Explainer
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.history import READ, History
from zephyr_lab.check.inference import Inference
from zephyr_lab.check.levels import Order
from zephyr_lab.check.phenomena import Findings
from zephyr_lab.check.polygraph import TooMany, of_edges
from zephyr_lab.check.sessions import Guarantee
from zephyr_lab.check.solver import Decision

_STRENGTHS = ("", "strong-session-", "strong-")
KNOWN = frozenset(strong + level for strong in _STRENGTHS for level in ("read-uncommitted", "read-committed"))
"""Levels that forbid no rw: the known edges decide them, since writes in an order that follows these close no cycle."""

MODELS = {
    "cursor-stability": Model.CURSOR,
    "monotonic-view": Model.MONOTONIC_VIEW,
    "update-atomic": Model.UPDATE_ATOMIC,
    "consistent-view": Model.ONE_RW,
    # It adds to consistent view what happened before a transaction's start, which a history does not show.
    "forward-consistent-view": Model.ONE_RW,
    "parallel-snapshot-isolation": Model.ONE_RW,
    "strong-session-parallel-snapshot-isolation": Model.ONE_RW,
    "prefix": Model.PREFIX,
    "strong-session-prefix": Model.PREFIX,
    "update-serializable": Model.UPDATE_SERIALIZABLE,
    "snapshot-isolation": Model.SNAPSHOT_ISOLATION,
    "repeatable-read": Model.SERIALIZABLE,
    "serializable": Model.SERIALIZABLE,
    "strong-session-snapshot-isolation": Model.SNAPSHOT_ISOLATION,
    "strong-session-serializable": Model.SERIALIZABLE,
    "strong-snapshot-isolation": Model.SNAPSHOT_ISOLATION,
    "strong-serializable": Model.SERIALIZABLE,
}
AXIOMS = {
    "monotonic-atomic-view": Axiom.MONOTONIC_ATOMIC_VIEW,
    "read-atomic": Axiom.READ_ATOMIC,
    "causal-cerone": Axiom.CAUSAL,
    "strong-session-monotonic-atomic-view": Axiom.MONOTONIC_ATOMIC_VIEW,
    "strong-session-read-atomic": Axiom.READ_ATOMIC,
    "strong-session-causal": Axiom.CAUSAL,
}
STRONGER = (
    "consistent-view",
    "parallel-snapshot-isolation",
    "strong-session-parallel-snapshot-isolation",
    "snapshot-isolation",
    "strong-session-snapshot-isolation",
    "serializable",
    "strong-session-serializable",
)
"""What is tried instead of a level that these imply, and that is not decided."""
_NAMED = ("snapshot-isolation", "serializable", "strong-session-snapshot-isolation", "strong-session-serializable",
          "strong-snapshot-isolation")  # fmt: skip
"""Weaker levels that are tried, so that a violation is reported of the weakest."""
_OF_RECORDS = frozenset({Model.SERIALIZABLE, Model.SNAPSHOT_ISOLATION, Model.PREFIX, Model.ONE_RW,
                         Model.UPDATE_SERIALIZABLE})  # fmt: skip
"""What edges alone decide, without the operations that prove them."""


class Verdict:
    """Decides levels of one history, and adds to `found` what rules them out."""

    def __init__(self, history: History, inference: Inference, found: Findings, rounds: int = ROUNDS) -> None:
        self.history, self.inference, self.found, self.rounds = history, inference, found, rounds

    def decide(self, level: str) -> str:
        """Why the level is undecided, or ''; if it does not hold, `found` says why not."""
        if self.found.empty or self._ruled_out(level):
            self._name_weaker(level)
            return ""
        decision = self._decided(level, self.rounds)
        if decision.holds is False:
            self._add(level, decision)
            self._name_weaker(level)
        if decision.holds is not None:
            return ""
        for stronger in self._stronger(level):
            if not self._ruled_out(stronger) and self._decided(stronger, self.rounds).holds:
                return ""
        return decision.why

    def _ruled_out(self, level: str) -> bool:
        return any(level in levels.violated_by(name) for name in self.found.names)

    @staticmethod
    def _stronger(level: str) -> Iterator[str]:
        order = levels.needs(level)
        yield from (
            one for one in STRONGER if one != level and level in levels.weaker(one) and levels.needs(one) is order
        )

    def _name_weaker(self, level: str) -> None:
        if self.inference.complete or level not in (*_NAMED, "strong-serializable"):
            return  # of one order of versions, every cycle is named already
        for weaker in _NAMED:
            if weaker in levels.weaker(level) and weaker != level and not self._ruled_out(weaker):
                decision = self._decided(weaker, rounds=20)
                if decision.holds is False:
                    self._add(weaker, decision)

    def _decided(self, level: str, rounds: int) -> Decision:
        if level in set(Guarantee):
            return self._of_sessions(Guarantee(level))
        if level in KNOWN or self.found.acyclic:
            return Decision(True)
        if level in AXIOMS:
            return self._by_axiom(level)
        if level not in MODELS:
            return Decision(None, f"{level} is only decided by levels that it implies, or that imply it")
        model, order = MODELS[level], levels.needs(level)
        if self.inference.complete:
            return self._of_one_order(level, model, rounds)
        return decide(self.history, model, order, rounds, self.inference.edges)

    def _of_one_order(self, level: str, model: Model, rounds: int) -> Decision:
        """Where no order of versions is open that anybody read: what is found of cycles decides most levels."""
        if self.history.records and model not in _OF_RECORDS:
            return Decision(None, f"{level} is not decided for histories with predicates")
        if model is Model.SERIALIZABLE:
            return Decision(True)
        try:
            problem = of_edges(self.history, self.found.inner, self.inference.open_writes)
            known = model is Model.SNAPSHOT_ISOLATION and not len(problem.w_op)
            return Decision(True) if known else solved(problem, model, rounds)
        except TooMany as many:
            return Decision(None, str(many))

    def _by_axiom(self, level: str) -> Decision:
        if self.history.records:
            return Decision(None, f"{level} is not decided for histories with predicates")
        sessions = levels.needs(level) is Order.PROCESS
        verdict = axioms.check(self.history, AXIOMS[level], sessions, self.inference.edges)
        if verdict.holds is False and sessions:
            without = axioms.check(self.history, AXIOMS[level], False, self.inference.edges)
            verdict, sessions = (without, False) if without.holds is False else (verdict, True)
        return self._as_axioms_say(verdict, axioms.ANOMALY[AXIOMS[level]] + ("-process" if sessions else ""))

    def _of_sessions(self, guarantee: Guarantee) -> Decision:
        if self.history.records:
            return Decision(None, f"{guarantee} is not decided for histories with predicates")
        verdict = session_guarantees.check(self.history, guarantee, self.inference.edges)
        return self._as_axioms_say(verdict, session_guarantees.ANOMALY[guarantee])

    def _as_axioms_say(self, verdict: axioms.Verdict, anomaly: str) -> Decision:
        if verdict.holds is None:
            return Decision(None, "too many transactions to tell what is visible to which")
        if verdict.holds:
            return Decision(True)
        explainer = Explainer(self.history, [])
        steps = tuple(_step(self.history, explainer, *step) for step in verdict.steps)
        self.found.cycles.setdefault(anomaly, []).append(Cycle(anomaly, steps))
        return Decision(False)

    def _add(self, level: str, decision: Decision) -> None:
        if self._ruled_out(level):
            return
        self.found.exists.append(level)
        name = self.found.name_of(level)
        self.found.proofs[name] = decision.why
        if decision.steps:
            self.found.cycles[name] = [Cycle(name, decision.steps)]


def _step(history: History, explainer: Explainer, one: int, other: int, kind: Kind, first: int, second: int) -> Step:
    note = ""
    if kind is Kind.WW and (second < 0 or history.kind[second] == READ):
        key, read = explainer.of(second) if second >= 0 else ("", "")
        reader = explainer.name(int(history.owner[second])) if second >= 0 else ""
        state = "the first state" if other >= len(history) else f"{explainer.name(other)}'s write"
        note = f"{explainer.name(one)}'s write to {key} was visible to {reader}, which read {key} = {read} from {state}"
        if second < 0:
            note = f"the first state comes before {explainer.name(other)}'s writes"
    return Step(one, other, kind, first, second, note=note)
