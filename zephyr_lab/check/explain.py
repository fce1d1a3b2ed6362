"""A cycle in words: why each transaction must come before the next, up to the contradiction."""

from __future__ import annotations

from typing import Any

from zephyr_lab.check.cycles import Cycle, Step
from zephyr_lab.check.graph import Kind
from zephyr_lab.check.history import NULL, READ, History, Workload, name, value_text


class Explainer:
    """Explains steps of cycles in one history; `notes` are those of a predicate history's edges."""

    def __init__(self, history: History, notes: list[str]) -> None:
        self.history, self.notes = history, notes

    def name(self, number: int) -> str:
        return name(number) if number < len(self.history) else "an unknown writer"

    def step(self, step: Step) -> str:
        """Why the first transaction of a step comes before the second."""
        h, a, b = self.history, self.name(step.source), self.name(step.target)
        if step.note:
            return step.note
        if step.kind is Kind.PROCESS:
            return f"{b} follows {a} in session {h.sessions[h.session[step.source]]}"
        if step.kind is Kind.REALTIME:
            return f"{a} had ended before {b} began"
        if h.records:
            return self.notes[step.first]
        said = self._list(step, a, b) if h.workload is Workload.LIST_APPEND else self._register(step, a, b)
        return said + (" (the other order would close a cycle)" if step.forced else "")

    def of(self, op: int) -> tuple[str, str]:
        """The key and the value of an operation, in words."""
        h = self.history
        return value_text(h.keys[h.key[op]]), value_text(h.named(h.value[op]))

    def _list(self, step: Step, a: str, b: str) -> str:
        if step.kind is Kind.RW:
            key, value = self.of(step.second)
            listed = value_text(self.history.list_of(step.first) or [])
            return f"{a}'s read of {key} = {listed} did not see {b}'s append of {value}"
        key, value = self.of(step.first)
        if step.kind is Kind.WR:
            return f"{b} read {a}'s append of {value} to {key}"
        return f"{b} appended {self.of(step.second)[1]} to {key} after {a}'s {value}"

    def _register(self, step: Step, a: str, b: str) -> str:
        h = self.history
        known = step.first if step.first >= 0 else step.second
        if known < 0:
            return f"{a} wrote before {b}"
        key = self.of(known)[0]
        first = self.of(step.first)[1] if step.first >= 0 else "an unknown value"
        second = self.of(step.second)[1] if step.second >= 0 else "an unknown value"
        if step.kind is Kind.WR:
            return f"{b} read {key} = {first}, which {a} wrote"
        if step.kind is Kind.RW:
            if step.first >= 0 and h.kind[step.first] == READ and h.value[step.first] == NULL:
                return f"{a} found nothing in {key}, where {b} wrote {second}"
            return f"{a} read {key} = {first}, which {b} replaced with {second}"
        return f"{b} wrote {key} = {second} after {a}'s {first}"

    def cycle(self, cycle: Cycle) -> str:
        """`T1 must precede T2 because ...; T2 must precede T1 because ...: a contradiction.`"""
        said = [
            f"{self.name(step.source)} must precede {self.name(step.target)} because {self.step(step)}"
            for step in cycle.steps
        ]
        return "; ".join(said) + ": a contradiction."


_CASES = {
    "G1a": "{1} read {value} in {key}, which {0} wrote before it was aborted",
    "G1b": "{1} read {value} in {key}, which {0} wrote and then replaced itself",
    "dirty-update": "{1} wrote {second} to {key} on top of {first}, which {0} had written before it was aborted",
    "duplicate-elements": "{0} read {values} in {key} more than once",
    "incompatible-order": "{0} read {key} = {first} and {1} {second}: neither begins as the other",
    "internal": "{0} read {key} = {read} where it had itself left {expected}",
    "own-write-unseen": "{0} read {key} = {read} after it had itself written {expected}",
    "future-read": "{0} read {value} in {key} before it wrote that itself",
    "thin-air-read": "{0} read {value} in {key}, which nobody wrote{hint}",
    "lost-update": "{all} each read {key} = {value} and then wrote to it: all but one of these updates were lost",
    "cyclic-versions": "the versions {values} of {key} would each come before themselves, if keys were {assumed}",
    "predicate-mismatch": "{0} read where {predicate} and found {key} = {value}, which does not match",
    "predicate-read-miss": "{0} read where {predicate} and did not find {key}, though all its versions match: {values}",
}


def case_text(anomaly: str, case: dict[str, Any]) -> str:
    """An anomaly without a cycle, in a sentence."""
    names = [name(number) for number in case["transactions"]]
    shown = {"hint": "", **{key: value_text(value) for key, value in case.items() if key != "transactions"}}
    values = case.get("values")
    if isinstance(values, list) and len(values) == 2:
        shown["first"], shown["second"] = map(value_text, values)
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} more"]
    shown["all"] = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
    return _CASES[anomaly].format(*names, **shown)
