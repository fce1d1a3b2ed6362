"""Infers from a list-append history the order of versions, the edges, and the anomalies that need no graph.

A read of `[1 2 3]` shows that 1, 2 and 3 were appended in this order. The longest read of each key gives the order;
every other read must be a prefix of it (Kingsbury and Alvaro, "Elle", VLDB 2020, section 4). An unread append comes
after the last version that was read. All is done by joins of columns; Python loops only over the operations that a
join has found suspicious.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zephyr_lab.check.arrays import Bools, Ints
from zephyr_lab.check.chains import chains, spread
from zephyr_lab.check.graph import Edges, Kind, anti_dependencies
from zephyr_lab.check.history import READ, WRITE, History, Status
from zephyr_lab.check.inference import MOST_CASES, Inference
from zephyr_lab.check.versions import Table, happened, writers

_CHUNK = 1 << 17  # what fits in the cache


def infer(history: History) -> Inference:
    """The edges and cycle-free anomalies of a list-append history."""
    return _Lists(history).infer()


class _Lists:
    def __init__(self, history: History) -> None:
        self.history = h = history
        self.owner = h.owner
        self.codes = h.codes
        self.live, self.failed = writers(h, self.codes)
        self.happened = happened(h, self.codes, self.live)[self.owner]
        # The null of an indeterminate read is what was not told, and no read of nothing.
        told = (h.status == Status.OK)[self.owner] | (h.kind == WRITE) | (h.size >= 0)
        self.ok = self.happened & told
        self.reads = np.flatnonzero((h.kind == READ) & self.ok)
        self.full = self.reads[h.size[self.reads] > 0]
        self.appends = np.flatnonzero((h.kind == WRITE) & self.happened)
        self.chains = chains(h)
        self.last_code = self.codes.of(h.key[self.full], h.value[self.full])
        self.result = Inference([], len(h))

    def infer(self) -> Inference:
        self._version_order()
        self._compare_reads()
        self._own_operations()
        self._aborted()
        self._intermediate()
        self._lost_updates()
        self._edges()
        return self.result

    # ------------------------------------------------------------------ the order of versions

    def _version_order(self) -> None:
        """`order`: version codes, key after key; `first[key]`, `length[key]`: a key's range. Of several longest reads
        the first in the file counts."""
        h, keys = self.history, len(self.history.keys)
        longest = self._longest()
        single = self._single_appends(longest)
        have = np.flatnonzero(longest >= 0)
        self.length = np.zeros(keys, np.int64)
        self.length[have] = h.size[longest[have]]
        total = int(self.length.sum())
        self.first = np.zeros(keys, np.int64)
        at = np.cumsum(self.length) - self.length
        self.first[:] = at
        index = (
            np.arange(total)
            - np.repeat(at[have], self.length[have])
            + np.repeat(h.at[longest[have]], self.length[have])
        )
        self.order_key = np.repeat(have, self.length[have]).astype(np.int32)
        self.order = self.codes.of(self.order_key, h.elements[index])
        self.read_length = self.length.copy()
        self._append_singles(single)
        self.longest = longest
        self._places()
        if (self.place_of.get(self.order) != self.place).any():
            self._without_repeats()
            self._places()
        self.writer_op = self.live.get(self.order)

    def _longest(self) -> Ints:
        """Of each key the longest read, and of several the first in the file; -1: none."""
        h, full = self.history, self.full
        last = len(h.kind) - 1
        best = np.full(len(h.keys), last, np.int64)
        np.maximum.at(best, h.key[full].astype(np.intp), (h.size[full].astype(np.int64) << 32) + (last - full))
        return np.where(best > last, last - (best & 0xFFFFFFFF), -1)

    def _places(self) -> None:
        self.place = np.arange(len(self.order), dtype=np.int32)
        self.place -= self.first[self.order_key].astype(np.int32)
        self.place_of = Table(self.order, self.place, self.codes.size)

    def _without_repeats(self) -> None:
        """A read with an element twice gives the order of first occurrences."""
        _, firsts = np.unique(self.order, return_index=True)
        firsts.sort()
        self.order, self.order_key = self.order[firsts], self.order_key[firsts]
        self.length = np.bincount(self.order_key, minlength=len(self.length)).astype(np.int64)
        self.first = np.cumsum(self.length) - self.length

    def _single_appends(self, longest: Ints) -> Ints:
        """Appends to keys without a read value and without another append: their order is known anyway."""
        keys = self.history.key[self.appends]
        count = np.bincount(keys, minlength=len(longest))
        single: Ints = self.appends[(count[keys] == 1) & (longest[keys] < 0)]
        return single

    def _append_singles(self, single: Ints) -> None:
        if not len(single):
            return
        h = self.history
        order = np.concatenate([self.order, self.codes.of(h.key[single], h.value[single])])
        keys = np.concatenate([self.order_key, h.key[single]])
        by_key = np.argsort(keys, kind="stable")
        self.order, self.order_key = order[by_key], keys[by_key]
        self.length[h.key[single]] = 1
        self.first = np.cumsum(self.length) - self.length

    # ------------------------------------------------------------------ reads against the order

    def _compare_reads(self) -> None:
        """`agrees`: which of the reads are a prefix of their key's longest read, element by element."""
        h, full = self.history, self.full
        self.agrees = np.ones(len(full), np.bool_)
        size = h.size[full].astype(np.int64)
        stops, at = np.cumsum(size), h.at[full]
        further = h.at[self.longest[h.key[full]]] - at
        if len(h.elements) < 1 << 31:
            further = further.astype(np.int32)
        begin = 0
        while begin < len(full):
            base = stops[begin - 1] if begin else 0
            end = max(int(np.searchsorted(stops, base + _CHUNK, side="right")), begin + 1)
            sizes = size[begin:end]
            first, last = at[begin], at[end - 1] + sizes[-1]
            if last - first == stops[end - 1] - base:  # no other reads among these
                mine, place = h.elements[first:last], np.arange(first, last, dtype=further.dtype)
            else:
                place = spread(at[begin:end], at[begin:end], at[begin:end] + sizes)[1]
                mine = h.elements[place]
            place += np.repeat(further[begin:end], sizes)
            wrong = mine != h.elements[place]
            if wrong.any():
                of_read = np.repeat(np.arange(begin, end), sizes)
                self.agrees[of_read[wrong]] = False
            begin = end
        self._unwritten()
        for i in np.flatnonzero(~self.agrees)[:MOST_CASES]:
            op, key = int(full[i]), int(h.key[full[i]])
            self.result.add(
                "incompatible-order",
                key=h.keys[key],
                values=[h.list_of(op), h.list_of(int(self.longest[key]))],
                transactions=[int(self.owner[op]), int(self.owner[self.longest[key]])],
            )
        self._repeats()

    def _unwritten(self) -> None:
        """Reads with an element that nobody appended, not even somebody who was aborted."""
        h = self.history
        missing = (self.writer_op < 0) & (self.failed.get(self.order) < 0)
        suspicious = ~self.agrees
        if missing.any():
            suspicious |= np.isin(h.key[self.full], self.order_key[missing])
        cases = 0
        for op in self.full[suspicious].tolist():
            codes = self._elements(op)
            odd = np.flatnonzero((self.live.get(codes) < 0) & (self.failed.get(codes) < 0))
            if len(odd):
                value = h.named(int(h.elements[h.at[op] + odd[0]]))
                self.result.add("thin-air-read", key=h.key_of(op), value=value, transactions=[int(self.owner[op])])
                cases += 1
            if cases >= MOST_CASES:
                break

    def _elements(self, op: int) -> Ints:
        """The version codes that a read returned."""
        h = self.history
        listed = h.elements[h.at[op] : h.at[op] + h.size[op]]
        return self.codes.of(np.full(len(listed), h.key[op]), listed)

    def _repeats(self) -> None:
        h = self.history
        suspicious = ~self.agrees
        if int(self.read_length.sum()) > int(self.length[self.read_length > 0].sum()):
            suspicious |= (self.read_length > self.length)[h.key[self.full]]
        for op in self.full[suspicious].tolist():
            listed = h.list_of(int(op)) or []
            if len(set(listed)) < len(listed):
                twice = sorted({str(one) for one in listed if listed.count(one) > 1})
                self.result.add(
                    "duplicate-elements", key=h.key_of(op), values=twice, transactions=[int(self.owner[op])]
                )

    # ------------------------------------------------------------------ within one transaction

    def _own_operations(self) -> None:
        """Most transactions touch a key once, and have nothing to compare."""
        h, before = self.history, self.chains.before
        agrees = np.ones(len(before), np.bool_)
        agrees[self.full] = self.agrees
        read_later = self._read_later()
        second = np.flatnonzero((before >= 0) & self.ok)
        prior = before[second]
        # The list's end in the key's order after an operation, by others' reads: -1 for an unread append.
        at = np.maximum(h.size, 0)
        writes = np.flatnonzero(h.kind == WRITE)
        at[writes] = self.place_of.get(self.codes.of(h.key[writes], h.value[writes])) + 1
        at[writes[at[writes] == 0]] = -1
        reading, after_read = h.kind[second] == READ, h.kind[prior] == READ
        # A read leaves the list as it is; an append that is read later makes it longer by one.
        calm = agrees[second] & agrees[prior] & (at[prior] >= 0)
        calm &= np.where(reading, at[second] == at[prior], at[second] == at[prior] + 1)
        # An append that is not read later must only not have been read before.
        calm |= (
            ~reading
            & ~read_later[second]
            & ((at[second] < 0) | ((at[second] > at[prior]) & agrees[prior] & (at[prior] >= 0)))
        )
        # Nothing is known before the first append, so any position is right.
        calm |= ~reading & ~after_read & (before[prior] < 0) & (at[second] == at[prior] + 1) & (at[prior] >= 0)
        for number in sorted({*self.owner[second[~(calm & self.ok[prior])]].tolist()}):
            self._one_transaction(number)

    def _read_later(self) -> Bools:
        """Whether a read of the same key follows in the same transaction."""
        before = self.chains.before
        later = np.zeros(len(before), np.bool_)
        reached = before[self.history.kind == READ]
        while len(reached := reached[reached >= 0]):
            reached = reached[~later[reached]]
            later[reached] = True
            reached = before[reached]
        return later

    def _one_transaction(self, number: int) -> None:
        """Internal consistency (Cerone's INT), and reads of a transaction's own later appends."""
        h = self.history
        state: dict[int, tuple[bool, list[Any]]] = {}  # key -> (whether it is the whole list, what is known of its end)
        read: dict[int, dict[Any, int]] = {}
        internal = future = False
        for op in range(int(h.start[number]), int(h.start[number + 1])):
            key = int(h.key[op])
            if h.kind[op] == WRITE:
                whole, known = state.get(key, (False, []))
                value = h.named(h.value[op])
                state[key] = (whole, [*known, value])
                if value in read.get(key, {}) and not future:
                    future = True
                    self.result.add("future-read", key=h.keys[key], value=value, transactions=[number])
                continue
            if not self.ok[op]:
                continue  # what was not told
            listed = h.list_of(op) or []
            if key in state and not internal:
                whole, known = state[key]
                if listed != known if whole else listed[max(len(listed) - len(known), 0) :] != known:
                    internal = True
                    self.result.add(
                        "internal",
                        key=h.keys[key],
                        expected=known if whole else ["...", *known],
                        read=listed,
                        transactions=[number],
                    )
            state[key] = (True, listed)
            read.setdefault(key, {}).update(dict.fromkeys(listed, op))

    # ------------------------------------------------------------------ aborted, intermediate, lost

    def _aborted(self) -> None:
        """G1a, and dirty updates: an aborted append with a committed one after it."""
        h = self.history
        dead_op = np.where(self.writer_op < 0, self.failed.get(self.order), -1)
        dead = np.flatnonzero(dead_op >= 0)
        if len(dead):
            first_dead = np.full(len(h.keys), np.iinfo(np.int64).max)
            np.minimum.at(first_dead, self.order_key[dead], self.place[dead])
            reads = self.full[self.agrees & self.ok[self.full]]
            for op in reads[first_dead[h.key[reads]] < h.size[reads]][:MOST_CASES]:
                at = self.first[h.key[op]] + first_dead[h.key[op]]
                self._aborted_read(int(op), int(dead_op[at]))
            committed = (self.writer_op >= 0) & self.ok[self.writer_op]
            for at in dead.tolist():
                end = self.first[self.order_key[at]] + self.length[self.order_key[at]]
                later = np.flatnonzero(committed[at + 1 : end])
                if len(later):
                    self.result.add(
                        "dirty-update",
                        key=h.keys[self.order_key[at]],
                        values=[h.value_of(dead_op[at]), h.value_of(int(self.writer_op[at + 1 + later[0]]))],
                        transactions=[int(self.owner[dead_op[at]]), int(self.owner[self.writer_op[at + 1 + later[0]]])],
                    )
        for op in self.full[~self.agrees & self.ok[self.full]]:
            codes = self._elements(op)
            failed = np.where(self.live.get(codes) < 0, self.failed.get(codes), -1)
            if (failed >= 0).any():
                self._aborted_read(int(op), int(failed[failed >= 0][0]))

    def _aborted_read(self, op: int, write: int) -> None:
        h = self.history
        self.result.add(
            "G1a",
            key=h.key_of(op),
            value=h.named(h.value[write]),
            transactions=[int(self.owner[write]), int(self.owner[op])],
        )

    def _intermediate(self) -> None:
        """G1b: a read whose last element was followed by another append of its transaction."""
        h = self.history
        overwritten = (h.kind == WRITE) & (self.chains.next_write >= 0)
        live, dead = self.live.get(self.last_code), self.failed.get(self.last_code)
        write = np.where(live >= 0, live, dead)
        hit = (write >= 0) & overwritten[write] & (self.owner[write] != self.owner[self.full]) & self.ok[self.full]
        for i in np.flatnonzero(hit)[:MOST_CASES].tolist():
            self.result.add(
                "G1b",
                key=h.key_of(int(write[i])),
                value=h.value_of(int(write[i])),
                transactions=[int(self.owner[write[i]]), int(self.owner[self.full[i]])],
            )

    def _lost_updates(self) -> None:
        """Two committed transactions that read the same version of a key first, and then append to it."""
        h = self.history
        first = np.flatnonzero((self.chains.before < 0) & (h.kind == READ) & self.ok & (self.chains.next_write >= 0))
        size = np.maximum(h.size[first], 0).astype(np.int64)
        odd = np.zeros(len(h.kind), np.bool_)
        odd[self.full[~self.agrees]] = True
        calm, strange = first[~odd[first]], first[odd[first]]
        version = h.key[calm] * (int(size.max(initial=0)) + 1) + size[~odd[first]]
        self._collisions(calm, version)
        if len(strange):
            names: dict[Any, int] = {}
            lists = [(int(h.key[op]), *map(str, h.list_of(int(op)) or [])) for op in strange]
            self._collisions(strange, np.array([names.setdefault(one, len(names)) for one in lists]))

    def _collisions(self, ops: Ints, version: Ints) -> None:
        h = self.history
        by_version = np.argsort(version, kind="stable")
        again = version[by_version][1:] == version[by_version][:-1]
        if not again.any():
            return
        _, begin, count = np.unique(version[by_version], return_index=True, return_counts=True)
        for at, many in zip(begin[count > 1], count[count > 1], strict=True):
            colliding = ops[by_version[at : at + many]]
            self.result.add(
                "lost-update",
                key=h.key_of(colliding[0]),
                value=h.list_of(int(colliding[0])),
                transactions=[int(self.owner[op]) for op in colliding],
            )

    # ------------------------------------------------------------------ edges

    def _edges(self) -> None:
        h, n, owner = self.history, len(self.history), self.owner.take
        last = self.live.get(self.last_code)
        wrote = last >= 0
        parts = [Edges.of(owner(last[wrote]), owner(self.full[wrote]), Kind.WR, n, last[wrote], self.full[wrote])]
        # What was aborted, or never written, is no version; others follow each other over it.
        alive = self.writer_op >= 0
        before = np.concatenate([[0], np.cumsum(alive)])
        first, length = before[self.first], before[self.first + self.length] - before[self.first]
        made, key = self.writer_op[alive], self.order_key[alive]
        follows = key[1:] == key[:-1]
        one, two = made[:-1][follows], made[1:][follows]
        parts.append(Edges.of(owner(one), owner(two), Kind.WW, n, one, two))
        unread = self.appends[self.place_of.get(self.codes.of(h.key[self.appends], h.value[self.appends])) < 0]
        self.result.open_writes = unread[self.chains.next_write[unread] < 0]
        known = unread[length[h.key[unread]] > 0]
        latest = made[(first + length - 1)[h.key[known]]]  # a key's last version that was read
        parts.append(Edges.of(owner(latest), owner(known), Kind.WW, n, latest, known))
        # The position of a read's last element in the order, -1 for the empty list.
        empty = self.reads[h.size[self.reads] <= 0]
        place = np.concatenate([self.place_of.get(self.last_code), np.full(len(empty), -1, np.int32)])
        reads = np.concatenate([self.full, empty])
        placed = (place >= 0) | (np.arange(len(reads)) >= len(self.full))
        reads, place = reads[placed], place[placed].astype(np.int64)
        place = before[self.first[h.key[reads]] + place + 1] - first[h.key[reads]] - 1
        ends = place == length[h.key[reads]] - 1
        inner = reads[~ends]
        after = made[first[h.key[inner]] + place[~ends] + 1]
        parts.append(Edges.of(owner(inner), owner(after), Kind.RW, n, inner, after))
        at_end = reads[ends]
        anti, nodes = anti_dependencies(h.key[at_end], owner(at_end), at_end, h.key[unread], owner(unread), unread, n)
        self.result.parts, self.result.nodes = [*parts, anti], nodes
