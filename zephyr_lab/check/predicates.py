"""Histories with predicate reads, inserts and deletes: the versions that a predicate must have read, and the edges.

    ["rp", predicate, {key: value, ...}]  read all that match: "true", ["=", 2], ["mod", 2, 0], or for lists "len>3"
    ["insert", key, value]  ["delete", key]  ["w", key, value]  ["append", key, element]  ["r", key, value]
A first transaction whose `ops` is an object gives the initial state: {"x": 0, "y": 1}.

A predicate read has read one version of every key, including those that it did not return (Adya's version set). Of a
key that it did not return it has read a version that does not match; if only one does not, that one (Kingsbury's
closed-predicate workload of Elle). The versions of a register follow the order of the file, those of a list the
longest read."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zephyr_lab.check.graph import Edges, Kind
from zephyr_lab.check.history import History, Status, Transaction, name, value_text
from zephyr_lab.check.inference import Inference
from zephyr_lab.errors import BadInput

_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
_LENGTH = re.compile(r"len\s*(<=|>=|<|>|=)\s*(\d{1,9})\Z")


class _Absent:
    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return self.word


UNBORN, DEAD = _Absent("unborn"), _Absent("deleted")


@dataclass
class _Versions:
    """A key's versions in order, and the transaction that wrote each; -1 for none of the history."""

    values: list[Any] = field(default_factory=list)
    makers: list[int] = field(default_factory=list)

    def add(self, value: Any, maker: int) -> None:
        self.values.append(value)
        self.makers.append(maker)

    def index(self, value: Any) -> int:
        """The version's index, or -1."""
        return next((i for i, one in enumerate(self.values) if one is value or one == value), -1)


def matcher(predicate: Any, where: str) -> Callable[[Any], bool]:
    """Whether a version matches. Raises BadInput for an unknown predicate."""
    if predicate in ("true", True):
        return lambda value: value not in (UNBORN, DEAD)
    if isinstance(predicate, str) and (found := _LENGTH.match(predicate)):
        compare, length = _COMPARE[found[1]], int(found[2])
        return lambda value: isinstance(value, tuple) and compare(len(value), length)
    if isinstance(predicate, list) and predicate[:1] in (["="], [":="]) and len(predicate) == 2:
        return lambda value: value not in (UNBORN, DEAD) and value == predicate[1]
    if (
        isinstance(predicate, list)
        and predicate[:1] == ["mod"]
        and len(predicate) == 3
        and all(type(one) is int for one in predicate[1:])
        and predicate[1]
    ):
        return lambda value: type(value) is int and value % predicate[1] == predicate[2]
    raise BadInput(f'{where}: unknown predicate {predicate!r:.60}; known are "true", ["=", v], ["mod", m, r], "len>n"')


def infer(history: History) -> Inference:
    """The edges, item and predicate, and the anomalies without a cycle. `Inference.notes` describes an edge's
    `first`."""
    return _Predicates(history).infer()


class _Predicates:
    def __init__(self, history: History) -> None:
        self.history = history
        self.possible = [one for one in history.records if one.status != Status.FAIL]
        self.lists = any(op[0] == "append" for one in self.possible for op in one.ops)
        self.versions: dict[Any, _Versions] = {}
        self.edges: list[tuple[int, int, Kind, bool]] = []
        self.notes: list[str] = []
        self.result = Inference(Edges.joined([], len(history)))

    def infer(self) -> Inference:
        self._list_versions() if self.lists else self._register_versions()
        self._aborted()
        for one in self.possible:
            if one.status == Status.OK:
                for op in one.ops:
                    if op[0] == "r":
                        self._item_read(one, op)
                    elif op[0] == "rp":
                        self._predicate_read(one, op)
        self._follow()
        n = len(self.history)
        source, target, kind, predicate = (np.array([edge[i] for edge in self.edges], np.int64) for i in range(4))
        number = np.arange(len(self.edges))
        self.result.edges = Edges(
            source.astype(np.int32),
            target.astype(np.int32),
            kind.astype(np.int8),
            number.astype(np.int32),
            number.astype(np.int32),
            predicate.astype(np.bool_),
            n,
        )
        self.result.notes = self.notes
        return self.result

    def _edge(self, source: int, target: int, kind: Kind, note: str, predicate: bool = False) -> None:
        if source not in (-1, target) and target != -1:
            self.edges.append((source, target, kind, predicate))
            self.notes.append(note)

    # ------------------------------------------------------------------ versions

    def _register_versions(self) -> None:
        for one in self.possible:
            for op in one.ops:
                if op[0] == "init":
                    for key, value in op[1].items():
                        self.versions.setdefault(_key(key), _Versions()).add(value, one.number)
                elif op[0] in ("w", "insert", "delete"):
                    versions = self.versions.setdefault(_key(op[1]), _Versions())
                    if not versions.values:
                        versions.add(UNBORN, -1)
                    value = DEAD if op[0] == "delete" else op[2]
                    if value is not DEAD and versions.index(value) >= 0:
                        raise BadInput(
                            f"{self.history.source}, line {one.line}: writes {value!r} to {op[1]!r}, which was written "
                            "already; every write of a key needs a value of its own"
                        )
                    versions.add(value, one.number)

    def _list_versions(self) -> None:
        longest: dict[Any, list[Any]] = {}
        appends: dict[Any, dict[Any, int]] = {}
        for one in self.possible:
            for op in one.ops:
                if op[0] == "append":
                    appends.setdefault(_key(op[1]), {})[op[2]] = one.number
                elif op[0] == "r" and isinstance(op[2], list) and len(op[2]) > len(longest.get(_key(op[1]), ())):
                    longest[_key(op[1])] = op[2]
        for key in {**appends, **longest}:
            versions = self.versions.setdefault(key, _Versions())
            versions.add((), -1)
            makers, seen = appends.get(key, {}), longest.get(key, [])
            for i, element in enumerate([*seen, *(one for one in makers if one not in seen)]):
                read = (*seen, *[one for one in makers if one not in seen])
                versions.add(tuple(read[: i + 1]), makers.get(element, -1))

    def _aborted(self) -> None:
        written = {
            (_key(op[1]), repr(op[2])): one.number
            for one in self.history.records
            if one.status == Status.FAIL
            for op in one.ops
            if op[0] in ("w", "insert", "append")
        }
        for one in self.possible:
            for op in one.ops if one.status == Status.OK else ():
                if op[0] == "r":
                    for value in op[2] if isinstance(op[2], list) else [op[2]]:
                        if (writer := written.get((_key(op[1]), repr(value)))) is not None:
                            self.result.add("G1a", key=op[1], value=value, transactions=[writer, one.number])

    # ------------------------------------------------------------------ reads

    def _met(self, versions: _Versions, value: Any) -> int | None:
        """The version of a value. Null is unborn or deleted, whichever the key was, and for a key of the initial state,
        something before (-1). None if unknown."""
        if value is None and not self.lists:
            unborn, dead = versions.values[0] is UNBORN, versions.values[-1] is DEAD
            return None if unborn and dead else len(versions.values) - 1 if dead else 0 if unborn else -1
        at = versions.index(tuple(value or ()) if self.lists and isinstance(value, list | None) else value)
        return at if at >= 0 else None

    def _item_read(self, reader: Transaction, op: Sequence[Any]) -> None:
        versions = self.versions.get(_key(op[1]))
        if versions is None or (at := self._met(versions, op[2])) is None:
            return
        said = f"{reader.name} read {op[1]!r} = {value_text(op[2])}"
        if at >= 0:
            self._edge(versions.makers[at], reader.number, Kind.WR, f"{said}, which {name(versions.makers[at])} made")
        if at + 1 < len(versions.values):
            maker = versions.makers[at + 1]
            self._edge(
                reader.number,
                maker,
                Kind.RW,
                f"{said}, which {name(maker)} replaced with {_version_text(versions.values[at + 1])}",
            )

    def _predicate_read(self, reader: Transaction, op: Sequence[Any]) -> None:
        where = f"{self.history.source}, line {reader.line}"
        matches = matcher(op[1], where)
        returned = {_key(key): value for key, value in op[2].items()} if isinstance(op[2], dict) else {}
        for key, versions in self.versions.items():
            fits = [matches(value) for value in versions.values]
            if key in returned:
                met_at = self._met(versions, returned[key])
                if met_at is None or met_at < 0:
                    continue
                low = high = met_at
            else:
                others = [i for i, fit in enumerate(fits) if not fit]
                if not others:
                    self.result.add(
                        "predicate-read-miss",
                        key=key,
                        predicate=op[1],
                        transactions=[reader.number],
                        values=[_version_text(value) for value in versions.values],
                    )
                    continue
                low, high = others[0], others[-1]
            said = f"{reader.name} read where {value_text(op[1])}, and "
            earlier = " or earlier" if low < high else ""
            met = "met" if key in returned else "not returning it met"
            self._edge(
                versions.makers[low],
                reader.number,
                Kind.WR,
                f"{said}{met} {key} = {_version_text(versions.values[low])}{' or later' if low < high else ''}, "
                f"which {name(versions.makers[low])} made",
                True,
            )
            for i in range(high + 1, len(versions.values)):
                if fits[i] != fits[high]:
                    self._edge(
                        reader.number,
                        versions.makers[i],
                        Kind.RW,
                        f"{said}{met} {key} = {_version_text(versions.values[high])}{earlier}, and "
                        f"{name(versions.makers[i])} made {_version_text(versions.values[i])}, which changes the match",
                        True,
                    )

    def _follow(self) -> None:
        for key, versions in self.versions.items():
            for i in range(1, len(versions.values)):
                one, other = versions.makers[i - 1 : i + 1]
                self._edge(
                    one,
                    other,
                    Kind.WW,
                    f"{name(other)} replaced {key} = {_version_text(versions.values[i - 1])} with "
                    f"{_version_text(versions.values[i])}",
                )


def _key(name: Any) -> str:
    """JSON makes keys of objects strings; so are all keys here."""
    return str(name)


def _version_text(value: Any) -> str:
    return repr(value) if isinstance(value, _Absent) else value_text(value)
