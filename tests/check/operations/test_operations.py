"""Jepsen's other workloads: what each promises, what breaks it, and which one a history is of."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.check import operations
from zephyr_lab.check.operations import register
from zephyr_lab.check.others import OTHERS
from zephyr_lab.errors import BadInput

Event = tuple[int | str | None, str, str, Any]


def history(tmp_path: Path, *events: Event) -> Path:
    """Process, type, f, value."""
    path = tmp_path / "events.jsonl"
    rows = [dict(zip(("process", "type", "f", "value"), event, strict=True)) for event in events]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def done(process: int | str, f: str, asked: Any, value: Any = None) -> list[Event]:
    """One after another: invoked, and completed at once."""
    return [(process, "invoke", f, asked), (process, "ok", f, asked if value is None else value)]


def names(tmp_path: Path, workload: str, *events: Event) -> list[str]:
    outcome = operations.check(history(tmp_path, *events), workload)
    assert outcome.valid is not None
    assert outcome.valid is not outcome.faults
    return [fault.name for fault in outcome.faults]


def test_the_total_of_a_bank_is_conserved(tmp_path: Path) -> None:
    """A read that has one half of a transfer is named with it."""
    transfer = {"from": "a", "to": "b", "amount": 5}
    read = [*done(0, "read", None, {"a": 50, "b": 50}), *done(0, "read", None, {"a": 45, "b": 55})]
    assert names(tmp_path, "bank", *done(1, "transfer", transfer), *read) == []
    events: list[Event] = [(1, "invoke", "transfer", transfer), *done(0, "read", None, {"a": 45, "b": 50}),
                           (1, "ok", "transfer", transfer), *read]  # fmt: skip
    outcome = operations.check(history(tmp_path, *events), "bank")
    assert outcome.valid is False
    assert [(fault.name, fault.lines) for fault in outcome.faults] == [("wrong-total", (3, 4))]
    assert "95 in total, 100 in most reads; of the transfer of line 4 it has only the half 'from' 'a'" in str(outcome)
    assert names(tmp_path, "bank", *read, *done(0, "read", None, {"a": 100})) == ["account-missing"]


@pytest.mark.parametrize(
    ("read", "later", "found"),
    [
        ([1, 2], [1, 2], []),
        ([1], [1], ["lost-element"]),
        ([1], [1, 2], ["stale-read"]),
        ([1, 2, 2], [1, 2], ["duplicate-element"]),
        ([1, 2, 9], [1, 2, 9], ["unexpected-element", "unexpected-element"]),
    ],
)
def test_what_was_added_to_a_set_stays(tmp_path: Path, read: list[int], later: list[int], found: list[str]) -> None:
    """Once it was known to be there."""
    events = [*done(0, "add", 1), *done(0, "add", 2), *done(1, "read", None, read), *done(1, "read", None, later)]
    assert names(tmp_path, "set-full", *events) == found


def test_an_element_whose_addition_is_indeterminate_may_be_missing(tmp_path: Path) -> None:
    """Until it was read."""
    events: list[Event] = [(0, "invoke", "add", 1), (0, "info", "add", 1), *done(1, "read", None, [])]
    assert names(tmp_path, "set-full", *events) == []
    events += [*done(1, "read", None, [1]), *done(1, "read", None, [])]
    assert names(tmp_path, "set-full", *events) == ["lost-element"]


@pytest.mark.parametrize(("value", "found"), [(0, 1), (1, 0), (3, 0), (4, 1), (-3, 1), (-1, 0)])
def test_a_counter_is_between_what_must_and_what_may_have_been_added(tmp_path: Path, value: int, found: int) -> None:
    """One is certain, two more and two less are still going on at the read."""
    started: list[Event] = [*done(0, "add", 1), (1, "invoke", "add", 2)]
    if value < 0:
        started.append((2, "invoke", "add", -2))
    assert len(names(tmp_path, "counter", *started, *done(3, "read", None, value))) == found


def test_a_monotonic_value_never_decreases(tmp_path: Path) -> None:
    """Not after a read that had ended; a read at the same time may be of before."""
    assert names(tmp_path, "monotonic", *done(0, "read", None, 1), *done(1, "read", None, 2)) == []
    assert names(tmp_path, "monotonic", *done(0, "read", None, 2), *done(1, "read", None, 1)) == ["non-monotonic-read"]
    both: list[Event] = [(0, "invoke", "read", None), *done(1, "read", None, 2), (0, "ok", "read", 1)]
    assert names(tmp_path, "monotonic", *both) == []
    keys = [*done(0, "read", None, {"x": 2, "y": 1}), *done(0, "read", None, {"x": 2, "y": 0})]
    assert names(tmp_path, "monotonic", *keys) == ["non-monotonic-read"]


def test_two_reads_that_each_saw_what_the_other_did_not_are_a_long_fork(tmp_path: Path) -> None:
    """Of the same keys."""

    def read(x: Any, y: Any) -> list[Event]:
        return done(0, "read", None, [["r", "x", x], ["r", "y", y]])

    assert names(tmp_path, "long-fork", *read(None, None), *read(1, None), *read(1, 1)) == []
    assert names(tmp_path, "long-fork", *read(None, 1), *read(1, None)) == ["long-fork"]


# ---------------------------------------------------------------------- linearizable registers


def linearizable(ops: list[tuple[int, int, str, Any, bool]]) -> bool:
    """Some order of all that ended, and of some that did not, that keeps time and explains every read."""
    must = [op for op in ops if op[4]]
    may = [op for op in ops if not op[4]]
    for count in range(len(may) + 1):
        for some in itertools.combinations(may, count):
            for order in itertools.permutations([*must, *some]):
                if any(b[1] < a[0] and b[4] for a, b in itertools.combinations(order, 2)):
                    continue
                value: Any = None
                for _, _, f, told, _ in order:
                    if (f == "read" and told != value) or (f == "cas" and told[0] != value):
                        break
                    value = told if f == "write" else told[1] if f == "cas" else value
                else:
                    return True
    return False


def test_a_register_is_judged_as_by_trying_every_order(tmp_path: Path) -> None:
    """Reads, writes and compare-and-set at the same time; some never end."""
    said = []
    for seed in range(300):
        chance = random.Random(seed)
        events: list[tuple[int, Event]] = []
        ops = []
        for process in range(chance.randint(2, 5)):
            f = chance.choice(["read", "write", "cas"])
            told = chance.choice([1, 2]) if f != "cas" else [chance.choice([1, 2]), chance.choice([1, 2])]
            begin, end = sorted(chance.sample(range(100), 2))
            ends = f == "read" or chance.random() < 0.8
            events.append((begin * 10 + process, (process, "invoke", f, None if f == "read" else told)))
            events.append((end * 10 + process, (process, "ok" if ends else "info", f, told)))
            ops.append((begin * 10 + process, end * 10 + process, f, told, ends))
        outcome = operations.check(history(tmp_path, *(event for _, event in sorted(events))), "linearizable-register")
        if outcome.valid is None:
            assert not any(op[2] == "read" for op in ops)
            continue
        assert outcome.valid is linearizable(ops), (seed, ops)
        said.append(outcome.valid)
    assert min(said.count(True), said.count(False)) > 40


def test_each_key_is_a_register_of_its_own(tmp_path: Path) -> None:
    """Values are pairs then; the one that is wrong is named."""
    events = [*done(0, "write", ["x", 1]), *done(0, "write", ["y", 2]), *done(1, "read", None, ["x", 1])]
    assert names(tmp_path, "linearizable-register", *events) == []
    outcome = operations.check(history(tmp_path, *events, *done(1, "read", None, ["y", 1])), "linearizable-register")
    assert "line 8: no order of the operations of y explains read 1" in str(outcome)


def test_beyond_its_bound_the_search_says_that_it_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And neither yes nor no."""
    monkeypatch.setattr(register, "MOST_STATES", 2)
    writes = [[(process, kind, "write", process) for process in range(8)] for kind in ("invoke", "ok")]
    events = [*writes[0], *writes[1], *done(0, "read", None, 1), *done(0, "read", None, 2)]
    outcome = operations.check(history(tmp_path, *events), "linearizable-register")
    assert outcome.valid is None
    assert "no answer within 2 states" in outcome.why
    keyed = [(process, kind, f, ["x", value]) for process, kind, f, value in events]
    wrong = [*done(9, "write", ["y", 1]), *done(9, "read", None, ["y", 2])]
    assert names(tmp_path, "linearizable-register", *keyed, *wrong) == ["not-linearizable"]


def test_a_long_history_of_one_register_is_searched_in_its_length(tmp_path: Path) -> None:
    """And lost writes whose values nobody needs are no choice."""
    events: list[Event] = [(100 + i, "info", "write", -i) for i in range(1, 40)]
    events = [*((process, "invoke", f, value) for process, _, f, value in events), *events]
    for value in range(2_000):
        events += [*done(0, "write", value), *done(1, "read", None, value)]
    assert names(tmp_path, "linearizable-register", *events) == []
    assert names(tmp_path, "linearizable-register", *events, *done(0, "read", None, 5)) == ["not-linearizable"]


def test_what_a_register_held_at_first_is_told(tmp_path: Path) -> None:
    """`--initial`, which no other workload but a bank's own option has."""
    path = history(tmp_path, *done(0, "read", None, 7), *done(0, "write", 1), *done(0, "read", None, 1))
    assert operations.check(path, "linearizable-register", initial=7).valid
    assert "if it was there at first, say --initial 7" in str(operations.check(path, "linearizable-register"))
    for option in ({"initial": 0}, {"negative_balances": True}):
        with pytest.raises(BadInput, match=r"-(initial|negative-balances) is of .*, and not of counter"):
            operations.check(path, "counter", **option)  # type: ignore[arg-type]


def fork(*values: tuple[Any, Any]) -> list[Event]:
    return done(0, "read", None, [["r", key, value] for key, value in values])


ONE_WRITTEN = [*done(0, "write", [["w", 1, 1]]), *done(0, "write", [["w", "1", 1]])]


@pytest.mark.parametrize(
    ("workload", "events", "found"),
    [
        ("linearizable-register", [*done(0, "write", 1), *done(0, "read", None, True)], ["not-linearizable"]),
        (
            "linearizable-register",
            [*done(0, "write", [1, 5]), *done(0, "write", ["1", 6]), *done(0, "read", None, [1, 5])],
            [],
        ),
        ("linearizable-register", [(0, "invoke", "read", None), (0, "ok", "read", ["x", None])], []),
        ("linearizable-register", [*done(0, "write", 1), *done("a", "read", None, 2)], ["not-linearizable"]),
        ("linearizable-register", [*done(0, "write", 1), *done(0, "cas", [2, 3])], ["not-linearizable"]),
        (
            "set-full",
            [*done(0, "add", 1), *done(0, "read", None, []), *done(0, "add", 1), *done(0, "read", None, [1])],
            ["stale-read"],
        ),
        ("set-full", [*done(0, "read", None, [1]), *done(0, "add", 1)], ["unexpected-element"]),
        ("set-full", [*done(0, "add", 1), *done(0, "read", None, [True])], ["unexpected-element", "lost-element"]),
        ("bank", done(0, "read", None, {"a": 101, "b": -1}), ["negative-balance"]),
        ("long-fork", [*fork((1, 1), (2, None)), *fork((1, None), (2, 1), (3, None))], ["long-fork"]),
        ("long-fork", [*ONE_WRITTEN, *fork((1, 1), ("1", None)), *fork((1, None), ("1", 1))], ["long-fork"]),
        ("long-fork", [*ONE_WRITTEN, *fork((1, 2), ("1", None))], ["thin-air-read"]),
        ("long-fork", [*fork((1, 1), ("1", None)), *ONE_WRITTEN], ["thin-air-read"]),
        ("long-fork", [*ONE_WRITTEN, (0, "invoke", "write", [["w", 2, 1]]), (0, "fail", "write", [["w", 2, 1]]),
                       *fork((1, 1), (2, 1))], ["thin-air-read"]),
    ],
)  # fmt: skip
def test_what_looks_alike_is_told_apart(tmp_path: Path, workload: str, events: list[Event], found: list[str]) -> None:
    """True and 1, 1 and "1", an addition and the same again, before and after, some keys and more of them."""
    assert names(tmp_path, workload, *events) == found


@pytest.mark.parametrize(
    ("workload", "events", "said"),
    [
        ("counter", [*done(0, "add", 1), (1, "ok", "read", 1)], "process 1 ends read, which it has not invoked"),
        ("counter", [(0, "invoke", "add", 1), (0, "ok", "read", 1)], "ends read, but invoked add in line 1"),
        ("counter", [(None, "ok", "read", 1)], "process None; it is a number or a name"),
        ("long-fork", [*fork((1, 1)), *fork((1, 2))], "1 has two values"),
        ("long-fork", [*ONE_WRITTEN, *ONE_WRITTEN, *fork((1, 1))], "1 is written twice"),
        ("long-fork", fork((1, 1), (1, None)), "in which a key is twice"),
        (
            "set-full",
            [*done(0, "add", [0, 1]), *done(0, "read", None, [[0, 1]])],
            "of several sets, check each by itself",
        ),
    ],
)
def test_what_no_workload_can_judge_is_refused(
    tmp_path: Path, workload: str, events: list[Event], said: str
) -> None:  # fmt: skip
    """And not passed over."""
    with pytest.raises(BadInput, match=said):
        operations.check(history(tmp_path, *events), workload)


def test_a_bank_without_accounts_says_nothing(tmp_path: Path) -> None:
    """And an account may have less than nothing where that is said."""
    assert operations.check(history(tmp_path, *done(0, "read", None, {})), "bank").valid is None
    path = history(tmp_path, *done(0, "read", None, {"a": 101, "b": -1}))
    assert operations.check(path, "bank", negative_balances=True).valid


def test_the_nemesis_is_no_client(tmp_path: Path) -> None:
    """Whatever it does."""
    other: list[Any] = [("nemesis", "info", "kill", None), ("nemesis", "info", "kill", ["n1"]), (0, "info", None, "x")]
    assert names(tmp_path, "counter", *other, *done(0, "add", 1), *other, *done(0, "read", None, 1)) == []


# ---------------------------------------------------------------------- which workload it is


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (done(0, "read", None, {"0": 100}), "a history of bank operations: use --workload bank or monotonic"),
        (done(0, "transfer", {"from": 0}), "use --workload bank"),
        ([*done(0, "add", 1), *done(0, "read", None, [1])], "use --workload set-full"),
        ([*done(0, "add", 1), *done(0, "read", None, 1)], "use --workload counter"),
        ([*done(0, "cas", [1, 2]), *done(0, "read", None, 1)], "use --workload linearizable-register"),
        (done(0, "acquire", None), "no workload is known for these; known are bank (read, transfer)"),
    ],
)
def test_a_history_of_other_operations_says_which_workload_it_is(
    tmp_path: Path, events: list[Event], said: str
) -> None:
    """Instead of a verdict on no transactions at all."""
    with pytest.raises(BadInput, match="no transactions, but operations called") as raised:
        check.read(history(tmp_path, *events))
    assert said in str(raised.value)


def test_operations_of_another_workload_are_refused(tmp_path: Path) -> None:
    """They would be passed over; and a history without a read says nothing."""
    with pytest.raises(BadInput, match="operations called drop in a history of bank"):
        operations.check(history(tmp_path, *done(0, "drop", 1)), "bank")
    assert operations.check(history(tmp_path, *done(0, "add", 1)), "counter").valid is None
    assert operations.CHECKS.keys() == OTHERS.keys()


@pytest.mark.parametrize("workload", OTHERS)
def test_values_of_another_kind_are_bad_input(tmp_path: Path, workload: str) -> None:
    """Each with its line, or they are values as others."""
    said = []
    for value in ("a", 1, [1], {"a": [1]}, [["r", 1]]):
        try:
            operations.check(history(tmp_path, *done(0, "read", None, value)), workload)
        except BadInput as wrong:
            said.append(str(wrong))
    assert all(one.startswith(("line 2: a read", "line 2: read")) for one in said)
    assert said or workload == "linearizable-register"
