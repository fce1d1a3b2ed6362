"""What a step does, by which independence is decided: what it reads, locks, publishes, and lets go of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from zephyr_lab.explore.effect import Effect, Effects
from zephyr_lab.explore.footprint import OPAQUE, UNKNOWN, Ending, Footprint, Rows
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Session, Spec, Step
from zephyr_lab.schedule.transcript import Event, EventKind, Failure

IDLE, OPEN, BROKEN = TransactionStatus.IDLE, TransactionStatus.INTRANS, TransactionStatus.INERROR
RC, RR, SER = IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE
X, Y, T = Rows("t", "id", 1), Rows("t", "id", 2), Rows("t")
A, B = frozenset({"A"}), frozenset({"B"})
ONE, TWO = frozenset({X}), frozenset({Y})


def reading(*rows: Rows) -> Footprint:
    return Footprint(frozenset(rows), idle=False)


def writing(*rows: Rows) -> Footprint:
    return Footprint(*[frozenset(rows)] * 3, idle=False)


FOOTPRINTS = {
    "begin": Footprint(begins=True), "commit": Footprint(ends=Ending.COMMIT),
    "rollback": Footprint(ends=Ending.ROLLBACK),
    "savepoint": Footprint(saves=True), "back": Footprint(ends=Ending.TO_SAVEPOINT), "set": Footprint(),
    "read x": reading(X), "read y": reading(Y), "read all": reading(T), "write x": writing(X), "write y": writing(Y),
    "lock x": Footprint(*[frozenset({X})] * 2, idle=False), "opaque": OPAQUE, "unknown": UNKNOWN, "no rows": reading(),
    "first": replace(reading(T), by_place=frozenset({"t"})), "write all": writing(T),
    "insert": replace(writing(T), inserts=frozenset({T})),
    "begin isolation level serializable": Footprint(begins=True),
}  # fmt: skip


def spec_of(programs: Sequence[Sequence[str]], setup: str | None = None, setups: Sequence[str] = ()) -> Spec:
    sessions = tuple(
        Session(name, tuple(Step(f"{name}{i}", name, sql) for i, sql in enumerate(program)), setup)
        for name, program in zip("ABC", programs, strict=False)
    )
    return Spec("s", sessions, tuple(setups))


def effects_of(level: IsolationLevel, *programs: Sequence[str], setup: str | None = None) -> Effects:
    return Effects(spec_of(programs, setup), level, FOOTPRINTS.__getitem__)


def after(
    effects: Effects, step: str, status: TransactionStatus, sqlstate: str = "", kind: EventKind | None = None
) -> Effect:
    """What a step did that led to one event, and left its session's transaction so."""
    session = effects.spec.steps[step].session
    kind = kind or (EventKind.FAILED if sqlstate else EventKind.COMPLETED)
    event = Event(session, step, "", kind, failure=Failure(sqlstate) if sqlstate else None)
    return effects.after([event], {session: status})


def followed(level: IsolationLevel, *program: str, setup: str | None = None) -> list[Effect]:
    """The effects of a session's steps, none of which fails."""
    effects, is_open, found = effects_of(level, program, setup=setup), bool(setup), []
    for i, sql in enumerate(program):
        footprint = FOOTPRINTS[sql]
        is_open = (is_open or footprint.begins) and footprint.ends not in (Ending.COMMIT, Ending.ROLLBACK)
        found.append(after(effects, f"A{i}", OPEN if is_open else IDLE))
    return found


@pytest.mark.parametrize(
    "part",
    [{"looks": ONE}, {"locks": ONE}, {"frees": ONE}, {"publishes": ONE}, {"everywhere": True}, {"waits": True},
     {"watched": True}, {"tables": True}, {"opaque": True}],
)  # fmt: skip
def test_two_effects_joined_have_all_of_both(part: dict[str, Any]) -> None:
    """In either order; only a lock on a table leaves an effect local."""
    some = Effect(A, **part)
    assert some.joined(Effect(B)) == Effect(B).joined(some) == Effect(A | B, **part)
    assert some.is_local is ("tables" in part)
    assert not some.is_nothing
    assert Effect(A).is_local
    assert Effect(A).is_nothing


@pytest.mark.parametrize(
    ("level", "program", "effects"),
    [
        (RC, ["begin", "read x", "write x", "commit"],
         [Effect(A), Effect(A, looks=ONE, tables=True), Effect(A, looks=ONE, locks=ONE, tables=True),
          Effect(A, frees=ONE, publishes=ONE, tables=True)]),
        (RC, ["begin", "write x", "rollback"],
         [Effect(A), Effect(A, looks=ONE, locks=ONE, tables=True), Effect(A, frees=ONE, tables=True)]),
        (RC, ["begin", "lock x", "commit"],
         [Effect(A), Effect(A, looks=ONE, locks=ONE, tables=True), Effect(A, frees=ONE, tables=True)]),
        (RC, ["write x"], [Effect(A, looks=ONE, locks=ONE, frees=ONE, publishes=ONE, tables=True)]),
        (RC, ["begin", "commit"], [Effect(A), Effect(A)]),
        (RC, ["begin", "write x", "back", "commit"],
         [Effect(A), Effect(A, looks=ONE, locks=ONE, tables=True), Effect(A, frees=ONE, tables=True),
          Effect(A, frees=ONE, publishes=ONE, tables=True)]),
        (RR, ["begin", "set", "read x", "read y", "commit"],
         [Effect(A), Effect(A), Effect(A, everywhere=True, tables=True), *[Effect(A, tables=True)] * 2]),
        (RR, ["read x"], [Effect(A, looks=ONE, tables=True)]),
        (RR, ["begin", "write x"], [Effect(A), Effect(A, locks=ONE, everywhere=True, tables=True)]),
        (SER, ["begin", "read x", "read y", "commit"],
         [Effect(A), Effect(A, looks=ONE, everywhere=True, tables=True), Effect(A, looks=TWO, tables=True),
          Effect(A, watched=True, tables=True)]),
        (SER, ["begin", "write x", "set", "read y", "commit"],
         [Effect(A), Effect(A, looks=ONE, locks=ONE, everywhere=True, watched=True, tables=True), Effect(A),
          Effect(A, looks=TWO, watched=True, tables=True),
          Effect(A, frees=ONE, publishes=ONE, watched=True, tables=True)]),
        (SER, ["read x"], [Effect(A, looks=ONE, watched=True, tables=True)]),
        (SER, ["set", "begin", "commit"], [Effect(A), Effect(A), Effect(A)]),
        (RC, ["begin", "opaque", "read x", "commit", "read x"],
         [Effect(A), *[Effect(A, opaque=True)] * 2, Effect(A, opaque=True), Effect(A, looks=ONE, tables=True)]),
    ],
)  # fmt: skip
def test_a_step_does_what_the_manual_says(level: IsolationLevel, program: list[str], effects: list[Effect]) -> None:
    """13.2: what each level's statements see, and when a transaction's changes are seen and its locks let go."""
    assert followed(level, *program) == effects


def test_a_failed_transaction_lets_go_at_once_and_publishes_nothing() -> None:
    """Then each statement is refused (25P02), and does nothing."""
    effects = effects_of(RC, ["begin", "write x", "read y", "read y", "commit", "write x"])
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    assert after(effects, "A2", BROKEN, "22012") == Effect(A, looks=TWO, frees=ONE, tables=True)
    assert after(effects, "A3", BROKEN, "25P02") == Effect(A)
    assert after(effects, "A4", IDLE) == Effect(A)
    assert after(effects, "A5", IDLE).publishes == ONE


@pytest.mark.parametrize(
    ("kind", "sqlstate"), [(EventKind.FAILED, "40001"), (EventKind.LOST, ""), (EventKind.NOT_SENT, "")]
)
def test_a_commit_that_fails_or_is_lost_publishes_nothing(kind: EventKind, sqlstate: str) -> None:
    """Of a lost one nothing is known, and the schedule is not judged."""
    effects = effects_of(RC, ["begin", "write x", "commit"])
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    assert after(effects, "A2", IDLE, sqlstate, kind) == Effect(A, frees=ONE, tables=True)


def test_what_was_done_before_a_savepoint_may_yet_be_committed() -> None:
    """The failed transaction comes back to it, and then publishes."""
    effects = effects_of(RC, ["begin", "write x", "savepoint", "read y", "back", "commit"])
    for step in ("A0", "A1", "A2"):
        after(effects, step, OPEN)
    assert after(effects, "A3", BROKEN, "22012").frees == ONE
    assert after(effects, "A4", OPEN) == Effect(A, frees=ONE, tables=True)
    assert after(effects, "A5", IDLE) == Effect(A, frees=ONE, publishes=ONE, tables=True)


def test_who_waits_holds_what_it_asked_for_and_whoever_wakes_it_moves_with_it() -> None:
    """The effect of a commit is that of the resumed statement as well."""
    effects = effects_of(RC, ["begin", "write x", "commit"], ["begin", "write x", "commit"])
    for step in ("A0", "B0", "A1"):
        after(effects, step, OPEN)
    waits = after(effects, "B1", TransactionStatus.ACTIVE, kind=EventKind.WAITS)
    assert waits == Effect(B, looks=ONE, locks=ONE, waits=True, tables=True)
    events = [Event("A", "A2", "", EventKind.COMPLETED), Event("B", "B1", "", EventKind.COMPLETED, resumed=True)]
    both = effects.after(events, {"A": IDLE, "B": OPEN})
    assert both == Effect(A | B, looks=ONE, locks=ONE, frees=ONE, publishes=ONE, tables=True)
    assert after(effects, "B2", IDLE) == Effect(B, frees=ONE, publishes=ONE, tables=True)


def test_what_waits_is_open_and_comes_back_with_its_snapshot() -> None:
    """A message that begins and waits, and goes on later at REPEATABLE READ."""
    footprint = replace(writing(X), begins=True, saves=True)
    spec = spec_of([["begin; write x", "read y"]])
    effects = Effects(spec, RR, {"begin; write x": footprint, "read y": reading(Y)}.__getitem__)
    assert after(effects, "A0", TransactionStatus.ACTIVE, kind=EventKind.WAITS).everywhere
    assert after(effects, "A1", OPEN) == Effect(A, tables=True)


def test_at_serializable_a_failure_is_watched_if_it_had_read() -> None:
    """It lets go of what says that it has read; and after a refusal (40001) all failures are doubtful."""
    effects = effects_of(SER, ["begin", "read x", "set", "set", "rollback", "set"])
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    assert after(effects, "A2", BROKEN, "22012") == Effect(A, watched=True, tables=True)
    assert after(effects, "A3", BROKEN, "25P02") == Effect(A)
    assert after(effects, "A4", IDLE) == Effect(A)
    effects.begin()
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    assert after(effects, "A2", BROKEN, "40001").watched
    assert after(effects, "A3", BROKEN, "25P02") == Effect(A, watched=True)
    assert after(effects, "A4", IDLE) == Effect(A, watched=True)
    assert after(effects, "A5", IDLE) == Effect(A)
    effects.begin()
    after(effects, "A0", OPEN)
    after(effects, "A2", BROKEN, "22012")
    assert after(effects, "A3", BROKEN, "25P02") == Effect(A)


def test_after_a_refusal_every_failure_is_doubtful() -> None:
    """Also another session's, later on; without the watch there may have been none."""
    effects = effects_of(SER, ["begin", "read x"], ["begin", "read x", "set"], ["set"])
    after(effects, "A0", OPEN)
    after(effects, "B0", OPEN)
    after(effects, "A1", BROKEN, "40001")
    after(effects, "C0", IDLE)
    after(effects, "B1", BROKEN, "22012")
    assert after(effects, "B2", BROKEN, "25P02") == Effect(B, watched=True)


def test_an_event_of_another_session_counts_behind_a_refused_statement() -> None:
    """Whatever wakes it at that time."""
    effects = effects_of(RC, ["begin", "set"], ["write x"])
    after(effects, "A0", BROKEN, "22012")
    events = [
        Event("A", "A1", "", EventKind.FAILED, failure=Failure("25P02")),
        Event("B", "B0", "", EventKind.COMPLETED, resumed=True),
    ]
    assert effects.after(events, {"A": BROKEN, "B": IDLE}).publishes == ONE


def test_what_is_opaque_stays_so_until_its_transaction_ends() -> None:
    """While it waits, and where it fails: its locks are let go then, whatever they are."""
    effects = effects_of(RC, ["begin", "opaque", "set", "commit", "set"])
    after(effects, "A0", OPEN)
    waits = after(effects, "A1", TransactionStatus.ACTIVE, kind=EventKind.WAITS)
    assert waits == Effect(A, waits=True, opaque=True)
    assert after(effects, "A2", BROKEN, "22012") == Effect(A, tables=True, opaque=True)
    assert after(effects, "A3", IDLE) == Effect(A, opaque=True)
    assert after(effects, "A4", IDLE) == Effect(A)


def test_below_serializable_nothing_is_watched() -> None:
    """Also after a refusal."""
    effects = effects_of(RR, ["begin", "read x", "write y", "set", "rollback"])
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    assert not after(effects, "A2", BROKEN, "40001").watched
    assert [after(effects, "A3", BROKEN, "25P02"), after(effects, "A4", IDLE)] == [Effect(A), Effect(A)]


@pytest.mark.parametrize(
    ("level", "before", "step", "local"),
    [
        (RC, [], "begin", True), (RC, ["begin"], "set", True), (RC, ["begin"], "commit", True),
        (RC, [], "read x", False), (RC, ["begin", "write x"], "set", False),
        (RC, ["begin", "write x"], "commit", False), (RC, ["begin", "read x"], "set", True),
        (RR, ["begin"], "read x", False), (RR, ["begin", "read x"], "read y", True),
        (RR, ["begin", "read x"], "commit", True), (SER, ["begin", "read x"], "set", False),
        (SER, ["begin", "read x"], "commit", False), (SER, ["begin"], "commit", True),
        (RR, ["begin"], "write x", False),
        (RR, ["begin", "read x"], "no rows", True), (RC, ["begin"], "no rows", True), (RR, ["begin"], "lock x", False),
    ],
)  # fmt: skip
def test_a_step_is_local_if_nobody_can_tell_when_it_happens(
    level: IsolationLevel, before: list[str], step: str, local: bool
) -> None:
    """It may fail, and then lets go of locks; at SERIALIZABLE also of what it has read."""
    effects = effects_of(level, [*before, step])
    for i in range(len(before)):
        after(effects, f"A{i}", OPEN)
    assert effects.is_local(f"A{len(before)}") is local


def test_beside_what_is_opaque_a_lock_on_a_table_is_told() -> None:
    """A TRUNCATE waits for whoever has read the table."""
    effects = effects_of(RR, ["begin", "read x", "set", "read y", "commit"], ["opaque"])
    assert effects.is_local("A0")
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    assert not any(effects.is_local(step) for step in ("A2", "A3", "A4", "B0"))


def test_a_step_of_a_failed_transaction_is_local() -> None:
    """It is refused; at SERIALIZABLE too, as long as nobody was refused for its reads."""
    effects = effects_of(SER, ["begin", "read x", "read y", "read x"])
    after(effects, "A0", OPEN)
    after(effects, "A1", OPEN)
    after(effects, "A2", BROKEN, "22012")
    assert effects.is_local("A3")


@pytest.mark.parametrize("setup", [None, "begin"])
def test_a_session_stands_behind_its_setup(setup: str | None) -> None:
    """With BEGIN in it a first statement is one of several; a new execution stands there again."""
    for level, alone in ((RR, Effect(A, looks=ONE, tables=True)), (RC, Effect(A, looks=ONE, tables=True))):
        effects = effects_of(level, ["read x", "read x"], setup=setup)
        inside = Effect(A, everywhere=True, tables=True) if level is RR else alone
        for _ in range(2):
            assert after(effects, "A0", OPEN if setup else IDLE) == (inside if setup else alone)
            effects.begin()


def test_of_a_setup_that_does_more_than_begin_nothing_is_known() -> None:
    """Its transaction has a snapshot, and locks that nobody has counted."""
    effects = effects_of(RC, ["set", "commit", "set"], setup="write x")
    assert not effects.is_local("A0")
    assert after(effects, "A0", OPEN) == Effect(A, opaque=True)
    assert after(effects, "A1", IDLE) == Effect(A, opaque=True)
    assert after(effects, "A2", IDLE) == Effect(A)


def test_where_one_message_is_unknown_all_are() -> None:
    """It may find in which order the others came."""
    assert effects_of(RC, ["begin"]).is_local("A0")
    effects = effects_of(RC, ["begin"], ["unknown"])
    assert not effects.is_local("A0")
    assert after(effects, "A0", OPEN) == Effect(A, opaque=True)
    in_setup = Effects(spec_of([["begin"]], "unknown"), RC, FOOTPRINTS.__getitem__)
    assert after(in_setup, "A0", OPEN) == Effect(A, opaque=True)


@pytest.mark.parametrize("setup", ["alter role me set x = 1", "ALTER  SYSTEM reset all", "alter database d set x = 1"])
def test_where_a_setup_changes_sessions_to_come_nothing_is_known(setup: str) -> None:
    """An isolation level by default, for one."""
    for setups, opaque in ((["create table t ()", setup], True), (["create table t ()"], False)):
        effects = Effects(spec_of([["begin"]], setups=setups), RC, FOOTPRINTS.__getitem__)
        assert after(effects, "A0", OPEN).opaque is opaque


def test_with_a_level_of_its_own_in_sql_the_rules_of_all_levels_hold() -> None:
    """Whichever session it is of: statements look at their rows, first ones at everything, and all is watched."""
    effects = effects_of(RC, ["begin", "read x", "read x", "commit"], ["begin isolation level serializable"])
    after(effects, "A0", OPEN)
    assert after(effects, "A1", OPEN) == Effect(A, looks=ONE, everywhere=True, tables=True)
    assert after(effects, "A2", OPEN) == Effect(A, looks=ONE, tables=True)
    assert after(effects, "A3", IDLE) == Effect(A, watched=True, tables=True)


@pytest.mark.parametrize("by_place", ["first", "write all"])
def test_rows_are_told_apart_unless_a_step_depends_on_where_they_lie(by_place: str) -> None:
    """Who locks several rows does so in their physical order, which any update changes; new rows lie nowhere yet."""
    elsewhere = replace(reading(), by_place=frozenset({"u"}))
    footprint = {**FOOTPRINTS, "elsewhere": elsewhere}.__getitem__
    for other, rows in (("insert", ONE), ("elsewhere", ONE), (by_place, frozenset({T}))):
        effects = Effects(spec_of([["write x"], [other]]), RC, footprint)
        found = after(effects, "A0", IDLE)
        assert (found.looks, found.locks, found.publishes) == (ONE, rows, rows)
