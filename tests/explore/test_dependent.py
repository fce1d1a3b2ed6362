"""Which steps may change places: effects one by one, and a tiny server on which both orders are tried."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus

from tests.explore.test_effect import BROKEN, IDLE, ONE, OPEN, RC, RR, TWO, A, B, effects_of
from zephyr_lab.explore.effect import Effect, dependent
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.transcript import Event, EventKind, Failure

MEET = {
    "two locks on one row": (Effect(A, locks=ONE), Effect(B, locks=ONE)),
    "a commit and who reads what it publishes": (Effect(A, publishes=ONE), Effect(B, looks=ONE)),
    "a commit and who locks it": (Effect(A, publishes=ONE), Effect(B, locks=ONE)),
    "a commit and who takes a snapshot": (Effect(A, publishes=ONE), Effect(B, everywhere=True)),
    "a lock let go, and who takes it": (Effect(A, frees=ONE), Effect(B, locks=ONE)),
    "two that wait": (Effect(A, waits=True), Effect(B, waits=True)),
    "what is watched and what is seen": (Effect(A, watched=True), Effect(B, looks=ONE)),
    "one session": (Effect(A), Effect(A | B)),
    "what is opaque and a lock on a table": (Effect(A, opaque=True), Effect(B, tables=True)),
    "what is opaque, twice": (Effect(A, opaque=True), Effect(B, opaque=True)),
}
PASS = {
    "locks on two rows": (Effect(A, locks=ONE), Effect(B, locks=TWO)),
    "a read and an uncommitted write": (Effect(A, looks=ONE), Effect(B, locks=ONE)),
    "two reads": (Effect(A, looks=ONE), Effect(B, looks=ONE)),
    "two snapshots": (Effect(A, everywhere=True), Effect(B, everywhere=True)),
    "two commits": (Effect(A, frees=ONE, publishes=ONE), Effect(B, frees=ONE, publishes=ONE)),
    "a commit and who reads another row": (Effect(A, publishes=ONE), Effect(B, looks=TWO)),
    "a lock let go, and a read": (Effect(A, frees=ONE), Effect(B, looks=ONE)),
    "a lock let go, and a snapshot": (Effect(A, frees=ONE), Effect(B, everywhere=True)),
    "one that waits": (Effect(A, waits=True, locks=ONE), Effect(B, locks=TWO)),
    "what is watched and nothing": (Effect(A, watched=True), Effect(B)),
    "what is watched and a lock on a table": (Effect(A, watched=True), Effect(B, tables=True)),
    "what is opaque and nothing": (Effect(A, opaque=True), Effect(B)),
    "locks on two tables": (Effect(A, tables=True), Effect(B, tables=True)),
}


@pytest.mark.parametrize("name", MEET)
def test_steps_that_meet_are_dependent(name: str) -> None:
    """Whichever of the two comes first."""
    one, other = MEET[name]
    assert dependent(one, other)
    assert dependent(other, one)


@pytest.mark.parametrize("name", PASS)
def test_steps_that_do_not_meet_are_independent(name: str) -> None:
    """Else a search runs schedules that differ in nothing."""
    one, other = PASS[name]
    assert not dependent(one, other)
    assert not dependent(other, one)


# ---------------------------------------------------------------------- a server that fits on a page


@dataclass
class Client:
    open: bool = False
    failed: bool = False
    snapshot: dict[str, str] | None = None
    pending: dict[str, str] = field(default_factory=dict)
    waits: str = ""
    step: str = ""
    told: list[str] = field(default_factory=list)


@dataclass
class Server:
    """Rows with multi-version concurrency and first-updater-wins, as the manual has it (13.2.1 and 13.2.2).

    A row holds who wrote it, in order, so that nothing is overwritten unnoticed.
    """

    one_snapshot: bool
    rows: dict[str, str] = field(default_factory=lambda: {"x": "", "y": ""})
    clients: dict[str, Client] = field(default_factory=lambda: {name: Client() for name in "ABC"})
    queue: list[str] = field(default_factory=list)

    def holder(self, row: str, but: str) -> str | None:
        return next((name for name, one in self.clients.items() if name != but and row in one.pending), None)

    def take(self, name: str, step: str, sql: str) -> list[Event]:
        one = self.clients[name]
        one.step = step
        verb, _, row = sql.partition(" ")
        events: list[Event] = []
        if one.failed and verb not in ("commit", "rollback"):
            self.say(events, name, "25P02", failed=True)
            return events
        if verb in ("read", "write") and self.one_snapshot and one.snapshot is None:
            one.snapshot = dict(self.rows)
        if verb == "begin":
            one.open = True
            self.say(events, name, "ok")
        elif verb == "read":
            self.say(events, name, one.pending.get(row, (one.snapshot or self.rows)[row]))
            self.settle(events, name)
        elif verb == "write":
            self.write(events, name, row)
        else:
            if verb == "commit" and not one.failed:
                self.rows |= one.pending
            self.say(events, name, "ok")
            self.end(events, name)
        return events

    def say(self, events: list[Event], name: str, what: str, failed: bool = False) -> None:
        one = self.clients[name]
        one.told.append(what)
        kind = EventKind.FAILED if failed else EventKind.COMPLETED
        events.append(Event(name, one.step, "", kind, failure=Failure(what) if failed else None))

    def write(self, events: list[Event], name: str, row: str) -> None:
        one = self.clients[name]
        holder = self.holder(row, but=name)
        if holder:
            chain, waiting = holder, one.waits
            while chain and chain != name:
                chain = self.holder(self.clients[chain].waits, but=chain) if self.clients[chain].waits else None
            if chain:
                self.fail(events, name, "40P01")
            elif not waiting:
                one.waits = row
                self.queue.append(name)
                events.append(Event(name, one.step, "", EventKind.WAITS))
        elif one.snapshot is not None and row not in one.pending and self.rows[row] != one.snapshot[row]:
            self.fail(events, name, "40001")
        else:
            one.pending[row] = one.pending.get(row, self.rows[row]) + name
            self.say(events, name, "1 row")
            self.settle(events, name)

    def settle(self, events: list[Event], name: str) -> None:
        """A statement on its own is a transaction of its own."""
        one = self.clients[name]
        if not one.open:
            self.rows |= one.pending
            self.end(events, name)

    def fail(self, events: list[Event], name: str, sqlstate: str) -> None:
        self.say(events, name, sqlstate, failed=True)
        one = self.clients[name]
        was_open = one.open
        self.end(events, name)
        one.open = one.failed = was_open

    def end(self, events: list[Event], name: str) -> None:
        old = self.clients[name]
        self.clients[name].__dict__.update(Client(step=old.step, told=old.told).__dict__)
        for waiter in list(self.queue):
            row = self.clients[waiter].waits
            if waiter in self.queue and not self.holder(row, but=waiter):
                self.queue.remove(waiter)
                self.clients[waiter].waits = ""
                self.write(events, waiter, row)

    def status(self, name: str) -> TransactionStatus:
        one = self.clients[name]
        return BROKEN if one.failed else OPEN if one.open else IDLE


def carry_out(
    level: IsolationLevel, programs: Sequence[Sequence[str]], schedule: Sequence[str]
) -> tuple[list[str], Any, list[Effect], list[bool]]:
    """Whoever could move of a schedule; what there is in the end; what each step did, and whether it was local."""
    server, effects = Server(level is RR), effects_of(level, *programs)
    taken = dict.fromkeys("ABC", 0)
    moved, found, local = [], [], []
    for name in schedule:
        program = programs["ABC".index(name)]
        if server.clients[name].waits or taken[name] == len(program):
            continue
        step = f"{name}{taken[name]}"
        local.append(effects.is_local(step))
        events = server.take(name, step, program[taken[name]])
        taken[name] += 1
        found.append(effects.after(events, {one: server.status(one) for one in "ABC"}))
        moved.append(name)
    return moved, (server.rows, server.clients, server.queue), found, local


bodies = st.lists(st.sampled_from(["read x", "read y", "write x", "write y"]), min_size=1, max_size=3)
ends = st.sampled_from(["commit", "rollback"])
programs_of_three = st.lists(
    st.one_of(bodies, st.builds(lambda body, end: ["begin", *body, end], bodies, ends)),
    min_size=3,
    max_size=3,
)


@pytest.mark.parametrize("level", [RC, RR])
@settings(max_examples=80, deadline=None, derandomize=True)
@given(programs=programs_of_three, schedule=st.lists(st.sampled_from("ABC"), min_size=4, max_size=15))
def test_neighbours_that_are_independent_can_change_places(
    level: IsolationLevel, programs: list[list[str]], schedule: list[str]
) -> None:
    """Independence as Mazurkiewicz (1977) has it: both orders lead to the same, whatever came before and comes after.

    The same for a step of which it was said beforehand that nobody can tell when it happens.
    """
    moved, end, found, local = carry_out(level, programs, schedule)
    for i, (one, other) in enumerate(itertools.pairwise(moved)):
        if found[i].sessions & found[i + 1].sessions:
            continue
        if not dependent(found[i], found[i + 1]) or local[i] or local[i + 1]:
            swapped = [*moved[:i], other, one, *moved[i + 2 :]]
            assert carry_out(level, programs, swapped)[:2] == (swapped, end), (i, moved)
