"""The levels by their definitions, tried on every order of versions: what the checker's verdicts are compared with.

Adya (1999): G0, G1, G-cursor, G-single, G-monotonic, G-update, G2. Biswas and Enea (2019): the axioms of monotonic
atomic view (their read committed), read atomic, causal. Cerone, Gotsman, Yang (2017): update atomic, parallel snapshot
isolation, prefix, snapshot isolation. Terry et al. (1994), Brzezinski et al. (2004): session guarantees, PRAM.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Pairs = set[tuple[int, int]]
INIT = -1
# Cerone's levels, which ask something of the reads within a transaction.
INT = frozenset({"read-atomic", "causal-cerone", "update-atomic", "prefix", "parallel-snapshot-isolation",
                 "snapshot-isolation", "serializable"})  # fmt: skip


@dataclass(frozen=True)
class Read:
    """A read of another transaction's last write, or of the initial state: the operation's place, and the version."""

    reader: int
    place: int
    key: str
    value: Any  # the value of a register, or the last of a list; None for nothing
    writer: int


def acyclic(pairs: Pairs, n: int) -> bool:
    reach = closure(pairs, n)
    return not any(reach[i] >> i & 1 for i in range(n))


def closure(pairs: Pairs, n: int) -> list[int]:
    """Of each node, those it reaches, as bits (Warshall)."""
    reach = [0] * n
    for one, other in pairs:
        reach[one] |= 1 << other
    for middle in range(n):
        for one in range(n):
            if reach[one] >> middle & 1:
                reach[one] |= reach[middle]
    return reach


class Tried:
    """One history, its facts, and whether some order of versions explains it at a level."""

    def __init__(self, rows: list[Row], lists: bool) -> None:
        self.rows, self.n, self.lists = rows, len(rows), lists
        self.writer: dict[tuple[str, Any], tuple[int, int]] = {}  # version -> transaction, place of the operation
        for i, row in enumerate(rows):
            for place, (kind, key, value) in enumerate(row["ops"]):
                if kind != "r":
                    self.writer[key, value] = i, place
        self.happened = self._happened()
        self.thin = self.g1 = self.internal = self.strange = False
        self.reads: list[Read] = []
        for i in sorted(self.happened):
            self._reads_of(i)
        self.so = self._sessions()
        self.rt = self._real_time() | self.so

    def _seen(self, op: list[Any]) -> list[Any]:
        return list(op[2] or ()) if self.lists else [op[2]] * (op[2] is not None)

    def _happened(self) -> set[int]:
        found = {i for i, row in enumerate(self.rows) if row["type"] == "ok"}
        while True:
            read = {
                self.writer[op[1], value][0]
                for i in found
                for op in self.rows[i]["ops"]
                if op[0] == "r"
                for value in self._seen(op)
                if (op[1], value) in self.writer
            }
            more = {i for i in read - found if self.rows[i]["type"] == "info"}
            if not more:
                return found
            found |= more

    def last(self, txn: int, key: str) -> Any:
        return [value for kind, k, value in self.rows[txn]["ops"] if kind != "r" and k == key][-1]

    def _reads_of(self, i: int) -> None:
        own: dict[str, list[Any]] = {}
        before: dict[str, Any] = {}
        for place, (kind, key, value) in enumerate(self.rows[i]["ops"]):
            if kind == "r" and value is None and self.rows[i]["type"] == "info":
                continue  # what was not told
            if kind != "r":
                own.setdefault(key, []).append(value)
                known = before.get(key)  # of a list that was not read, the beginning is not known
                before[key] = value if not self.lists else [*known, value] if isinstance(known, list) else None
                continue
            seen = self._seen([kind, key, value])
            self._facts(i, place, key, seen, own.get(key, []))
            if self.lists:
                tail = own.get(key, [])
                self.internal |= seen[max(len(seen) - len(tail), 0) :] != tail or (
                    isinstance(before.get(key), list) and before[key] != seen
                )
                before[key] = seen
            else:
                self.internal |= key in before and before[key] != value
                before[key] = value

    def _facts(self, i: int, place: int, key: str, seen: list[Any], own: list[Any]) -> None:
        writers = [self.writer.get((key, value)) for value in seen]
        self.thin |= None in writers or len(set(seen)) < len(seen)
        if self.thin:
            return
        self.g1 |= any(self.rows[w]["type"] == "fail" for w, _ in writers)  # type: ignore[misc]
        self.g1 |= any(w == i and at > place for w, at in writers)  # type: ignore[misc]
        if own:
            unseen = seen[-1:] != own[-1:]
            self.g1 |= unseen and not self.lists
            self.strange |= unseen
        elif not seen:
            self.reads.append(Read(i, place, key, None, INIT))
        elif (writer := writers[-1][0]) != i:  # type: ignore[index]
            self.g1 |= self.last(writer, key) != seen[-1]
            self.reads.append(Read(i, place, key, seen[-1], writer))

    def _sessions(self) -> Pairs:
        def before(i: int, j: int) -> bool:
            one, other = self.rows[i], self.rows[j]
            return one["session"] == other["session"] and one["type"] == "ok" and one["t1"] < other["t0"]

        return {pair for pair in itertools.permutations(sorted(self.happened), 2) if before(*pair)}

    def _real_time(self) -> Pairs:
        return {
            (i, j)
            for i, j in itertools.permutations(sorted(self.happened), 2)
            if self.rows[i]["type"] == "ok" and self.rows[i]["t1"] < self.rows[j]["t0"]
        }

    def orders(self) -> Iterator[dict[str, list[tuple[Any, int]]]]:
        """Every order of versions of each key, with their writers, of which all reads are possible."""
        versions: dict[str, list[tuple[Any, int]]] = {}
        for (key, value), (txn, _) in self.writer.items():
            if (txn in self.happened or self.lists) and (self.lists or self.last(txn, key) == value):
                versions.setdefault(key, []).append((value, txn))
        read: dict[str, list[list[Any]]] = {key: [] for key in versions}
        for i in self.happened if self.lists else ():
            for op in self.rows[i]["ops"]:
                if op[0] == "r" and op[2]:
                    read.setdefault(op[1], []).append(op[2])
        for key in versions:  # what was aborted counts in a list where it was read
            seen = {value for one in read.get(key, ()) for value in one}
            versions[key] = [one for one in versions[key] if one[1] in self.happened or one[0] in seen]

        def possible(key: str) -> list[list[tuple[Any, int]]]:
            return [
                list(order)
                for order in itertools.permutations(versions.get(key, []))
                if all([value for value, _ in order[: len(seen)]] == seen for seen in read.get(key, []))
            ]

        keys = sorted({*versions, *read})
        for chosen in itertools.product(*map(possible, keys)):
            yield dict(zip(keys, chosen, strict=True))

    def holds(self, level: str) -> bool:
        """Whether a level holds. Of monotonic-snapshot-read nothing is said."""
        strength, base = "", level
        for prefix in ("strong-session-", "strong-"):
            if not strength and level.startswith(prefix):
                strength, base = prefix, level.removeprefix(prefix)
        base = {"causal": "causal-cerone"}.get(base, base)
        if self.thin or (base != "read-uncommitted" and self.g1) or (base in INT and self.internal):
            return False
        order = {"": set(), "strong-session-": self.so, "strong-": self.rt}[strength]
        return any(Ordered(self, versions, order).holds(base) for versions in self.orders())


class Ordered:
    """A history with one order of versions: Adya's dependencies, and the order that counts beside them."""

    def __init__(self, tried: Tried, versions: dict[str, list[tuple[Any, int]]], order: Pairs) -> None:
        self.t, self.n, self.order = tried, tried.n, order
        versions = {key: [one for one in some if one[1] in tried.happened] for key, some in versions.items()}
        self.at = {(key, value): i for key, some in versions.items() for i, (value, _) in enumerate(some)}
        self.ww = {
            (key, one, other)
            for key, some in versions.items()
            for (_, one), (_, other) in itertools.combinations(some, 2)
            if one != other
        }
        self.wr = {(read.writer, read.reader, read.place) for read in tried.reads if read.writer != INIT}
        self.rw = {
            (read, other)
            for read in tried.reads
            for value, other in versions.get(read.key, ())
            if read.value is None or (read.key, read.value) in self.at
            if other != read.reader and (read.value is None or self.at[read.key, value] > self.at[read.key, read.value])
        }
        self.dep = {(one, other) for _, one, other in self.ww} | {(w, r) for w, r, _ in self.wr} | order
        self.anti = {(read.reader, other) for read, other in self.rw}

    def holds(self, level: str) -> bool:
        ww = {(one, other) for _, one, other in self.ww}
        if level == "read-uncommitted":
            return acyclic(ww | self.order, self.n)
        if not acyclic(self.dep, self.n):
            return False
        return getattr(self, level.replace("-", "_"), self.acyclic)()

    def read_committed(self) -> bool:
        return True

    def acyclic(self) -> bool:
        """Serializable, and repeatable read: histories without predicates have no other anti-dependencies."""
        return acyclic(self.dep | self.anti, self.n)

    def cursor_stability(self) -> bool:
        return not any((read.key, other, read.reader) in self.ww for read, other in self.rw)

    def update_atomic(self) -> bool:
        return not any((other, one) in self.dep for one, other in self.anti)

    def one_rw(self) -> bool:
        reach = closure(self.dep, self.n)
        return not any(reach[other] >> one & 1 for one, other in self.anti)

    consistent_view = forward_consistent_view = parallel_snapshot_isolation = one_rw

    def snapshot_isolation(self) -> bool:
        return acyclic(self.dep | {(i, k) for i, j in self.dep for one, k in self.anti if j == one}, self.n)

    def prefix(self) -> bool:
        seen = {(w, r) for w, r, _ in self.wr} | self.order
        ww = {(one, other) for _, one, other in self.ww}
        return acyclic(seen | ww | {(i, k) for i, j in seen for one, k in self.anti if j == one}, self.n)

    def update_serializable(self) -> bool:
        writing = {txn for txn, _ in self.t.writer.values()}
        edges = self.dep | self.anti
        for reader in [None, *(set(range(self.n)) - writing)]:
            among = writing | {reader}
            if not acyclic({(i, j) for i, j in edges if i in among and j in among}, self.n):
                return False
        return True

    def monotonic_view(self) -> bool:
        reach = closure(self.dep, self.n)
        into = [(w, r, place) for w, r, place in self.wr]
        into += [
            (one, other, max(p for p, op in enumerate(self.t.rows[other]["ops"]) if op[0] != "r" and op[1] == key))
            for key, one, other in self.ww
            if not self.t.lists
        ]
        if self.t.lists:
            into += [
                (one, self.t.writer[key, value][0], self.t.writer[key, value][1])
                for (key, value), i in self.at.items()
                for (k, earlier), j in self.at.items()
                if k == key and j < i and (one := self.t.writer[k, earlier][0]) != self.t.writer[key, value][0]
            ]
        return not any(
            node == read.reader and place < read.place and (source == other or reach[other] >> source & 1)
            for read, other in self.rw
            for source, node, place in into
        )

    def _axiom(self, visible: set[tuple[int, int, int | None]]) -> bool:
        """`visible`: transactions, to whom, and before which of its operations (None: all)."""
        forced: Pairs = set()
        for read in self.t.reads:
            for other in {txn for (key, _), (txn, _) in self.t.writer.items() if key == read.key}:
                if other in (read.writer, read.reader) or other not in self.t.happened:
                    continue
                if any(
                    one == other and to == read.reader and (place is None or place < read.place)
                    for one, to, place in visible
                ):
                    if read.writer == INIT:
                        return False
                    forced.add((other, read.writer))
        return acyclic(self.dep | forced, self.n)

    def _session(self, *, own: bool = False, reads: bool = False, writes: bool = False, follow: bool = False) -> bool:
        """Terry et al. (1994): what must be in the copy of a read, closed under what a copy with a write must have."""
        so, happened = self.t.so, self.t.happened
        written = {key: {txn for (k, _), (txn, _) in self.t.writer.items() if k == key} for key, _ in self.t.writer}
        writers = {txn for txn, _ in self.t.writer.values() if txn in happened}
        after: dict[int, set[int]] = {w: set() for w in writers}  # what a copy with a write must have before it
        for w in writers:
            if writes:
                after[w] |= {one for one, other in so if other == w and one in writers}
            if follow:
                after[w] |= {
                    r.writer for r in self.t.reads if r.writer != INIT and ((r.reader, w) in so or r.reader == w)
                }
        forced: Pairs = {(one, w) for w, some in after.items() for one in some}
        for read in self.t.reads:
            copy = {read.writer} - {INIT}
            if own:
                copy |= {one for one, other in so if other == read.reader and one in writers}
            if reads:
                copy |= {r.writer for r in self.t.reads if r.writer != INIT and (r.reader, read.reader) in so}
            left = list(copy)
            while left:
                more = after.get(left.pop(), set()) - copy
                copy |= more
                left += more
            for one in (copy & written.get(read.key, set()) & happened) - {read.writer, read.reader}:
                if read.writer == INIT:
                    return False
                forced.add((one, read.writer))
        return acyclic(self.dep | forced, self.n)

    def read_your_writes(self) -> bool:
        return self._session(own=True)

    def monotonic_reads(self) -> bool:
        return self._session(reads=True)

    def monotonic_writes(self) -> bool:
        return self._session(writes=True)

    def writes_follow_reads(self) -> bool:
        return self._session(follow=True)

    def pram(self) -> bool:
        return self._session(own=True, reads=True, writes=True)

    def monotonic_atomic_view(self) -> bool:
        return self._axiom(set(self.wr))

    def read_atomic(self) -> bool:
        return self._axiom({(w, r, None) for w, r, _ in self.wr} | {(i, j, None) for i, j in self.order})

    def causal_cerone(self) -> bool:
        reach = closure({(w, r) for w, r, _ in self.wr} | self.order, self.n)
        return self._axiom({(i, j, None) for i in range(self.n) for j in range(self.n) if reach[i] >> j & 1})
