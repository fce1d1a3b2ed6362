"""Sessions that run the same program: what is spared is counted, and nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.explore.test_reduction import SETUP, STATEMENT
from zephyr_lab import Lab
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer
from zephyr_lab.explore.footprint import Rows
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.explore.scheduler import Candidate
from zephyr_lab.explore.symmetry import NAMES_ITSELF, Symmetry, symmetry_of
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict
from zephyr_lab.schedule import specfile
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.schedule.transcript import End, Event, EventKind, Result, Table, Transaction, Transcript

LEVELS = list(IsolationLevel)[1:]


def represented(found: Exploration) -> dict:
    """How many schedules have each outcome."""
    return {key: one.represents for key, one in found.outcomes.items() if one.represents}


# -- without a server: registers that are read and written at once


class Registers:
    """Sessions that append what they see to registers: `+x` reads and writes x, `x` only reads it, `` does nothing."""

    tells_sessions_apart = False

    def __init__(self, programs: dict[str, Sequence[str]]) -> None:
        self.programs = programs
        self.values: dict[str, tuple] = {}
        self.seen: dict[str, list] = {name: [] for name in programs}
        self.taken: list[str] = []

    def candidates(self) -> list[Candidate]:
        return [Candidate(name, self.is_local) for name in self.programs if self.left(name)]

    def left(self, session: str) -> Sequence[str]:
        return self.programs[session][len(self.seen[session]) :]

    def is_local(self, session: str) -> bool:
        return not self.left(session)[0]

    def take(self, session: str) -> Effect:
        step = self.left(session)[0]
        name = step.removeprefix("+")
        before = self.values.get(name, ())
        if step.startswith("+"):
            self.values[name] = (*before, len(self.seen[session]), sum(map(len, map(str, self.seen[session]))))
        self.seen[session].append(before if step else None)
        self.taken.append(session)
        rows = frozenset({Rows(name)}) if step else frozenset()
        writes = rows if step.startswith("+") else frozenset()
        return Effect(frozenset({session}), looks=rows, locks=writes, publishes=writes)

    def finish(self, question: str | None = None) -> Transcript:
        events = [
            Event(name, name, "", EventKind.COMPLETED, 1, results=(Result("", ("v",), ((str(some),),)),))
            for name, some in self.seen.items()
        ]
        return Transcript(
            case="registers",
            isolation="read committed",
            schedule=" ".join(self.taken),
            sessions=tuple(self.programs),
            events=tuple(events),
            transactions=tuple(Transaction(name, 1, (name,), End.COMMITTED) for name in self.programs),
            final={"values": Table(("v",), tuple((str(one),) for one in sorted(self.values.items())))},
        )


class RegistersExecutor:
    name, isolation = "registers", IsolationLevel.READ_COMMITTED

    def __init__(self, programs: dict[str, Sequence[str]]) -> None:
        self.programs = programs
        self.serial = SerialOutcomes(self.in_order)

    def begin(self, *, follow: bool = False, by_table: bool = False, observed: bool = False) -> Registers:
        return Registers(self.programs)

    def in_order(self, order: Schedule) -> Transcript:
        running = Registers({name: self.programs[name] for name in order.steps})
        for session in order.steps:
            for _ in self.programs[session]:
                running.take(session)
        return running.finish()

    def abandon(self) -> None:
        """Nothing is open."""

    def compared(self, transcript: Transcript) -> Transcript:
        return transcript

    def serial_outcomes(self, transcript: Transcript) -> SerialOutcomes:
        return self.serial

    def is_false_positive(self, verdict: Verdict) -> bool:
        raise AssertionError("nobody was refused")


PROGRAM = st.lists(st.sampled_from(["+x", "x", "+y", "y", ""]), min_size=1, max_size=3).map(tuple)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(same=PROGRAM, number=st.integers(2, 4), other=PROGRAM | st.just(()))
def test_registers_have_the_same_outcomes_as_often(same: tuple, number: int, other: tuple) -> None:
    """Identical sessions, beside another one or alone: against all schedules, without any server."""
    programs = dict.fromkeys("ABCD"[:number], same) | ({"O": other[:2]} if other else {})
    if (
        math.factorial(sum(map(len, programs.values())))
        // math.prod(math.factorial(len(one)) for one in programs.values())
        > 3_000
    ):
        programs = {name: one[:1] for name, one in programs.items()}
    explorer = Explorer(RegistersExecutor(programs))
    whole, reduced = explorer.explore(Exhaustive()), explorer.explore(Reduced())
    spared = explorer.explore(Reduced(symmetry_of(programs, True)))
    assert whole.complete
    assert spared.complete
    assert represented(spared) == represented(reduced) == represented(whole)
    assert spared.stands_for == whole.run
    assert spared.schedules <= reduced.schedules <= whole.schedules
    assert spared.schedules * math.factorial(len(programs)) >= reduced.schedules


def test_all_that_differ_in_names_only_are_run_once() -> None:
    """Dependent in every step: exactly one of each k! schedules."""
    programs = dict.fromkeys("ABC", ("+x", "+x"))
    found = Explorer(RegistersExecutor(programs)).explore(Reduced(symmetry_of(programs, None)))
    assert (found.schedules, found.represents) == (15, 90)


def test_only_equal_programs_are_taken_for_the_same() -> None:
    """Of three by default; of two if asked; of none if not wanted."""
    programs = {"A": 1, "B": 2, "C": 1, "D": 2, "E": 1}
    assert symmetry_of(programs, None) == Symmetry(tuple("ABCDE"), (("A", "C", "E"),))
    assert symmetry_of(programs, True) == Symmetry(tuple("ABCDE"), (("A", "C", "E"), ("B", "D")))
    assert symmetry_of(programs, False) is None
    assert symmetry_of({"A": 1, "B": 2}, True) is None


# -- on the server


@pytest.mark.slow
@pytest.mark.parametrize(("level", "run", "whole"), [(LEVELS[0], 16, 636), (LEVELS[1], 10, 960), (LEVELS[2], 15, 960)])
def test_lost_updates_of_three_are_a_sixth(lab: Lab, level: IsolationLevel, run: int, whole: int) -> None:
    """And they represent all."""
    case = lab.case("lost-update", isolation=level).with_sessions(3)
    spared = case.explore(shrink=False)
    assert (spared.schedules, spared.represents, spared.complete) == (run, whole, True)
    reduced = case.explore(shrink=False, symmetry=False)
    assert (reduced.schedules, reduced.stands_for) == (6 * run, spared.stands_for)
    assert represented(reduced) == represented(spared)


def same_as_without(lab: Lab, same: Sequence[str], other: Sequence[str], number: int, level: IsolationLevel) -> int:
    """Compares identical sessions, and another one, with and without symmetry; returns how many were spared."""
    programs = dict.fromkeys("ABC"[:number], same) | ({"O": other} if other else {})
    blocks = [
        f"session {name} " + " ".join(f"step {name}{place} {{ {sql}; }}" for place, sql in enumerate(steps))
        for name, steps in programs.items()
    ]
    text = "\n".join([SETUP.partition("teardown")[0], *blocks])
    case = lab.case(specfile.parse(text), level)
    spared, reduced = (case.explore(shrink=False, symmetry=symmetry) for symmetry in (True, False))
    if represented(spared) != represented(reduced):
        # Two sessions that one commit wakes race on the server itself.
        assume(represented(case.explore(shrink=False, symmetry=False)) == represented(reduced))
    assert represented(spared) == represented(reduced), text
    assert spared.stands_for == reduced.stands_for, text
    return reduced.schedules - spared.schedules


@st.composite
def shared_programs(draw: st.DrawFn, most_orders: int) -> tuple[list[str], list[str], int]:
    """The steps of the identical sessions, of another one or none, and how many are identical."""
    number = draw(st.integers(2, 3))
    same = draw(st.lists(STATEMENT, min_size=1, max_size=3 if number == 2 else 2))
    if draw(st.integers(0, 4)):
        same[0] = f"begin; {same[0]}"
        same[-1] = f"{same[-1]}; {draw(st.sampled_from(['commit', 'commit', 'rollback']))}"
    other = draw(st.lists(STATEMENT, max_size=1))
    orders = math.factorial(number * len(same) + len(other)) // math.factorial(len(same)) ** number
    assume(orders <= most_orders)
    return same, other, number


OFTEN = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=8, **OFTEN)
@given(program=shared_programs(30), level=st.sampled_from(LEVELS))
def test_programs_made_at_random_lose_nothing(
    lab: Lab, program: tuple[list[str], list[str], int], level: IsolationLevel
) -> None:
    """Identical sessions with and without symmetry."""
    same_as_without(lab, *program, level)


@pytest.mark.thorough
@pytest.mark.timeout(3600)
def test_three_hundred_programs_made_at_random_lose_nothing(lab: Lab) -> None:
    """The same at three levels; most were worth it."""
    spared: list[int] = []

    @settings(max_examples=300, **OFTEN)
    @given(program=shared_programs(140))
    def check(program: tuple[list[str], list[str], int]) -> None:
        for level in LEVELS:
            spared.append(same_as_without(lab, *program, level))

    check()
    assert sum(map(bool, spared)) > len(spared) / 2


@pytest.mark.parametrize(
    "sql", ["select pg_backend_pid()", "select current_setting('application_' || 'name')", "show application_name"]
)
def test_a_step_that_knows_its_session_rules_it_out(lab: Lab, sql: str) -> None:
    """What the sessions do may not be the same then."""
    blocks = [f"session {name} step {name}1 {{ select 1; }} step {name}2 {{ {sql}; }}" for name in "ABC"]
    case = lab.case(specfile.parse("\n".join(blocks)), "read committed")
    assert case.explore(shrink=False).schedules == case.explore(shrink=False, symmetry=False).schedules


def test_what_asks_for_its_name_is_known() -> None:
    """A setting that is named is not the session's name."""
    assert NAMES_ITSELF.search("SELECT current_setting ( x )")
    assert NAMES_ITSELF.search("select * from t where v = current_setting('Application_Name')")
    assert not NAMES_ITSELF.search("select current_setting('app.tenant', true)")


@pytest.mark.thorough
def test_a_deadlock_whose_victim_is_chosen_by_name_rules_it_out(lab: Lab) -> None:
    """A commit lets one of two go on into the arms of the other: the first one of the spec is aborted."""
    first = "begin; select id from t where id < 3 order by id limit 1 for update skip locked;"
    then = "update t set v = 1 where id = 3; update t set v = v + 1 where id < 3; commit;"
    programs = {"A": (first, then), "B": (first, then), "O": ("begin; update t set v = 2 where id = 3;", "commit;")}
    blocks = [
        f"session {name} " + " ".join(f"step {name}{place} {{ {sql} }}" for place, sql in enumerate(steps))
        for name, steps in programs.items()
    ]
    setup = "setup { create table t (id int primary key, v int); insert into t values (1, 0), (2, 0), (3, 0); }"
    case = lab.case(specfile.parse("\n".join([setup, *blocks])))
    plain = case.explore(shrink=False, symmetry=False)
    for jobs in (1, 2):
        assert represented(case.explore(shrink=False, symmetry=True, jobs=jobs)) == represented(plain)


def test_an_invariant_that_may_tell_sessions_apart_rules_it_out(lab: Lab) -> None:
    """A function gets the transcript, with its sessions' names; a query does not."""
    case = lab.case("lost-update").with_sessions(3)
    assert case.explore(shrink=False, invariant=lambda transcript: True).schedules == 96
    assert case.explore(shrink=False, invariant="select true").schedules == 16


# -- functions


def lost(conn: psycopg.Connection) -> None:
    (value,) = conn.execute("select v from t where id = 1").fetchone()  # type: ignore[misc]
    conn.execute("update t set v = %s where id = 1", [value + 1])


def added(number: int, conn: psycopg.Connection) -> None:
    conn.execute("select v from t where id = 1").fetchone()
    conn.execute("update t set v = %s where id = 1", [number])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("functions", "schedules"),
    [
        ([lost] * 3, 16),
        ([partial(added, 1) for _ in range(3)], 16),
        pytest.param([partial(added, number) for number in range(3)], 96, marks=pytest.mark.thorough),
        pytest.param([partial(added, 1), partial(added, 2), partial(added, 2)], 96, marks=pytest.mark.thorough),
    ],
)
def test_the_same_function_is_the_same_program(lab: Lab, functions: Sequence[Callable], schedules: int) -> None:
    """With the same arguments; after 200 schedules, or if reduction is asked for."""
    setup = "create table t (id int primary key, v int); insert into t values (1, 0);"
    spared = lab.explore(functions, setup=setup, reduction=True, shrink=False)
    assert (spared.schedules, spared.represents) == (schedules, 636)
    reduced = lab.explore(functions, setup=setup, reduction=True, symmetry=False, shrink=False)
    assert reduced.schedules == 96
    assert represented(reduced) == represented(spared)


def test_retries_have_an_order_of_their_own(lab: Lab) -> None:
    """Refused functions run again in the sessions' order, so that names matter."""
    setup = "create table t (id int primary key, v int); insert into t values (1, 0);"
    found = lab.explore([lost] * 3, setup=setup, reduction=True, shrink=False, retry=True, isolation="repeatable read")
    assert found.schedules == 60
