"""Infers from a register history what is certain: reads-from, and some version orders.

A read shows which write it saw, but not what that write replaced. Only that every write follows the initial state is
certain. More follows from assumptions that a store may not satisfy, so each is an option (Kingsbury and Alvaro,
"Elle", VLDB 2020, section 5): *wfr* a transaction that reads and writes a key writes the next version; *sequential*
each key's versions follow the order of every session; *linearizable* they follow real time. `decide.py` decides what
is left open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zephyr_lab.check.accesses import Accesses
from zephyr_lab.check.arrays import Ints
from zephyr_lab.check.cycles import components
from zephyr_lab.check.graph import Edges, Kind, anti_dependencies
from zephyr_lab.check.history import NULL, READ, History, Status
from zephyr_lab.check.inference import Inference


@dataclass(frozen=True)
class Assumptions:
    """Assumptions about each key: its order of versions; `fragment`: what nobody wrote was written outside the
    history, which is a part of what happened. None: of registers only, and of those that the history writes."""

    wfr: bool = False
    sequential: bool = False
    linearizable: bool = False
    fragment: bool | None = None


def infer(history: History, assumptions: Assumptions = Assumptions()) -> Inference:
    """The edges and cycle-free anomalies of a register history."""
    return _Registers(Accesses(history), assumptions).infer()


class _Registers:
    def __init__(self, accesses: Accesses, assumptions: Assumptions) -> None:
        self.a, self.history, self.assumptions = accesses, accesses.history, assumptions
        self.result = Inference([], len(self.history))

    def infer(self) -> Inference:
        self._internal()
        self._aborted_and_intermediate()
        self._lost_updates()
        self._edges()
        self.result.complete = self.history.told_order
        return self.result

    def _name(self, op: int) -> dict[str, object]:
        h = self.history
        return {"key": h.key_of(op), "value": h.value_of(op)}

    def _internal(self) -> None:
        """A read that differs from the transaction's own last read or write of the key (Cerone's INT)."""
        h, a = self.history, self.a
        second = np.flatnonzero((h.kind == READ) & (a.before >= 0) & a.ok)
        second = second[h.value[second] != h.value[a.before[second]]]
        _, first = np.unique(a.owner[second], return_index=True)
        for op in second[first].tolist():
            self._differs("internal", op, int(a.before[op]))
        # Neither is a history in Adya's sense (section 3.1.2), nor in Biswas and Enea's.
        for op in second[(a.own[second] >= 0)].tolist():
            if h.value[op] != h.value[a.own[op]]:
                self._differs("own-write-unseen", op, int(a.own[op]))
        own_later = a.seen[(a.writer[a.seen] > a.seen) & (a.owner[a.writer[a.seen]] == a.owner[a.seen])]
        for op in own_later.tolist():
            self.result.add("future-read", transactions=[int(a.owner[op])], **self._name(op))

    def _differs(self, anomaly: str, op: int, prior: int) -> None:
        h = self.history
        self.result.add(
            anomaly,
            key=h.key_of(op),
            expected=h.value_of(prior),
            read=h.value_of(op),
            transactions=[int(self.a.owner[op])],
        )

    def _aborted_and_intermediate(self) -> None:
        h, a = self.history, self.a
        codes = a.codes.of(h.key[a.seen], h.value[a.seen])
        failed = np.where(a.writer[a.seen] < 0, a.failed.get(codes), -1)
        self._unwritten(failed)
        for i in np.flatnonzero(failed >= 0).tolist():
            self.result.add(
                "G1a", transactions=[int(a.owner[failed[i]]), int(a.owner[a.seen[i]])], **self._name(a.seen[i])
            )
        write = np.where(a.writer[a.seen] >= 0, a.writer[a.seen], failed)
        hit = (write >= 0) & ~a.final[write] & (a.owner[write] != a.owner[a.seen])
        for i in np.flatnonzero(hit).tolist():
            self.result.add(
                "G1b", transactions=[int(a.owner[write[i]]), int(a.owner[a.seen[i]])], **self._name(a.seen[i])
            )

    def _lost_updates(self) -> None:
        h, a = self.history, self.a
        first = a.reads[a.next_write[a.reads] >= 0]
        null = h.value[first] == NULL
        version = np.where(null, -1 - h.key[first].astype(np.int64), 0)
        version[~null] = a.codes.of(h.key[first[~null]], h.value[first[~null]])
        by_version = np.argsort(version, kind="stable")
        _, begin, count = np.unique(version[by_version], return_index=True, return_counts=True)
        for at, many in zip(begin[count > 1], count[count > 1], strict=True):
            ops = first[by_version[at : at + many]]
            self.result.add("lost-update", transactions=[int(a.owner[op]) for op in ops], **self._name(ops[0]))

    def _unwritten(self, failed: Ints) -> None:
        """Reads of values that nobody wrote, not even somebody who was aborted."""
        a, h = self.a, self.history
        unwritten = a.seen[(a.writer[a.seen] < 0) & (failed < 0)]
        outside = np.full(len(unwritten), bool(self.assumptions.fragment))
        if self.assumptions.fragment is None:
            outside = np.isin(h.key[unwritten], h.key[h.kind != READ])
        for op in unwritten[~outside].tolist():
            hint = f" (if it was there at first, say --initial {h.value_of(op)})"
            self.result.add("thin-air-read", transactions=[int(a.owner[op])], hint=hint, **self._name(op))
        odd = unwritten[outside].tolist()
        h.warnings[:] = [
            f"{h.source}, line {h.line[a.owner[op]]}: reads {h.value_of(op)!r} in {h.key_of(op)!r}, "
            "which nobody wrote: assumed to be written outside the history"
            for op in odd[:20]
        ]
        if len(odd) > 20:
            h.warnings.append(f"{h.source}: {len(odd) - 20} more reads of values that nobody wrote")

    def _edges(self) -> None:
        h, a, n = self.history, self.a, len(self.history)
        write = a.writer[a.seen]
        # Its own value after its own write is no dependency; any other read is.
        hit = (write >= 0) & a.final[write]
        parts = [Edges.of(a.owner[write[hit]], a.owner[a.seen[hit]], Kind.WR, n, write[hit], a.seen[hit])]
        reads, written = a.of_others()
        of_nothing = reads[written < 0]
        anti, nodes = anti_dependencies(
            h.key[of_nothing], a.owner[of_nothing], of_nothing, h.key[a.writes], a.owner[a.writes], a.writes, n
        )
        parts.append(anti)
        parts += self._assumed(nodes)
        self.result.parts, self.result.nodes = parts, nodes

    # ------------------------------------------------------------------ version orders by assumption

    def _assumed(self, nodes: int) -> list[Edges]:
        """ww and rw edges from recorded or assumed version orders; a cyclic one is an anomaly, and left out."""
        links: set[tuple[int, int]] = set()
        if self.history.replaced:
            links = self._told()
            if cyclic := self._cyclic_keys(links):
                for key, values in cyclic.items():
                    self.result.add(
                        "cyclic-versions", key=key, values=values, assumed="as the server told", transactions=[]
                    )
        sources = {"wfr": self._wfr, "sequential": self._sequential, "linearizable": self._linearizable}
        for name, source in sources.items():
            if not getattr(self.assumptions, name):
                continue
            more = links | set(source())
            if cyclic := self._cyclic_keys(more):
                for key, values in cyclic.items():
                    self.result.add("cyclic-versions", key=key, values=values, assumed=name, transactions=[])
            else:
                links = more
        return self._edges_of(links, nodes) if links else []

    def _version(self, op: int) -> int:
        """A number for the version that an operation read or wrote; negative for the initial one of a key."""
        h = self.history
        if h.value[op] == NULL:
            return -1 - int(h.key[op])
        return int(self.a.codes.of(h.key[op : op + 1], h.value[op : op + 1])[0])

    def _last_and_first(self) -> dict[int, dict[int, tuple[int, int]]]:
        """key -> transaction -> its last and its first version of the key, as visible to others."""
        h, a = self.history, self.a
        reads = {(int(a.owner[op]), int(h.key[op])): int(op) for op in a.reads}
        writes = {(int(a.owner[op]), int(h.key[op])): int(op) for op in np.flatnonzero(a.final & a.possible)}
        found: dict[int, dict[int, tuple[int, int]]] = {}
        for place in sorted({*reads, *writes}):
            last = writes[place] if place in writes else reads[place]
            first = reads[place] if place in reads else writes[place]
            found.setdefault(place[1], {})[place[0]] = (self._version(last), self._version(first))
        return found

    def _told(self) -> set[tuple[int, int]]:
        """The versions that writes replaced, as far as recorded; within a transaction its last write counts."""
        h, a = self.history, self.a
        links = set()
        for op, replaced in h.replaced.items():
            if a.possible[op]:
                before = -1 - int(h.key[op])
                if replaced != NULL:
                    before = int(a.codes.of(h.key[op : op + 1], np.array([replaced]))[0])
                links.add((before, self._version(op)))
        final = {self._version(int(op)) for op in a.writes}
        after = dict(links)
        for before, version in sorted(links):
            while version not in final and version in after:
                version = after[version]
            links.add((before, version))
        return links

    def _wfr(self) -> Iterator[tuple[int, int]]:
        for by_transaction in self._last_and_first().values():
            yield from ((first, last) for last, first in by_transaction.values() if first != last)

    def _sequential(self) -> Iterator[tuple[int, int]]:
        for by_transaction in self._last_and_first().values():
            last_of: dict[int, int] = {}
            for number, (last, first) in by_transaction.items():
                session = int(self.history.session[number])
                if session in last_of and last_of[session] != first:
                    yield last_of[session], first
                last_of[session] = last

    def _linearizable(self) -> Iterator[tuple[int, int]]:
        h = self.history
        for by_transaction in self._last_and_first().values():
            timed = [number for number in by_transaction if h.end[number] >= 0 and h.status[number] == Status.OK]
            timed.sort(key=lambda number: h.end[number])
            for number, (_, first) in by_transaction.items():
                latest_begin = -1
                # Backwards from the invocation; a transaction that ended before a counted one began is implied by it.
                for earlier in reversed([one for one in timed if h.end[one] < h.begin[number]]):
                    if h.end[earlier] < latest_begin:
                        break
                    latest_begin = max(latest_begin, int(h.begin[earlier]))
                    last = by_transaction[earlier][0]
                    if last != first:
                        yield last, first

    def _cyclic_keys(self, links: set[tuple[int, int]]) -> dict[object, list[object]]:
        h = self.history
        initial = {
            (-1 - key, version)
            for key, versions in self._last_and_first().items()
            for pair in versions.values()
            for version in pair
            if version >= 0
        }
        pairs = sorted(links | initial)
        numbers: dict[int, int] = {}
        for pair in pairs:
            for version in pair:
                numbers.setdefault(version, len(numbers))
        source, target = (np.array([numbers[pair[i]] for pair in pairs], np.int64) for i in (0, 1))
        label = components(source, target, len(numbers))
        found: dict[object, list[object]] = {}
        inside = {
            version
            for pair, cyclic in zip(pairs, label[source] == label[target], strict=True)
            if cyclic
            for version in pair
        }
        names = {self._version(int(op)): self._name(int(op)) for op in np.flatnonzero(self.a.possible)}
        for version in sorted(inside):
            said = names.get(version, {"key": h.keys[-1 - version] if version < 0 else "?", "value": None})
            found.setdefault(said["key"], []).append(said["value"])
        return found

    def _edges_of(self, links: set[tuple[int, int]], nodes: int) -> list[Edges]:
        a = self.a
        reads: dict[int, list[int]] = {}
        for op in np.flatnonzero((self.history.kind == READ) & a.ok & (a.own < 0)).tolist():
            reads.setdefault(self._version(int(op)), []).append(int(op))
        writes = {self._version(int(op)): int(op) for op in a.writes}
        found: dict[Kind, list[tuple[int, int]]] = {Kind.WW: [], Kind.RW: []}
        for one, two in sorted(links):
            if (write := writes.get(two)) is not None:
                if one in writes:
                    found[Kind.WW].append((writes[one], write))
                found[Kind.RW] += [(read, write) for read in reads.get(one, [])]
        parts = []
        for kind, pairs in found.items():
            first, second = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
            parts.append(Edges.of(a.owner[first], a.owner[second], kind, nodes, first, second))
        return parts
