"""Histories of single operations, as Jepsen's other workloads have them: what each promises, and what breaks it.

`events` pairs invocations with completions. Each workload is a module with `check(operations)`, which gives the
`Fault`s it finds, or raises `Undecided`. `bank`: the total of all accounts is conserved. `sets`: what was added stays.
`counter`: a read is between what must and what may have been added. `register`: each key is linearizable. `monotonic`:
a value never decreases. `long_fork`: two reads do not see two writes in different orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zephyr_lab.check.operations import bank, counter, long_fork, monotonic, register, sets
from zephyr_lab.check.operations.events import Fault, Operation, Undecided, operations
from zephyr_lab.check.others import OTHERS
from zephyr_lab.errors import BadInput

CHECKS: dict[str, Callable[[Sequence[Operation]], list[Fault]]] = {
    "bank": bank.check,
    "set-full": sets.check,
    "counter": counter.check,
    "linearizable-register": register.check,
    "long-fork": long_fork.check,
    "monotonic": monotonic.check,
}


@dataclass(frozen=True)
class Outcome:
    """`valid`: True, False, or None if undecided (`why`)."""

    source: str
    workload: str
    valid: bool | None
    operations: int
    faults: list[Fault] = field(default_factory=list)
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON. `valid` is true, false or "unknown"."""
        return {
            "history": self.source,
            "workload": self.workload,
            "valid": "unknown" if self.valid is None else self.valid,
            **({"why": self.why} if self.why else {}),
            "anomalies": [{"anomaly": one.name, "lines": list(one.lines), "text": one.text} for one in self.faults],
            "operations": self.operations,
        }

    def __str__(self) -> str:
        said = {True: "valid", False: "not valid", None: "cannot tell"}[self.valid]
        lines = [f"{self.source}: {self.workload}, {self.operations:,} operations"]
        lines.append(said + (f": {self.why}" if self.why else ""))
        for one in self.faults[:10]:
            lines.append(f"  {one.name}, line {', '.join(map(str, one.lines))}: {one.text}")
        if len(self.faults) > 10:
            lines.append(f"  and {len(self.faults) - 10:,} more")
        return "\n".join(lines)


def check(path: Path | str, workload: str, initial: Any = None, negative_balances: bool = False) -> Outcome:
    """Whether the history of a file keeps what its workload promises. Raises BadInput.

    `initial`: what each register held at first. `negative_balances`: an account may have less than nothing.
    """
    path = Path(path)
    for option, given, its in (
        ("initial", initial, "linearizable-register"),
        ("negative-balances", negative_balances, "bank"),
    ):
        if given is not None and given is not False and workload != its:
            raise BadInput(f"--{option} is of {its}, and not of {workload}")
    if not path.exists():
        raise BadInput(f"there is no file {path}")
    some = operations(path)
    if strange := sorted({one.f for one in some} - OTHERS[workload][0]):
        raise BadInput(f"{path.name}: operations called {', '.join(strange)} in a history of {workload}")
    if not any(one.ok and one.f in ("read", "cas") for one in some):
        return Outcome(path.name, workload, None, len(some), why="no read was completed, so the history says nothing")
    try:
        if workload == "linearizable-register":
            found = register.check(some, initial)
        elif workload == "bank":
            found = bank.check(some, negative_balances)
        else:
            found = CHECKS[workload](some)
    except Undecided as undecided:
        return Outcome(path.name, workload, None, len(some), why=str(undecided))
    return Outcome(path.name, workload, not found, len(some), found)
