"""Decides whether some order of the writes explains a history at a level.

Reads-from is known, and the order of two writes is not: that is a choice for each pair, and the history is allowed if
choices exist that close no forbidden cycle (Papadimitriou, "The Serializability of Concurrent Database Updates", 1979,
calls it a polygraph; Tan et al., "Cobra", OSDI 2020; Huang et al., "PolySI", VLDB 2023). First all implied edges are
added, to a fixed point: most histories of real databases end here, with a cycle or without a choice. Then a likely
order is tried. The rest goes to a SAT solver; each cycle that its choice closes becomes a clause, until there is none
or no choice left. All is bounded, and beyond that the answer is *cannot tell*.

Of lists, and of registers whose order was told, only what lies on cycles of the known edges is left to decide.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from zephyr_lab.check import shapes
from zephyr_lab.check.chooser import ROUNDS, Undecided
from zephyr_lab.check.graph import Edges
from zephyr_lab.check.history import History
from zephyr_lab.check.levels import Order
from zephyr_lab.check.likely import serial_order
from zephyr_lab.check.orders import Orders
from zephyr_lab.check.polygraph import Polygraph, TooMany, of_registers
from zephyr_lab.check.reach import Cyclic
from zephyr_lab.check.serial import Serializable, serial
from zephyr_lab.check.snapshot import Prefix, Snapshot
from zephyr_lab.check.solver import EVERY_ORDER, Decision

MOST_NODES = 40_000


class Model(StrEnum):
    """What is forbidden of cycles: any; two rw in a row or fewer; and so on, see `shapes`."""

    SERIALIZABLE = "serializable"
    SNAPSHOT_ISOLATION = "snapshot-isolation"
    PREFIX = "prefix"
    ONE_RW = "one-rw"
    MONOTONIC_VIEW = "monotonic-view"
    CURSOR = "cursor"
    UPDATE_ATOMIC = "update-atomic"
    UPDATE_SERIALIZABLE = "update-serializable"


def decide(
    history: History,
    model: Model,
    order: Order = Order.DATA,
    rounds: int = ROUNDS,
    inferred: Edges | None = None,
) -> Decision:
    """Of registers; `inferred` has the orders of versions that were told or assumed. `rounds`: how often the SAT solver
    may choose."""
    problem = of_registers(history, order, inferred)
    tried = False  # an order was looked for, and might have been found in more rounds
    for one in (Order.REALTIME, order) if history.timed and order is not Order.REALTIME else (order,):
        # An order that keeps time as well is found sooner, since it leaves less open.
        likely = problem if one is order else of_registers(history, one, inferred)
        try:
            found = serial_order(likely, rounds)
        except Cyclic:
            found = False
        if isinstance(found, np.ndarray):
            return Decision(True, order=serial(likely, found))
        tried = tried or found is None
        if found is False and one is order and model is Model.SERIALIZABLE and problem.nodes > MOST_NODES:
            return Decision(False, EVERY_ORDER)
    decision = solved(problem, model, rounds)
    if tried and decision.holds is None:
        return Decision(None, f"{decision.why}, and none was found in the rounds there were: --rounds tries more")
    return decision


def solved(problem: Polygraph, model: Model, rounds: int = ROUNDS) -> Decision:
    """Whether an order of the problem's writes exists that closes no cycle of the model."""
    if problem.nodes * (2 if model in (Model.SNAPSHOT_ISOLATION, Model.PREFIX) else 1) > MOST_NODES:
        return Decision(None, f"{problem.count:,} transactions are too many to try all orders of their writes")
    if not problem.nodes:
        return Decision(True)
    solver = _solver(problem, model, rounds)
    try:
        return solver.decide()
    except Cyclic as cyclic:
        return Decision(False, steps=solver.steps(cyclic.path))
    except (Undecided, TooMany) as undecided:
        return Decision(None, str(undecided))


def _solver(problem: Polygraph, model: Model, rounds: int) -> Serializable | Snapshot | Orders:
    match model:
        case Model.SERIALIZABLE:
            return Serializable(problem, rounds)
        case Model.SNAPSHOT_ISOLATION:
            return Snapshot(problem, rounds)
        case Model.PREFIX:
            return Prefix(problem, rounds)
        case Model.ONE_RW:
            return Orders(problem, rounds, shapes.single, direct=False)
        case Model.MONOTONIC_VIEW:
            return Orders(problem, rounds, shapes.monotonic, direct=False)
        case Model.CURSOR:
            return Orders(problem, rounds, shapes.cursor, direct=True)
        case Model.UPDATE_ATOMIC:
            return Orders(problem, rounds, shapes.atomic, direct=True)
        case Model.UPDATE_SERIALIZABLE:
            return Orders(problem, rounds, shapes.update, direct=False)
