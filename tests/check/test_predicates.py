"""Reads by predicate: what they must have met, though they did not return it."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from zephyr_lab import check
from zephyr_lab.errors import BadInput


def judged(*transactions: Any, level: str = "serializable") -> check.Report:
    rows = [{"session": i, "type": "ok", "ops": ops} for i, ops in enumerate(transactions)]
    return check.check(check.from_transactions(rows), level)


def test_write_skew_over_a_predicate_is_g2_and_not_g2_item() -> None:
    """Each counted before the other had inserted; repeatable read in Adya's sense does not forbid it."""
    report = judged(
        [["rp", ["=", 1], {}], ["insert", "a", 1]],
        [["rp", ["=", 1], {}], ["insert", "b", 1]],
    )
    assert report.names == ["G2"]
    assert report.weakest == ["serializable"]
    assert "changes the match" in report.worst.text


def test_a_deleted_row_that_is_not_returned_was_seen_as_deleted() -> None:
    """So its deletion comes before the read, which found another row as it was before."""
    report = judged(
        {"a": 0, "b": 0},
        [["delete", "a"], ["delete", "b"]],
        [["rp", "true", {"b": 0}]],
    )
    assert "G-single" in report.names


def test_a_row_that_matches_in_every_version_must_be_returned() -> None:
    """Otherwise the predicate missed it."""
    assert judged({"a": 2}, [["rp", ["mod", 2, 0], {}]]).names == ["predicate-read-miss"]


def test_the_length_of_a_list_is_a_predicate() -> None:
    """An append that makes it match comes after a read that did not return it."""
    report = judged(
        [["rp", "len>0", []], ["append", "y", 1]],
        [["r", "y", []], ["append", "x", 1]],
        [["r", "x", [1]], ["r", "y", [1]]],
    )
    assert "G2" in report.names


def test_a_serial_history_with_predicates_is_valid() -> None:
    """Reads that see what was written before them."""
    assert judged(
        {"a": 0}, [["w", "a", 1]], [["rp", ["=", 1], {"a": 1}]], [["delete", "a"]], [["rp", "true", {}]]
    ).valid


def test_an_unknown_predicate_is_refused_with_its_line() -> None:
    """The known ones are listed."""
    with pytest.raises(BadInput, match="line 1: unknown predicate 'price > 3'; known are"):
        judged([["rp", "price > 3", {}]])


def test_a_cycle_by_predicate_whose_anti_dependency_is_of_an_item_is_item() -> None:
    """Adya's G2-item counts item anti-dependencies; the read-dependency may be by predicate, as Elle has it."""
    report = judged(
        {"a": 0, "b": 0},
        [["w", "a", 1], ["w", "b", 1]],
        [["rp", ["=", 1], {"a": 1}], ["r", "b", 0]],
        level="repeatable-read",
    )
    assert report.valid is False
    assert "G-single-item" in report.names


def test_a_value_that_was_returned_and_replaced_is_an_anti_dependency_though_it_matches_still() -> None:
    """Each read both rows, and changed another one: write skew, without any change of the match."""
    report = judged(
        {"a": 0, "b": 0},
        [["rp", "true", {"a": 0, "b": 0}], ["w", "a", 1]],
        [["rp", "true", {"a": 0, "b": 0}], ["w", "b", 1]],
    )
    assert "G2-item" in report.names


@pytest.mark.parametrize(
    ("transactions", "anomaly", "level"),
    [
        ([{"a": 0}, [["r", "a", 7]]], "thin-air-read", "read-uncommitted"),
        ([{"a": 0}, [["r", "b", 7]]], "thin-air-read", "read-uncommitted"),
        ([{"a": 0}, [["rp", "true", {"a": 0, "b": 7}]]], "thin-air-read", "read-uncommitted"),
        ([{"a": 0}, [["rp", ["=", 1], {"a": 0}]]], "predicate-mismatch", "read-uncommitted"),
        ([{"a": 0}, [["r", "a", 1], ["w", "a", 1]]], "future-read", "read-committed"),
        ([{"a": 0}, [["w", "a", 1], ["r", "a", 0]]], "own-write-unseen", "read-committed"),
        ([{"a": 0}, [["w", "a", 1], ["w", "a", 2]], [["r", "a", 1]]], "G1b", "read-committed"),
        ([{"a": 0}, [["w", "a", 1]], [["r", "a", 0], ["r", "a", 1]]], "internal", "snapshot-isolation"),
        ([{"a": 0}, [["w", "a", 2], ["rp", ["=", 2], {}]]], "predicate-read-miss", "serializable"),
        ([[["append", "a", 1]], [["r", "a", [1, 9]], ["rp", "len>5", {}]]], "thin-air-read", "read-uncommitted"),
        (
            [[["append", "a", 1]], [["append", "a", 2]], [["r", "a", [1, 2]], ["rp", "len>5", {}]], [["r", "a", [2]]]],
            "incompatible-order",
            "read-committed",
        ),
    ],
)
def test_each_anomaly_without_a_cycle_is_named(transactions: list[Any], anomaly: str, level: str) -> None:
    """And violates the level."""
    report = judged(*transactions, level=level)
    assert report.valid is False
    assert anomaly in report.forbidden


def test_null_is_what_was_never_born_or_what_was_deleted_whichever_explains_it() -> None:
    """One of both is enough; if neither does, it is an anomaly."""
    born = [["insert", "a", 1], ["w", "b", 1]]
    gone = [["delete", "a"], ["w", "b", 2]]
    for seen in (None, 2):
        assert judged(born, gone, [["r", "a", None], ["r", "b", seen]]).valid is True
    assert judged(born, gone, [["r", "a", None], ["r", "b", 1]]).valid is False


def test_what_is_indeterminate_may_have_happened_and_may_not() -> None:
    """Nobody saw the value of the delete, but one read is explained only with it, the other one only without."""

    def valid(seen: Any) -> bool | None:
        rows: list[dict[str, Any]] = [
            {"session": 0, "type": "ok", "ops": {"a": 0, "b": 0}},
            {"session": 1, "type": "info", "ops": [["delete", "a"], ["w", "b", 1]]},
            {"session": 2, "type": "ok", "ops": [["r", "a", seen], ["rp", ["=", 0], {"b": 0}]]},
        ]
        return check.check(check.from_transactions(rows), "serializable").valid

    assert valid(0) is False  # the predicate would have returned it, if the delete had not happened
    assert valid(None) is False  # b would be 1, if the delete had
    rows = [[["rp", ["=", 0], {"a": 0, "b": 0}]], [["rp", ["=", 0], {}], ["r", "b", 1]]]
    for read, expected in zip(rows, (True, True), strict=True):
        history = check.from_transactions(
            [
                {"session": 0, "type": "ok", "ops": {"a": 0, "b": 0}},
                {"session": 1, "type": "info", "ops": [["delete", "a"], ["w", "b", 1]]},
                {"session": 2, "type": "ok", "ops": read},
            ]
        )
        assert check.check(history, "serializable").valid is expected


def test_appends_that_nobody_read_are_in_any_order() -> None:
    """Two of them: an order exists in which nothing is wrong."""
    assert judged(
        [["append", "a", 1], ["append", "b", 1]], [["append", "a", 2]], [["r", "b", [1]], ["rp", "len>5", {}]]
    ).valid


# ---------------------------------------------------------------------- compared with trying every serial order

Rows = dict[str, Any]


def fits(predicate: Any, value: Any) -> bool:
    return value is not None and (predicate == "true" or (value % predicate[1] == predicate[2]))


def random_history(chance: random.Random) -> list[Any]:
    """Two to four transactions on two rows; each sees what some of the others have committed, and its own; few see
    more of it later."""
    state: list[Rows] = [{"a": 0}]
    transactions: list[Any] = [{"a": 0}]
    value = 0
    for _ in range(chance.randint(2, 4)):
        seen = dict(chance.choice(state))
        ops: list[list[Any]] = []
        changed: Rows = {}
        for _ in range(chance.randint(1, 3)):
            key, kind = chance.choice("ab"), chance.choice(["r", "rp", "rp", "w", "delete"])
            if chance.random() < 0.3:
                seen = {**chance.choice(state), **changed}
            if kind == "r":
                ops.append(["r", key, seen.get(key)])
            elif kind == "rp":
                predicate = chance.choice(["true", ["mod", 2, 0], ["mod", 2, 1]])
                found = {k: v for k, v in seen.items() if fits(predicate, v)}
                ops.append(["rp", predicate, found])
            else:
                value += 1
                seen[key] = changed[key] = None if kind == "delete" else value
                ops.append(["delete", key] if kind == "delete" else ["w", key, value])
        state.append({**state[-1], **changed})
        transactions.append(ops)
    return transactions


def explained(transactions: list[Any]) -> bool:
    """Whether some serial order after the initial state, with each row's writes in the order of the file, gives every
    read."""
    for order in ((0, *rest) for rest in itertools.permutations(range(1, len(transactions)))):
        state: Rows = {}
        writes: dict[str, list[int]] = {}
        for i in order:
            ops = transactions[i]
            if isinstance(ops, dict):
                ops = [["w", key, value] for key, value in ops.items()]
            if not all(_done(op, state, writes, i) for op in ops):
                break
        else:
            if all(made == sorted(made) for made in writes.values()):
                return True
    return False


def _done(op: list[Any], state: Rows, writes: dict[str, list[int]], i: int) -> bool:
    """Takes one step; whether a read is right."""
    if op[0] in ("w", "delete"):
        state[op[1]] = op[2] if op[0] == "w" else None
        writes.setdefault(op[1], []).append(i)
        return True
    if op[0] == "r":
        return bool(state.get(op[1]) == op[2])
    return bool({key: value for key, value in state.items() if fits(op[1], value)} == op[2])


def test_histories_with_predicates_are_judged_as_by_trying_every_serial_order() -> None:
    """Valid exactly where one explains it; both verdicts occur often."""
    said = []
    for seed in range(400):
        transactions = random_history(random.Random(f"predicate {seed}"))
        report = judged(*transactions)
        if report.valid is None:
            assert "no transaction depends" in report.why
            continue
        assert report.valid is explained(transactions), (seed, transactions, str(report))
        said.append(report.valid)
    assert min(said.count(True), said.count(False)) > 40
