"""Large register histories: an order is found, or shown not to exist, without the closure of all transactions."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np

from tests.check.brute import Tried
from tests.check.test_levels_by_brute_force import registers
from zephyr_lab import check
from zephyr_lab.check.levels import Order
from zephyr_lab.check.likely import serial_order
from zephyr_lab.check.polygraph import of_registers
from zephyr_lab.check.reach import Cyclic

Row = dict[str, Any]


def found(rows: list[Row], order: Order, rounds: int = 400) -> Any:
    try:
        return serial_order(of_registers(check.from_transactions(rows, "rw-register"), order), rounds)
    except Cyclic:
        return False


def explains(rows: list[Row], order: list[int]) -> bool:
    """Whether every read sees the last write of its key, one transaction after another."""
    state: dict[str, Any] = {}
    for number in order:
        if number >= len(rows) or (rows[number]["type"] != "ok"):
            continue
        for kind, key, value in rows[number]["ops"]:
            if kind == "w":
                state[key] = value
            elif state.get(key) != value:
                return False
    return True


def test_an_order_is_found_where_one_exists_and_only_there() -> None:
    """Compared with trying every order of the writes; the order that is found explains every read."""
    both = []
    for seed in range(400):
        rows = [
            {**row, "type": "ok", "t1": row["t1"] or row["t0"]} for row in registers(random.Random(f"likely {seed}"))
        ]
        tried = Tried(rows, lists=False)
        if tried.g1 or tried.thin or tried.internal:
            continue
        for order, level in ((Order.DATA, "serializable"), (Order.REALTIME, "strong-serializable")):
            answer = found(rows, order)
            assert answer is not None
            assert isinstance(answer, np.ndarray) is tried.holds(level), (seed, order, rows)
            both.append(answer is not False)
            assert answer is False or explains(rows, answer.tolist()), (seed, order, rows)
    assert min(both.count(True), both.count(False)) > 60


def store(chance: random.Random, transactions: int, keys: int) -> list[Row]:
    """Strict serializable: each transaction takes effect at one moment between its beginning and its end."""
    clock, values = itertools.count(), itertools.count(1)
    state: dict[int, int] = {}
    running: dict[int, tuple[int, list[list[Any]] | None]] = {}
    rows: list[Row] = []
    while len(rows) < transactions:
        session = chance.randrange(10)
        begun, ops = running.get(session, (None, None))
        if begun is None:
            running[session] = next(clock), None
        elif ops is None:
            ops = []
            for _ in range(4):
                key = chance.randrange(keys)
                if chance.random() < 0.5:
                    ops.append(["r", key, state.get(key)])
                else:
                    state[key] = next(values)
                    ops.append(["w", key, state[key]])
            running[session] = begun, ops
        else:
            rows.append({"session": session, "type": "ok", "ops": ops, "t0": begun, "t1": next(clock)})
            del running[session]
    done = {op[2] for row in rows for op in row["ops"] if op[0] == "w"}
    for row in rows:  # what was still running is left out, and what read from it
        row["ops"] = [op for op in row["ops"] if op[0] == "w" or op[2] is None or op[2] in done]
    return rows


def test_thousands_of_transactions_are_ordered_and_a_stale_read_is_not() -> None:
    """The choices that are left are few, since time orders the rest."""
    rows = store(random.Random(1), 2_000, 20)
    answer = found(rows, Order.REALTIME)
    assert isinstance(answer, np.ndarray)
    assert explains(rows, answer.tolist())
    reads = [op for row in rows for op in row["ops"] if op[0] == "r" and op[2] is not None]
    key = reads[0][1]
    last = next(op for row in reversed(rows) if [o[1] for o in row["ops"]].count(key) == 1 for op in row["ops"]
                if op[:2] == ["r", key])  # fmt: skip
    last[2] = reads[0][2]
    assert found(rows, Order.REALTIME) is False


def test_within_too_few_rounds_nothing_is_said() -> None:
    """Neither that there is an order nor that there is none."""
    assert found(store(random.Random(2), 300, 3), Order.DATA, rounds=1) is None
