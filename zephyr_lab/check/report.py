"""The report on a history: valid or not at a level, the anomalies in words, and the violated levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zephyr_lab.check import levels
from zephyr_lab.check.cycles import Cycle
from zephyr_lab.check.explain import Explainer, case_text
from zephyr_lab.check.history import History, Transaction
from zephyr_lab.extras import or_text

SHOWN, LONGEST, MOST_IN_A_PAGE = 3, 12, 60
GAP = "..."


@dataclass(frozen=True)
class Finding:
    """One case of an anomaly: its transactions, the steps of its cycle if it has one, and the explanation."""

    anomaly: str
    transactions: tuple[int, ...]
    text: str
    edges: tuple[dict[str, Any], ...] = ()

    def to_dict(self, history: History) -> dict[str, Any]:
        known = [number for number in self.transactions if number < len(history)]
        return {
            "transactions": [history.transaction(number).to_dict() for number in known],
            "edges": list(self.edges),
            "text": self.text,
        }


@dataclass(frozen=True)
class Report:
    """`valid`: True, False, or None if undecided (`why`). `anomalies`: name -> cases, the worst name first.
    `exists`: those whose cycle is proved to exist -> how.

    `forbidden`: those of the names that the level forbids. `weakest`: the weakest levels that the history violates, and
    `fallen` all that these rule out, of the levels considered: with `level` serializable, none with session order.
    """

    history: History
    level: str
    valid: bool | None
    cycles: dict[str, list[Cycle]]
    cases: dict[str, list[dict[str, Any]]]
    exists: Mapping[str, str] = field(default_factory=dict)
    why: str = ""
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self.history, self.notes)

    @cached_property
    def names(self) -> list[str]:
        """The anomalies, the one that most levels forbid first."""
        found = {*self.cycles, *self.cases, *self.exists}

        def severity(name: str) -> tuple[int, int, str]:
            return (
                -len(levels.violated_by(name)),
                len(name.rpartition("-")[2] if name.endswith(("process", "realtime")) else ""),
                name,
            )

        return sorted(found, key=severity)

    @property
    def forbidden(self) -> list[str]:
        return [name for name in self.names if self.level in levels.violated_by(name)]

    @property
    def weakest(self) -> list[str]:
        return levels.boundary(self.names)[0]

    @property
    def fallen(self) -> list[str]:
        return levels.boundary(self.names)[1]

    def findings(self, name: str, most: int | None = None) -> list[Finding]:
        """The cases of an anomaly, explained; the first `most`."""
        explainer = self._explainer
        found = [
            Finding(
                name,
                tuple(cycle.transactions),
                explainer.cycle(cycle),
                tuple(
                    {"from": step.source, "to": step.target, "type": step.kind.word, "text": explainer.step(step)}
                    for step in cycle.steps
                ),
            )
            for cycle in self.cycles.get(name, [])[:most]
        ]
        for case in self.cases.get(name, [])[:most]:
            found.append(Finding(name, tuple(case["transactions"]), case_text(name, case)))
        if not found and self.exists.get(name):
            found.append(Finding(name, (), self.exists[name]))
        return found

    @cached_property
    def anomalies(self) -> dict[str, list[Finding]]:
        return {name: self.findings(name) for name in self.names}

    @property
    def worst(self) -> Finding | None:
        """The shortest cycle of the worst anomaly that has one; of those that the level forbids, if it forbids any."""
        for name in [*self.forbidden, *self.names]:
            if cycles := self.cycles.get(name):
                at = min(range(len(cycles)), key=lambda i: len(cycles[i].steps))
                return self.findings(name)[at] if len(cycles) < 100 else self.findings(name, at + 1)[at]
        return None

    @property
    def said(self) -> str:
        return {True: "valid", False: "not valid", None: "cannot tell"}[self.valid]

    def to_dict(self) -> dict[str, Any]:
        """For JSON. `valid` is true, false or "unknown"."""
        return {
            "history": self.history.source,
            "workload": str(self.history.workload),
            "level": levels.title(self.level),
            "valid": "unknown" if self.valid is None else self.valid,
            **({"why": self.why} if self.why else {}),
            "anomalies": {name: [one.to_dict(self.history) for one in found] for name, found in self.anomalies.items()},
            "forbidden": self.forbidden,
            "not": self.weakest,
            "also_not": self.fallen,
            "transactions": len(self.history),
            "operations": self.history.operations,
            "warnings": self.history.warnings,
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        h = self.history
        head = f"{h.source}: {h.workload}, {len(h):,} transactions, {h.operations:,} operations"
        lines = [head, f"{self.said} at {levels.title(self.level)}" + (f": {self.why}" if self.why else "")]
        for name in self.names:
            count = len(self.cycles.get(name, [])) + len(self.cases.get(name, []))
            lines += ["", name + (f", {count:,} times" if count > 1 else "") + self._allowed(name)]
            for one in self.findings(name, SHOWN if count <= SHOWN else 1)[:SHOWN]:
                told = [self._line(h.transaction(number)) for number in one.transactions[:8] if number < len(h)]
                if len(one.transactions) > 8:
                    told.append(f"... and {len(one.transactions) - 8:,} transactions more")
                steps = one.text.split("; ")
                if len(steps) > LONGEST:
                    left_out = f"... {len(steps) - LONGEST:,} such steps more, each as these ..."
                    steps = [*steps[: LONGEST // 2], left_out, *steps[-LONGEST // 2 :]]
                lines += [f"  {line}" for line in told + steps]
        if self.names:
            lines += ["", f"not: {', '.join(self.weakest)}"]
            if self.fallen:
                lines.append(f"and so not: {', '.join(self.fallen)}")
        lines += [f"note: {warning}" for warning in h.warnings]
        return "\n".join(lines)

    __repr__ = __str__

    def _allowed(self, name: str) -> str:
        return "" if name in self.forbidden else f"  ({levels.title(self.level)} allows it)"

    @staticmethod
    def _line(one: Transaction) -> str:
        status = "" if not one.status else f" ({one.status.name.lower()})"
        return f"{one.name}{status}, line {one.line}, session {one.session}: {one.text(90)}"

    def figure(self) -> Any:
        """The worst cycle as a graph, and its transactions in time: a Picture."""
        from zephyr_lab.views.dependencies import dependencies

        return dependencies(self._drawn(), text=str(self))

    def _drawn(self) -> dict[str, Any]:
        """The figure's content as plain data."""
        worst = self.worst
        title = f"{self.said} at {levels.title(self.level)}" + (f": {worst.anomaly}" if worst else "")
        return {"title": title, **self._shown(worst, LONGEST)}

    def _shown(self, finding: Finding | None, most: int) -> dict[str, Any]:
        """The transactions of a finding and their edges, `most` at the most; of more, one entry stands for those that
        are left out in the middle, with an edge to it and one from it."""
        if finding is None:
            return {"transactions": [], "edges": []}
        numbers = [number for number in finding.transactions if number < len(self.history)]
        told = [self._told(self.history.transaction(number)) for number in numbers[:most]]
        edges = list(finding.edges)
        if len(numbers) > most:
            head, tail = most // 2, (most - 1) // 2
            told[head:] = [self._told(self.history.transaction(number)) for number in numbers[-tail:]]
            count = len(numbers) - head - tail
            gap = {
                "name": GAP,
                "session": "",
                "text": f"{count:,} transactions more, each before the next",
                "begin": None,
                "end": None,
            }
            said = f"{count + 1:,} steps more, each as these"
            into = {"from": numbers[head - 1], "to": GAP, "type": GAP, "text": said}
            out_of = {"from": GAP, "to": numbers[-tail], "type": GAP, "text": ""}
            told.insert(head, gap)
            edges[head - 1 : -tail] = [into, out_of]
        named = self._explainer.name
        return {
            "transactions": told,
            "edges": [
                {
                    **edge,
                    **{end: edge[end] if edge[end] == GAP else named(edge[end]) for end in ("from", "to")},
                }
                for edge in edges
            ],
        }

    @staticmethod
    def _told(one: Transaction) -> dict[str, Any]:
        return {
            "name": one.name,
            "session": str(one.session),
            "text": one.text(60),
            "begin": one.begin,
            "end": one.end,
        }

    def html(self) -> str:
        """The anomalies as a page of its own: transactions in lanes, and the edges of each cycle."""
        from zephyr_lab.views.cycle_page import cycle_page

        shown = [
            {
                "name": name,
                "count": len(self.cycles.get(name, [])) + len(self.cases.get(name, [])),
                "allowed": name not in self.forbidden,
                "text": finding.text if len(finding.text) < 2_000 else "",
                **self._shown(finding, MOST_IN_A_PAGE),
            }
            for name in self.names
            for finding in self.findings(name, 1)[:1]
        ]
        title = f"{self.history.source}: {self.said} at {levels.title(self.level)}"
        lead = f"{len(self.history):,} transactions, {self.history.operations:,} operations."
        return cycle_page(title, f"{lead} {self.why}".strip(), str(self), shown)

    @or_text
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.worst:
            drawn: dict[str, Any] = self.figure().mimebundle()
            return drawn
        from zephyr_lab.views.block import block

        head, *lines = str(self).splitlines()
        badge = "valid" if self.valid else self.said
        return {"text/plain": str(self), "text/html": block(head, notes=lines, badge=badge)}
