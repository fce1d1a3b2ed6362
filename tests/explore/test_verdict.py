"""Verdicts on hand-made transcripts: nobody is asked for the serial orders but a function here."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import pytest

from zephyr_lab.errors import ScheduleError, StepTimeout
from zephyr_lab.explore.verdict import Outcome, SerialOutcomes, Undecided, VerdictKind, judge, told_off
from zephyr_lab.schedule.model import Schedule
from zephyr_lab.schedule.transcript import End, Event, EventKind, Failure, Result, Table, Transaction, Transcript

Told = Result | Failure


def read(*values: int) -> Result:
    return Result(f"SELECT {len(values)}", ("n",), tuple((value,) for value in values))


def transcript(*transactions: tuple[Transaction, Sequence[Told]], n: int = 0, also: int = 0) -> Transcript:
    """What each transaction was told, an event for each answer, and one row in each of two tables."""
    events = tuple(
        Event(one.session, step, "", EventKind.FAILED if isinstance(said, Failure) else EventKind.COMPLETED,
              one.number, results=(said,) if isinstance(said, Result) else (),
              failure=said if isinstance(said, Failure) else None)
        for one, answers in transactions for step, said in zip(one.steps, answers, strict=False)
    )  # fmt: skip
    final = {"t": Table(("n",), ((n,),)), "u": Table(("n",), ((also,),))}
    sessions = tuple(dict.fromkeys(one.session for one, _ in transactions))
    return Transcript("case", "level", "", sessions, events, tuple(one for one, _ in transactions), final)


def committed(
    session: str, number: int = 1, *, end: End = End.COMMITTED, sqlstate: str = "", answered: bool = False
) -> Transaction:
    return Transaction(session, number, (f"{session}{number}a", f"{session}{number}b"), end, sqlstate, answered)


class Increments:
    """A server on which each transaction reads a number and adds one to it: its serial orders."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, schedule: Schedule) -> Transcript:
        self.ran.append(schedule.steps)
        pairs = zip(schedule.steps[::2], schedule.steps[1::2], strict=True)
        order = [Transaction(pair[0][0], int(pair[0][1]), pair, End.COMMITTED) for pair in pairs]
        return transcript(*((one, [read(n)]) for n, one in enumerate(order)), n=len(order))


def verdict(*transactions: tuple[Transaction, Sequence[Told]], n: int = 0) -> tuple[VerdictKind, str]:
    given = transcript(*transactions, n=n)
    found = judge(given, SerialOutcomes(Increments()))
    assert (found.transcript, found.outcome.final) == (given, tuple(given.final.items()))
    assert (found.serial == {}) is (found.kind is VerdictKind.UNDECIDED)
    return found.kind, found.reason


# ---------------------------------------------------------------------- the serial orders


@pytest.mark.parametrize("seed", range(15))
def test_every_order_that_keeps_each_sessions_own_is_run_once_and_the_first_one_twice(seed: int) -> None:
    """Papadimitriou (1979): the serial schedules are the permutations of whole transactions."""
    chance = random.Random(seed)
    some = [committed(name, number) for name in "ABC" for number in range(1, chance.randint(0, 2) + 1)]
    run = Increments()
    outcomes = SerialOutcomes(run).of(some)
    wanted = [
        order
        for order in itertools.permutations(some)
        if all(
            one.number < other.number for one, other in itertools.combinations(order, 2) if one.session == other.session
        )
    ]
    steps = [tuple(step for one in order for step in one.steps) for order in wanted]
    assert sorted(run.ran[1:]) == sorted(steps)
    assert run.ran[0] == run.ran[1]
    assert len(outcomes) == len(wanted)
    several = {one.session for one in some if one.number > 1}
    words = [[one.session + str(one.number) * (one.session in several) for one in order] for order in wanted]
    assert set(outcomes) == {" then ".join(one) or "nobody" for one in words}


def test_the_orders_of_the_same_transactions_are_run_once() -> None:
    """Whichever schedules they are of; of other steps, again."""
    run = Increments()
    outcomes = SerialOutcomes(run)
    first = outcomes.of([committed("A"), committed("B")])
    assert outcomes.of([committed("A"), committed("B")]) is first
    assert len(run.ran) == 3
    outcomes.of([committed("A")])
    assert len(run.ran) == 5


def test_too_many_orders_are_not_run() -> None:
    """A thousand at most; the number is n! over those of each session's own."""
    run = Increments()
    many = [committed(name) for name in "ABCDEFG"]
    with pytest.raises(Undecided, match=r"^5,040 serial orders are too many to run \(at most 1,000\)$"):
        SerialOutcomes(run).of(many)
    assert run.ran == []
    assert len(SerialOutcomes(run).of(many[:5])) == math.factorial(5)
    eight = [committed(name, number) for name in "AB" for number in range(1, 5)]
    assert len(SerialOutcomes(run).of(eight)) == math.comb(8, 4)
    with pytest.raises(Undecided, match=r"^1,260 "):
        SerialOutcomes(run).of([*eight, committed("C"), committed("C", 2)][1:])


def test_as_many_orders_as_are_allowed_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most means that many, too."""
    monkeypatch.setattr("zephyr_lab.explore.verdict.MOST_ORDERS", 2)
    assert len(SerialOutcomes(Increments()).of([committed("A"), committed("B")])) == 2


def test_what_differs_from_run_to_run_decides_nothing() -> None:
    """The first order is run twice; why it is undecided is kept as well."""
    clock = itertools.count()
    runs = SerialOutcomes(lambda schedule: transcript((committed("A"), [read(1)]), n=next(clock)))
    for _ in range(2):
        with pytest.raises(Undecided, match=r"^'A', run twice, gives two outcomes: is there a clock in it, "):
            runs.of([committed("A")])
    assert next(clock) == 2


def failing(error: Exception) -> Callable[[Schedule], Transcript]:
    def run(schedule: Schedule) -> Transcript:
        raise error

    return run


def test_a_serial_order_that_cannot_be_run_decides_nothing() -> None:
    """The text says why; a step that only took too long is no answer at all."""
    with pytest.raises(Undecided, match=r"^one of the serial orders cannot be run: A waits$"):
        SerialOutcomes(failing(ScheduleError("A waits"))).of([committed("A")])
    timeout = StepTimeout("A a", schedule="A B", reason="it waits for ever")
    with pytest.raises(Undecided, match=r"^one of the serial orders, 'A B', does not end: it waits for ever$"):
        SerialOutcomes(failing(timeout)).of([committed("A")])
    with pytest.raises(StepTimeout):
        SerialOutcomes(failing(StepTimeout("A a"))).of([committed("A")])


# ---------------------------------------------------------------------- verdicts

A, B = committed("A"), committed("B")


def test_an_outcome_of_a_serial_order_is_no_anomaly() -> None:
    """A read 0 and B read 1: A was first."""
    assert verdict((A, [read(0)]), (B, [read(1)]), n=2) == (VerdictKind.PREVENTED, "the same as 'A then B'")
    assert verdict((A, [read(1)]), (B, [read(0)]), n=2) == (VerdictKind.PREVENTED, "the same as 'B then A'")


@pytest.mark.parametrize(("one", "other", "n"), [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 1, 2), (0, 2, 2)])
def test_an_outcome_of_no_serial_order_is_an_anomaly(one: int, other: int, n: int) -> None:
    """A lost update; what was read counts as well as what is left (view equivalence)."""
    found = judge(transcript((A, [read(one)]), (B, [read(other)]), n=n), SerialOutcomes(Increments()))
    assert (found.kind, found.reason) == (VerdictKind.OCCURS, "no serial order gives this outcome")
    assert found.anomalous
    assert set(found.serial) == {"A then B", "B then A"}


def test_an_aborted_transaction_never_was() -> None:
    """What it was told is not compared; who must retry is said. The same outcome without an abort is not the same."""
    refused = committed("B", end=End.ABORTED, sqlstate="40001")
    kind, reason = verdict((A, [read(0)]), (refused, [read(7), Failure("40001")]), n=1)
    assert (kind, reason) == (VerdictKind.ABORTS_40001, "B was told 40001 and must retry; the rest is as in 'A'")
    assert not judge(transcript((A, [read(0)]), (refused, []), n=1), SerialOutcomes(Increments())).anomalous
    assert verdict((A, [read(0)]), (refused, []), n=2)[0] is VerdictKind.OCCURS
    rolled_back = committed("B", end=End.ROLLED_BACK)
    assert verdict((A, [read(0)]), (rolled_back, [read(5)]), n=1) == (VerdictKind.PREVENTED, "the same as 'A'")
    everybody = committed("A", end=End.ABORTED, sqlstate="40P01")
    assert verdict((everybody, [])) == (
        VerdictKind.ABORTS_40P01,
        "A was told 40P01 and must retry; the rest is as in 'nobody'",
    )


def test_a_refusal_that_asks_for_a_retry_names_the_verdict() -> None:
    """Beside another error, whichever session it came to; of two such the lower one."""

    def aborted(*states: str) -> tuple[VerdictKind, str]:
        some = zip("AB", states, strict=False)
        return verdict(*((committed(name, end=End.ABORTED, sqlstate=state), []) for name, state in some))

    for states in (("22012", "40001"), ("40001", "22012"), ("40001", "40P01"), ("40P01", "40001")):
        kind, reason = aborted(*states)
        assert kind is VerdictKind.ABORTS_40001
        assert reason == f"A was told {states[0]} and B was told {states[1]} and must retry; the rest is as in 'nobody'"
    assert aborted("23505") == (VerdictKind.ABORTS, "A was told 23505; the rest is as in 'nobody'")
    assert aborted("40P01", "23505")[0] is VerdictKind.ABORTS_40P01


def test_who_was_aborted_and_then_committed_has_tried_again() -> None:
    """The session's second transaction is the one that counts; of two sessions both must have."""
    first = committed("A", end=End.ABORTED, sqlstate="40001")
    again = committed("A", 2)
    kind, reason = verdict((first, [Failure("40001")]), (again, [read(0)]), n=1)
    assert (kind, reason) == (VerdictKind.ABORTS_40001, "A was told 40001 and tried again; the rest is as in 'A'")
    other = committed("B", end=End.ABORTED, sqlstate="40001")
    assert "and must retry" in verdict((first, []), (other, []), (again, [read(0)]), n=1)[1]


def test_a_refusal_by_another_word_is_called_a_refusal() -> None:
    """What a function's exception was declared to be."""
    assert told_off("40001") == "was told 40001"
    assert told_off("SlotTaken") == "was refused: SlotTaken"
    assert told_off("40001x") == "was refused: 40001x"


def test_who_was_answered_counts_whatever_became_of_its_changes() -> None:
    """A function's caller has what it returned, although the transaction was rolled back or aborted."""
    for end in (End.ROLLED_BACK, End.ABORTED):
        answered = committed("B", end=end, sqlstate="40001", answered=True)
        assert verdict((A, [read(0)]), (answered, [read(1)]), n=2)[0] is VerdictKind.PREVENTED
        assert verdict((A, [read(0)]), (answered, [read(0)]), n=2)[0] is VerdictKind.OCCURS


@pytest.mark.parametrize("end", [End.UNFINISHED, End.WAITING, End.LOST])
def test_what_is_open_is_undecided(end: End) -> None:
    """Also where it would be an anomaly; nothing is run."""
    run = Increments()
    found = judge(transcript((committed("B", end=end), []), (committed("C", end=end), [])), SerialOutcomes(run))
    assert (found.kind, found.serial) == (VerdictKind.UNDECIDED, {})
    assert found.reason == f"B is {end} and C is {end}: let every session take all its steps"
    assert run.ran == []


def test_who_was_refused_and_committed_nevertheless_is_undecided() -> None:
    """No serial order tells it that; another error is an answer like any other."""
    went_on = committed("A", sqlstate="40001")
    assert verdict((went_on, [Failure("40001"), read(0)]), n=1) == (
        VerdictKind.UNDECIDED,
        "A went on after 40001 and committed; no serial order tells it that",
    )
    assert verdict((went_on, [Failure("22012"), read(0)]), n=1)[0] is VerdictKind.OCCURS


# ---------------------------------------------------------------------- outcomes and their words


def test_rows_are_compared_as_a_bag() -> None:
    """Without ORDER BY their order says nothing; how often a row is there does, and which statement it answered."""

    def outcome(*answers: Told) -> Outcome:
        return Outcome.of(one := transcript((A, answers)), one.transactions)

    assert outcome(read(1, 2)) == outcome(read(2, 1))
    assert outcome(read(1, 1, 2)) != outcome(read(1, 2, 2))
    assert outcome(read(1), read(2)) != outcome(read(2), read(1))
    assert outcome(Failure("23505")) != outcome(read(1))
    with_null = [Result("SELECT 2", ("n",), rows) for rows in (((None,), (1,)), ((1,), (None,)))]
    assert outcome(with_null[0]) == outcome(with_null[1])


def test_an_outcome_in_words() -> None:
    """Who read what, what errors there were, what is left; nothing of who read nothing."""
    again = committed("A", 2)
    one = transcript((A, [read(1), Failure("23505", "t_n_key")]), (again, [read(2)]), (B, [Result("BEGIN")]), n=3)
    assert Outcome.of(one, one.transactions).text() == (
        "A read 1, then 2; A was told 23505 unique violation (t_n_key); t: n=3; u: n=0"
    )
    for word in ("returned", "raised"):
        said = transcript((A, [Result("", (word,), ((5,),))]))
        assert Outcome.of(said, said.transactions).text() == f"A {word} 5; t: n=0; u: n=0"
    assert Outcome.of(one, [B]).text() == "t: n=3; u: n=0"
    failed = transcript((A, [Failure("23505")]))
    assert Outcome.of(failed, [A]).text() == "A was told 23505 unique violation; t: n=0; u: n=0"


def test_a_verdict_is_told_beside_the_serial_outcomes() -> None:
    """In a column as wide as the widest order; as JSON with the same words."""
    found = judge(transcript((A, [read(0)]), (B, [read(0)]), n=1), SerialOutcomes(Increments()))
    assert (
        str(found)
        == repr(found)
        == (
            "this schedule  A read 0; B read 0; t: n=1; u: n=0\n"
            "A then B       A read 0; B read 1; t: n=2; u: n=0\n"
            "B then A       A read 1; B read 0; t: n=2; u: n=0\n"
            "verdict: occurs: no serial order gives this outcome"
        )
    )
    told = found.to_dict()
    assert (told["verdict"], told["reason"]) == ("occurs", "no serial order gives this outcome")
    assert told["outcome"] == "A read 0; B read 0; t: n=1; u: n=0"
    assert told["serial_outcomes"] == {
        "A then B": "A read 0; B read 1; t: n=2; u: n=0",
        "B then A": "A read 1; B read 0; t: n=2; u: n=0",
    }
    assert told["transcript"] == found.transcript.to_dict()


def test_tables_that_are_alike_in_all_orders_can_be_left_out() -> None:
    """And are counted; where all are alike, what differs is what was read, and none is left out."""
    serial = SerialOutcomes(Increments())
    found, count = judge(transcript((A, [read(0)]), (B, [read(0)]), n=1), serial).of_what_differs()
    assert count == 1
    assert (list(found.transcript.final), [name for name, _ in found.outcome.final]) == (["t"], ["t"])
    assert [[name for name, _ in one.final] for one in found.serial.values()] == [["t"], ["t"]]
    same = judge(transcript((A, [read(0)]), (B, [read(0)]), n=2), serial)
    assert same.of_what_differs() == (same, 0)
    undecided = judge(transcript((committed("A", end=End.WAITING), [])), serial)
    assert undecided.of_what_differs() == (undecided, 0)


def test_whole_sessions_are_compared_where_a_session_is_one_piece_of_work() -> None:
    """A reads, B reads, A writes, B writes, each on its own: an order of transactions, and of no sessions."""
    taken = [committed("A", 1), committed("B", 1), committed("A", 2), committed("B", 2)]
    given = transcript(*((one, [read(n)]) for n, one in enumerate(taken)), n=4)
    assert judge(given, SerialOutcomes(Increments())).reason == "the same as 'A1 then B1 then A2 then B2'"
    whole = judge(given, SerialOutcomes(Increments(), whole_sessions=True))
    assert (whole.kind, list(whole.serial)) == (VerdictKind.OCCURS, ["A then B", "B then A"])
    one_by_one = [taken[0], taken[2], taken[1], taken[3]]
    serial = transcript(*((one, [read(n)]) for n, one in enumerate(one_by_one)), n=4)
    assert judge(serial, SerialOutcomes(Increments(), whole_sessions=True)).reason == "the same as 'A then B'"


def test_whole_sessions_have_fewer_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two for two, however many transactions they have."""
    monkeypatch.setattr("zephyr_lab.explore.verdict.MOST_ORDERS", 2)
    many = [committed(name, number) for number in range(1, 6) for name in "AB"]
    given = transcript(*((one, [read(n)]) for n, one in enumerate(many)), n=10)
    assert judge(given, SerialOutcomes(Increments())).kind is VerdictKind.UNDECIDED
    assert judge(given, SerialOutcomes(Increments(), whole_sessions=True)).kind is VerdictKind.OCCURS
