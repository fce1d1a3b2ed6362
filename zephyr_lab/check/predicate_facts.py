"""What a history with predicates says by itself: the versions of each key, which of them each read can have seen, and
the anomalies that need no graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from zephyr_lab.check.history import History, Status, Transaction, value_text
from zephyr_lab.errors import BadInput


class Absent:
    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return self.word


UNBORN, DEAD = Absent("unborn"), Absent("deleted")
ABSENT = (UNBORN, DEAD)
WRITES = ("w", "insert", "delete", "append")
Matcher = Callable[[Any, str], Callable[[Any], bool]]


@dataclass(frozen=True)
class Choice:
    """Which transactions happened, and for lists the order of each key's appends that nobody read."""

    happened: frozenset[int]
    orders: dict[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass
class Versions:
    """A key's versions in order; the transaction that made each (-1: none of the history), and whether it was its last
    of the key."""

    values: list[Any] = field(default_factory=list)
    makers: list[int] = field(default_factory=list)
    last: list[bool] = field(default_factory=list)

    def add(self, value: Any, maker: int) -> None:
        if maker in self.makers and maker >= 0:
            self.last[len(self.makers) - 1 - self.makers[::-1].index(maker)] = False
        self.values.append(value)
        self.makers.append(maker)
        self.last.append(True)

    def index(self, value: Any) -> int:
        """The version's index, or -1."""
        return next((i for i, one in enumerate(self.values) if one is value or one == value), -1)


@dataclass(frozen=True)
class Run:
    """Versions in a row that a read cannot tell apart; -1: what was before the first."""

    low: int
    high: int


@dataclass(frozen=True)
class Met:
    """A read of one key: the runs of versions of which it saw one; by predicate, which versions match."""

    reader: Transaction
    key: str
    runs: list[Run]
    said: str
    matches: list[bool] | None = None
    returned: bool = False


def key_text(name: Any) -> str:
    """JSON makes keys of objects strings; so are all keys here."""
    return str(name)


def version_text(value: Any) -> str:
    return repr(value) if isinstance(value, Absent) else value_text(value)


def has_lists(history: History) -> bool:
    return any(op[0] == "append" for one in history.records for op in one.ops)


def choices(history: History) -> Iterator[Choice]:
    """What may have happened, all of it first, and each order of the appends that nobody read."""
    certain = _seen(history)
    may = [one.number for one in history.records if one.status == Status.INFO and one.number not in certain]
    for count in range(len(may), -1, -1):
        for some in itertools.combinations(may, count):
            happened = frozenset({*certain, *some})
            if not has_lists(history):
                yield Choice(happened)
                continue
            unread = _unread(history, happened)
            for orders in itertools.product(*(itertools.permutations(one) for one in unread.values())):
                yield Choice(happened, dict(zip(unread, orders, strict=True)))


def _returned(op: Sequence[Any], where: str = "") -> dict[str, Any]:
    """What a read by predicate returned. Raises BadInput if it does not say."""
    found = op[2]
    if found == []:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{where}: a read by predicate gave {op[2]!r:.40}; it gives keys with their values")
    return {key_text(key): tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def _values_read(one: Transaction) -> set[tuple[str, Any]]:
    """Keys with the values, or elements of lists, that a transaction's reads returned."""
    found: set[tuple[str, Any]] = set()
    for op in one.ops:
        pairs = [(key_text(op[1]), op[2])] if op[0] == "r" else []
        if op[0] == "rp" and op[2]:
            pairs = list(_returned(op).items())
        for key, value in pairs:
            found |= {(key, element) for element in (value if isinstance(value, list | tuple) else [value])}
    return found


def _seen(history: History) -> set[int]:
    """Committed transactions, and indeterminate ones of which these, or others of these, read a value."""
    happened = {one.number for one in history.records if one.status == Status.OK}
    waiting = [one for one in history.records if one.status == Status.INFO]
    while True:
        read = set().union(*(_values_read(one) for one in history.records if one.number in happened), set())
        more = {
            one.number
            for one in waiting
            if one.number not in happened
            and any((key_text(op[1]), op[2]) in read for op in one.ops if op[0] in ("w", "insert", "append"))
        }
        if not more:
            return happened
        happened |= more


def _unread(history: History, happened: frozenset[int]) -> dict[str, list[Any]]:
    """By key the appended elements that are in no read."""
    read = set().union(*(_values_read(one) for one in history.records if one.number in happened), set())
    found: dict[str, list[Any]] = {}
    for one in history.records:
        for op in one.ops if one.number in happened else ():
            if op[0] == "append" and (key_text(op[1]), op[2]) not in read:
                found.setdefault(key_text(op[1]), []).append(op[2])
    return found


class Facts:
    """By `choice`: `versions` by key, `mets`, the reads, and `found`, the anomalies without a cycle: name -> cases."""

    def __init__(self, history: History, choice: Choice, matcher: Matcher, fragment: bool | None = None) -> None:
        self.history, self.choice, self.matcher, self.fragment = history, choice, matcher, fragment
        self.lists = has_lists(history)
        self.versions: dict[str, Versions] = {}
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.mets: list[Met] = []
        self.possible = [one for one in history.records if one.number in choice.happened]
        self.failed = {
            (key_text(op[1]), op[2]): one.number
            for one in history.records
            if one.status == Status.FAIL
            for op in one.ops
            if op[0] in ("w", "insert", "append")
        }
        self.written = {
            (key_text(op[1]), op[2]) for one in self.possible for op in one.ops if op[0] in ("w", "insert", "append")
        } | {(key_text(key), value) for one in self.possible for op in one.ops if op[0] == "init"
             for key, value in op[1].items()}  # fmt: skip
        history.warnings.clear()
        self._list_versions() if self.lists else self._register_versions()
        for one in self.possible:
            _Reads(self, one).find()

    def add(self, anomaly: str, **case: Any) -> None:
        self.found.setdefault(anomaly, []).append(case)

    def is_outside(self, key: str) -> bool:
        """Whether a value of a key that nobody wrote is taken to have been written outside the history."""
        if self.fragment is not None:
            return self.fragment
        at_first = {key_text(of) for one in self.possible for op in one.ops if op[0] == "init" for of in op[1]}
        return not self.lists and key not in at_first and any(of == key for of, _ in self.written)

    def _register_versions(self) -> None:
        for one in self.possible:
            for op in one.ops:
                if op[0] == "init":
                    for key, value in op[1].items():
                        self.versions.setdefault(key_text(key), Versions()).add(value, one.number)
                elif op[0] in WRITES:
                    versions = self.versions.setdefault(key_text(op[1]), Versions())
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
        longest: dict[str, Sequence[Any]] = {}
        appends: dict[str, dict[Any, int]] = {}
        for one in self.possible:
            for op in one.ops:
                if op[0] == "append":
                    appends.setdefault(key_text(op[1]), {})[op[2]] = one.number
                pairs = {key_text(op[1]): op[2]} if op[0] == "r" else _returned(op) if op[0] == "rp" and op[2] else {}
                for key, value in pairs.items():
                    if isinstance(value, list | tuple) and len(value) > len(longest.get(key, ())):
                        longest[key] = value
        for key in {**appends, **longest}:
            versions = self.versions.setdefault(key, Versions())
            versions.add((), -1)
            whole = (*longest.get(key, ()), *self.choice.orders.get(key, ()))
            for i, element in enumerate(whole):
                versions.add(whole[: i + 1], appends.get(key, {}).get(element, -1))


class _Reads:
    """The reads of one transaction, beside what it wrote itself."""

    def __init__(self, facts: Facts, one: Transaction) -> None:
        self.facts, self.one, self.history = facts, one, facts.history
        self.own: dict[str, int] = {}  # the version that its latest write of a key made
        self.before: dict[str, Any] = {}  # what it read last, and did not write since

    def find(self) -> None:
        for op in self.one.ops:
            told = self.one.status == Status.OK or op[-1] is not None
            if op[0] in WRITES:
                self._write(op)
            elif op[0] == "r" and told:
                self._item(key_text(op[1]), tuple(op[2]) if isinstance(op[2], list) else op[2])
            elif op[0] == "rp" and told:
                self._predicate(op)

    def _write(self, op: Sequence[Any]) -> None:
        key = key_text(op[1])
        versions = self.facts.versions[key]
        if op[0] == "append":
            made = [i for i, one in enumerate(versions.values) if one and one[-1] == op[2]]
            at = made[0] if made else -1
        elif op[0] == "delete":
            after = self.own.get(key, -1)
            at = next(
                i
                for i, (value, maker) in enumerate(zip(versions.values, versions.makers, strict=True))
                if value is DEAD and maker == self.one.number and i > after
            )
        else:
            at = versions.index(op[2])
        self.own[key] = at
        self.before.pop(key, None)

    def _item(self, key: str, value: Any) -> None:
        case = {"key": key, "read": value, "transactions": [self.one.number]}
        versions = self.facts.versions.get(key, Versions())
        if key in self.before and self.before[key] != value:
            self.facts.add("internal", expected=self.before[key], **case)
        self.before[key] = value
        runs = self._runs(key, value, versions)
        if runs is None or not versions.values:
            return
        own = self.own.get(key)
        if own is not None and Run(own, own) not in runs:
            anomaly = "internal" if self.facts.lists else "own-write-unseen"
            self.facts.add(anomaly, expected=version_text(versions.values[own]), **case)
        if own is None or self.facts.lists:
            said = f"{self.one.name} read {key!r} = {value_text(value)}"
            self.facts.mets.append(Met(self.one, key, runs, said))

    def _runs(self, key: str, value: Any, versions: Versions) -> list[Run] | None:
        """The versions that have a value that was read; None for none, which is an anomaly, or nothing to tell."""
        if value is None and not self.facts.lists:
            found = self._of_others(
                [Run(i, i) for i, one in enumerate(versions.values) if one in ABSENT], key, versions
            )
            return found or [Run(-1, -1)]  # of a key with an initial state, something before it
        value = (value or ()) if self.facts.lists else value
        at = versions.index(value)
        if at < 0 and value != ():
            self._without_version(key, value, versions)
        if at < 0:
            return None
        self._about(key, value, at, versions)
        return [Run(at, at)]

    def _of_others(self, runs: list[Run], key: str, versions: Versions) -> list[Run]:
        """Without versions that the transaction makes later, and those that others replaced themselves."""
        own = self.own.get(key, -1)

        def visible(i: int) -> bool:
            mine = versions.makers[i] == self.one.number
            return i == own if mine else versions.last[i]

        return [run for run in runs if any(map(visible, range(run.low, run.high + 1)))]

    def _about(self, key: str, value: Any, at: int, versions: Versions) -> None:
        """Anomalies of a read of a version that is there."""
        number, maker = self.one.number, versions.makers[at]
        if self._elements(key, value):
            return
        if maker == number and at > self.own.get(key, -1):
            self.facts.add("future-read", key=key, value=value, transactions=[number])
        elif maker not in (-1, number) and not versions.last[at]:
            self.facts.add("G1b", key=key, value=value, transactions=[maker, number])

    def _elements(self, key: str, value: Any) -> bool:
        """Whether a value, or an element of a list, is of nobody who happened; then it is an anomaly."""
        for element in value if self.facts.lists else [value]:
            case = {"key": key, "value": element}
            if (key, element) in self.facts.written:
                continue
            if (writer := self.facts.failed.get((key, element))) is not None:
                self.facts.add("G1a", transactions=[writer, self.one.number], **case)
            elif self.facts.is_outside(key):
                self.history.warnings.append(
                    f"{self.history.source}, line {self.one.line}: reads {element!r} in {key!r}, which nobody wrote: "
                    "assumed to be written outside the history"
                )
            else:
                self.facts.add("thin-air-read", transactions=[self.one.number], **case)
            return True
        return False

    def _without_version(self, key: str, value: Any, versions: Versions) -> None:
        number = self.one.number
        if self._elements(key, value):
            return
        if len(set(value)) < len(value):
            self.facts.add("duplicate-elements", key=key, values=list(value), transactions=[number])
        else:
            other = [one.number for one in self.facts.possible if one.number != number][:1] or [number]
            longest = next(one for one in reversed(versions.values) if isinstance(one, tuple))
            self.facts.add("incompatible-order", key=key, values=[value, longest], transactions=[number, *other])

    def _predicate(self, op: Sequence[Any]) -> None:
        where = f"{self.history.source}, line {self.one.line}"
        matches, returned = self.facts.matcher(op[1], where), _returned(op, where)
        for key, value in returned.items():
            if not matches(value):
                self.facts.add(
                    "predicate-mismatch", key=key, value=value, predicate=op[1], transactions=[self.one.number]
                )
            if key not in self.facts.versions:
                self._runs(key, value, Versions())
        for key, versions in self.facts.versions.items():
            fits = [matches(value) for value in versions.values]
            self._of_key(op[1], key, versions, fits, returned)

    def _of_key(self, predicate: Any, key: str, versions: Versions, fits: list[bool], returned: dict[str, Any]) -> None:
        """The versions of one key among which a predicate read chose."""
        here = key in returned
        runs = (
            self._runs(key, returned[key], versions)
            if here
            else self._of_others(self._not_matching(fits, versions), key, versions)
        )
        own = self.own.get(key)
        if own is not None and runs is not None:
            runs = [Run(own, own)] if any(run.low <= own <= run.high for run in runs) else []
        if runs:
            said = (
                f"{self.one.name} read where {value_text(predicate)}, and {'met' if here else 'not returning it met'}"
            )
            self.facts.mets.append(Met(self.one, key, runs, said, fits, here))
        elif runs is not None:
            self.facts.add(
                "predicate-read-miss",
                key=key,
                predicate=predicate,
                transactions=[self.one.number],
                values=[version_text(value) for value in versions.values],
            )

    def _not_matching(self, fits: list[bool], versions: Versions) -> list[Run]:
        """The longest runs of versions that do not match; its own ones part them, since nobody else made these."""
        found: list[Run] = []
        parted = True
        for i, (fit, maker) in enumerate(zip(fits, versions.makers, strict=True)):
            mine = maker == self.one.number
            if not fit and not parted and not mine:
                found[-1] = Run(found[-1].low, i)
            elif not fit:
                found.append(Run(i, i))
            parted = fit or mine
        return found
