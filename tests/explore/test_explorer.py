"""The explorer with an executor that has no server: in which order it is called, and what of it is asked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from zephyr_lab.errors import StepTimeout
from zephyr_lab.explore.counterexample import Counterexample
from zephyr_lab.explore.effect import Effect
from zephyr_lab.explore.executor import Executor, RunningSchedule
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Enough, Explorer
from zephyr_lab.explore.fewest_switches import fewest_switches
from zephyr_lab.explore.footprint import Rows
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.explore.scheduler import Candidate, Scheduler
from zephyr_lab.explore.verdict import SerialOutcomes, Verdict
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.schedule.transcript import End, Table, Transaction, Transcript

COUNTER = frozenset({Rows("counter")})
STEPS = ("read", "write", "rest")


class Counting:
    """Sessions that each read a counter, write one more, and then do what nobody else notices."""

    tells_sessions_apart = False

    def __init__(self, calls: list[str], sessions: Sequence[str], follow: bool) -> None:
        self.calls, self.follow = calls, follow
        self.places = dict.fromkeys(sessions, 0)
        self.read: dict[str, int] = {}
        self.counter = 0
        self.taken: list[str] = []

    def candidates(self) -> list[Candidate]:
        return [Candidate(name, self.is_local) for name, place in self.places.items() if place < len(STEPS)]

    def is_local(self, session: str) -> bool:
        self.calls.append("is_local")
        return STEPS[self.places[session]] == "rest"

    def take(self, session: str) -> Effect | None:
        self.calls.append("take")
        step = STEPS[self.places[session]]
        if step == "read":
            self.read[session] = self.counter
        elif step == "write":
            self.counter = self.read[session] + 1
        self.places[session] += 1
        self.taken.append(session)
        if not self.follow:
            return None
        who, write = frozenset({session}), COUNTER if step == "write" else frozenset()
        return Effect(who, looks=COUNTER if step == "read" else frozenset(), locks=write, publishes=write)

    def finish(self, question: str | None = None) -> Transcript:
        self.calls.append("finish")
        transactions = [Transaction(name, 1, (name,), End.COMMITTED) for name in self.places]
        final = {"counter": Table(("n",), ((self.counter,),))}
        return Transcript(
            case="counting",
            isolation="read committed",
            schedule=" ".join(self.taken),
            sessions=tuple(self.places),
            events=(),
            transactions=tuple(transactions),
            final=final,
        )


class CountingExecutor:
    name, isolation = "counting", IsolationLevel.READ_COMMITTED

    def __init__(self, sessions: str = "AB") -> None:
        self.calls: list[str] = []
        self.sessions, self.orders = sessions, 0
        self.serial = SerialOutcomes(self.in_order)

    def begin(self, *, follow: bool = False, by_table: bool = False, observed: bool = False) -> RunningSchedule:
        self.calls.append("begin")
        return Counting(self.calls, self.sessions, follow)

    def in_order(self, order: Schedule) -> Transcript:
        self.orders += 1
        running = Counting([], order.steps, follow=False)
        for session in order.steps:
            for _ in STEPS:
                running.take(session)
        return running.finish()

    def abandon(self) -> None:
        self.calls.append("abandon")

    def compared(self, transcript: Transcript) -> Transcript:
        return transcript

    def serial_outcomes(self, transcript: Transcript) -> SerialOutcomes:
        return self.serial

    def is_false_positive(self, verdict: Verdict) -> bool:
        raise AssertionError("nobody was refused")


def test_all_orders_are_judged_by_the_serial_ones_which_are_run_once() -> None:
    """Of 20 orders of three steps beside three those are right in which one session writes before the other reads."""
    executor: Executor = (counting := CountingExecutor())
    found = Explorer(executor).explore(Exhaustive())
    assert (found.case, found.isolation, found.complete) == ("counting", "read committed", True)
    assert found.schedules == 20
    right = 2 * 4  # A A before all of B's, A's third step at any of four places; and the other way round
    assert found.anomalous == 20 - right
    assert counting.orders == 3  # one of them twice
    assert counting.calls == (["begin"] + 6 * ["take"] + ["finish"]) * 20


def test_a_search_that_reduces_asks_what_is_local_and_others_do_not() -> None:
    """It finds the same by fewer schedules, which represent all; a local step is the only choice."""
    counting = CountingExecutor()
    found = Explorer(counting).explore(Reduced())
    assert found.complete
    assert found.schedules < 20 == found.represents
    assert found.known.anomalous == 12
    new_points = counting.calls.count("is_local")
    assert 0 < new_points < 2 * counting.calls.count("take")


def test_a_schedule_that_is_given_up_is_finished() -> None:
    """It is begun and ended as any other, and judged by nobody."""

    class GivesUp(Exhaustive):
        def next_session(self, candidates: Sequence[Candidate], last: str | None) -> str | None:
            return None if self._depth == 2 else super().next_session(candidates, last)

    counting = CountingExecutor()
    found = Explorer(counting).explore(GivesUp())
    assert found.schedules == 0
    assert counting.calls == ["begin", "take", "take", "finish"] * 4


class Failing(Counting):
    def __init__(self, calls: list[str], error: BaseException) -> None:
        super().__init__(calls, "AB", follow=False)
        self.error = error

    def take(self, session: str) -> Effect | None:
        if self.taken == ["A", "B"]:
            raise self.error
        return super().take(session)


@pytest.mark.parametrize("error", [StepTimeout("no end"), ValueError("broken"), KeyboardInterrupt()], ids=repr)
def test_what_fails_is_abandoned(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error ends the search, an interrupt with what was found so far."""
    counting = CountingExecutor()
    monkeypatch.setattr(counting, "begin", lambda **_: Failing(counting.calls, error))
    explorer, search = Explorer(counting), Exhaustive()
    if isinstance(error, KeyboardInterrupt):
        found = explorer.explore(search)
        assert found.interrupted
        assert not found.complete
        assert found.schedules == 4  # those that begin with A A
    else:
        with pytest.raises(type(error), match=str(error)):
            explorer.explore(search)
    assert counting.calls[-1] == "abandon"


def test_who_has_seen_enough_ends_the_search_with_what_was_found() -> None:
    """Between two schedules, so that nothing is abandoned."""

    def stop(found: Exploration) -> None:
        if found.anomalous:
            raise Enough

    counting = CountingExecutor()
    found = Explorer(counting).explore(Exhaustive(), stop)
    assert (found.anomalous, found.complete, found.interrupted) == (1, False, False)
    assert 1 < found.schedules < 20
    assert "abandon" not in counting.calls


def test_a_step_that_never_ends_makes_its_schedule_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the search goes on behind all that begin so."""
    counting = CountingExecutor()
    endless = StepTimeout("no end", schedule="A B A", reason="it never ends")
    monkeypatch.setattr(counting, "begin", lambda **_: Failing(counting.calls, endless))
    found = Explorer(counting).explore(Exhaustive())
    assert found.complete
    assert found.undecided_because == {"it never ends": 2}  # A B A, A B B
    assert counting.calls.count("abandon") == 2


def test_the_easiest_counterexample_is_found_by_the_same_executor() -> None:
    """The fewest switches that an anomaly of theirs needs are two."""
    counting = CountingExecutor()
    search: Scheduler = Reduced()
    explorer = Explorer(counting)
    schedule = fewest_switches(explorer, explorer.explore(search), None)
    words = schedule.split()
    assert sum(one != other for one, other in itertools.pairwise(words)) == 2


def test_switches_are_said_to_be_the_fewest_only_where_fewer_were_looked_for() -> None:
    """A reduced search runs one schedule for several, of which another may have fewer; a deadline ends the search."""
    explorer = Explorer(CountingExecutor())
    reduced, cut_short, each = explorer.explore(Reduced()), explorer.explore(Reduced()), explorer.explore(Exhaustive())

    def text(found: Exploration) -> str:
        assert found.easiest
        found.counterexample = Counterexample(found.easiest[1])
        return str(found)

    assert not reduced.ran_each
    assert each.ran_each
    assert "\ncounterexample: " in text(reduced)
    assert "\nfewest switches: " in text(each)
    fewest_switches(explorer, cut_short, deadline=0.0)
    assert "\ncounterexample: " in text(cut_short)
    fewest_switches(explorer, reduced)
    assert "\nfewest switches: " in text(reduced)
