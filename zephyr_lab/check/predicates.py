"""Histories with predicate reads, inserts and deletes: the versions that a predicate must have read, and the edges.

    ["rp", predicate, {key: value, ...}]  read all that match: "true", ["=", 2], ["mod", 2, 0], or for lists "len>3"
    ["insert", key, value]  ["delete", key]  ["w", key, value]  ["append", key, element]  ["r", key, value]
A first transaction whose `ops` is an object gives the initial state: {"x": 0, "y": 1}.

A predicate read has read one version of every key, including those that it did not return (Adya's version set). Of a
key that it did not return it has read a version that does not match (Kingsbury's closed-predicate workload of Elle).
The versions of a register follow the order of the file, those of a list the longest read. What that leaves open, which
of several versions was read and whether what is indeterminate happened, are choices: `explanations` has them one after
another, and the history is allowed if one of them is.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from zephyr_lab.check.graph import Edges, Kind
from zephyr_lab.check.history import History, name
from zephyr_lab.check.inference import Inference
from zephyr_lab.check.predicate_facts import ABSENT, Facts, Met, Run, choices, version_text
from zephyr_lab.errors import BadInput

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
_LENGTH = re.compile(r"len\s*(<=|>=|<|>|=)\s*(\d{1,9})\Z")


def matcher(predicate: Any, where: str) -> Callable[[Any], bool]:
    """Whether a version matches. Raises BadInput for an unknown predicate."""
    if predicate in ("true", True):
        return lambda value: value not in ABSENT
    if isinstance(predicate, str) and (found := _LENGTH.match(predicate)):
        compare, length = _COMPARE[found[1]], int(found[2])
        return lambda value: isinstance(value, tuple) and compare(len(value), length)
    if isinstance(predicate, list) and predicate[:1] in (["="], [":="]) and len(predicate) == 2:
        return lambda value: value not in ABSENT and value == predicate[1]
    if (
        isinstance(predicate, list)
        and predicate[:1] == ["mod"]
        and len(predicate) == 3
        and all(type(one) is int for one in predicate[1:])
        and predicate[1]
    ):
        return lambda value: type(value) is int and value % predicate[1] == predicate[2]
    raise BadInput(f'{where}: unknown predicate {predicate!r:.60}; known are "true", ["=", v], ["mod", m, r], "len>n"')


def infer(history: History, fragment: bool | None = None) -> Inference:
    """The edges, item and predicate, and the anomalies without a cycle, that hold whichever version an open read saw.
    `Inference.notes` describes an edge's `first`."""
    facts = Facts(history, next(choices(history)), matcher, fragment)
    return _inference(history, facts, [Run(met.runs[0].low, met.runs[-1].high) for met in facts.mets])


def openness(history: History) -> tuple[bool, bool]:
    """Whether the history has more than one explanation, and whether what `infer` finds holds in all of them."""
    some = list(itertools.islice(choices(history), 2))
    several = any(len(met.runs) > 1 for met in Facts(history, some[0], matcher).mets)
    return len(some) > 1 or several, len(some) == 1


def explanations(history: History, fragment: bool | None = None) -> Iterator[Inference]:
    """An inference for each choice of what is open, a likely one first."""
    for choice in choices(history):
        facts = Facts(history, choice, matcher, fragment)
        for runs in itertools.product(*(_likely(facts, met) for met in facts.mets)):
            yield _inference(history, facts, list(runs))


def _likely(facts: Facts, met: Met) -> list[Run]:
    """First what came last before the reader in the file."""
    makers = facts.versions[met.key].makers
    earlier = [run for run in met.runs if run.low < 0 or makers[run.low] < met.reader.number]
    return sorted(met.runs, key=lambda run: (run not in earlier, -run.low if run in earlier else run.low))


def _inference(history: History, facts: Facts, runs: list[Run]) -> Inference:
    found = _Dependencies(facts)
    for met, run in zip(facts.mets, runs, strict=True):
        found.read(met, run)
    found.follow()
    source, target, kind, predicate = (np.array([edge[i] for edge in found.edges], np.int64) for i in range(4))
    number = np.arange(len(found.edges), dtype=np.int32)
    edges = Edges(
        source.astype(np.int32),
        target.astype(np.int32),
        kind.astype(np.int8),
        number,
        number,
        predicate.astype(np.bool_),
        len(history),
    )
    return Inference([edges], edges.nodes, found=dict(facts.found), notes=found.notes)


class _Dependencies:
    """The edges of one explanation: from, to, kind, and whether the match of a predicate is what changed."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.edges: list[tuple[int, int, Kind, bool]] = []
        self.notes: list[str] = []

    def _edge(self, source: int, target: int, kind: Kind, note: str, predicate: bool = False) -> None:
        if source not in (-1, target) and target != -1:
            self.edges.append((source, target, kind, predicate))
            self.notes.append(note)

    def read(self, met: Met, run: Run) -> None:
        """What a reader depends on, if it read one of these versions, and who depends on it."""
        if met.matches is None:
            self._item(met, run)
        else:
            self._predicate(met, run)

    def _item(self, met: Met, run: Run) -> None:
        versions, reader = self.facts.versions[met.key], met.reader
        if run.low >= 0:
            maker = versions.makers[run.low]
            self._edge(maker, reader.number, Kind.WR, f"{met.said}, which {name(maker)} made")
        if run.high + 1 < len(versions.values):
            maker, value = versions.makers[run.high + 1], versions.values[run.high + 1]
            note = f"{met.said}, which {name(maker)} replaced with {version_text(value)}"
            self._edge(reader.number, maker, Kind.RW, note)

    def _predicate(self, met: Met, run: Run) -> None:
        versions, reader, matches = self.facts.versions[met.key], met.reader, met.matches or []
        low, high = max(run.low, 0), run.high
        maker = versions.makers[low]
        wide = low < high
        at = version_text(versions.values[low])
        self._edge(
            maker,
            reader.number,
            Kind.WR,
            f"{met.said} {met.key} = {at}{' or later' if wide else ''}, which {name(maker)} made",
            True,
        )
        said = f"{met.said} {met.key} = {version_text(versions.values[high])}{' or earlier' if wide else ''}, and "
        for i in range(high + 1, len(versions.values)):
            maker, made = versions.makers[i], f"{name(versions.makers[i])} made {version_text(versions.values[i])}"
            if matches[i] != matches[high]:
                self._edge(reader.number, maker, Kind.RW, f"{said}{made}, which changes the match", True)
            elif i == high + 1 and met.returned:
                self._edge(reader.number, maker, Kind.RW, f"{said}{made}")

    def follow(self) -> None:
        """Each version after the one before it."""
        for key, versions in self.facts.versions.items():
            for i in range(1, len(versions.values)):
                one, other = versions.makers[i - 1 : i + 1]
                was, is_ = (version_text(value) for value in versions.values[i - 1 : i + 1])
                self._edge(one, other, Kind.WW, f"{name(other)} replaced {key} = {was} with {is_}")
