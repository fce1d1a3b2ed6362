"""What an exploration and a run under load can be asked for: names, defaults, bounds and help texts, once.

`Case.explore`, `Lab.explore`, `zephyr-lab explore` and the pytest plugin take their part of `ExploreOptions`;
`load.Incident`, `zephyr-lab incident` and the panel have `LoadOptions`; `zephyr-lab serve` has `ServeOptions`. Public
signatures are written out, and a test compares them with the model. Only the standard library is imported: pytest loads
this in projects that never explore.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Bounds:
    """From `low`, or with `is_open` above it, to `high`."""

    low: float
    high: float = math.inf
    unit: str = ""
    is_open: bool = False

    def admit(self, value: float) -> bool:
        return (self.low < value if self.is_open else self.low <= value) and value <= self.high and math.isfinite(value)

    def rule(self, name: str) -> str:
        """In words: `rate is more than 0 and at most 100,000 orders a second`."""
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.high):
            return f"a {name} is a positive number of{unit}" if self.is_open else f"{name} is at least {self.low:g}"
        if self.is_open:
            return f"{name} is more than {self.low:g} and at most {self.high:,}{unit}"
        return f"{name} is from {self.low:g} to {self.high:,}{unit}"


@dataclass(frozen=True)
class About:
    """Facts of an option beside its name, type and default.

    `choices` are its only values. `stands_for` is the command line's default if the model's is None, and `shell_type`
    its type there if it takes more than a word.
    """

    help: str
    bounds: Bounds | None = None
    choices: Sequence[str] = ()
    stands_for: Any = None
    shell_type: Any = None


def _option(default: Any, help: str, bounds: Bounds | None = None, **more: Any) -> Any:
    return field(default=default, metadata={"about": About(help, bounds, **more)})


class Options:
    """Base of both models."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(one.name for one in fields(cls))  # type: ignore[arg-type]  # of the models, dataclasses

    @classmethod
    def about(cls, name: str) -> About:
        one = next(one for one in fields(cls) if one.name == name)  # type: ignore[arg-type]  # of the models, dataclasses
        about: About = one.metadata["about"]
        return about

    def part(self, names: Iterable[str]) -> dict[str, Any]:
        """Some of them, as keyword arguments."""
        return {name: getattr(self, name) for name in names}

    def check(self) -> Self:
        """Returns itself. Raises BadInput for a value that is out of bounds, or none of the choices."""
        from zephyr_lab.errors import BadInput

        for name in self.names():
            about, value = self.about(name), getattr(self, name)
            if value is None:
                continue
            if about.choices and value not in about.choices:
                raise BadInput(f"unknown {name} {value!r}; there are: {', '.join(about.choices)}")
            if about.bounds and not about.bounds.admit(value):
                raise BadInput(f"{about.bounds.rule(name)}, not {value:g}")
        return self


_AT_LEAST_ONE = Bounds(1)


@dataclass(frozen=True)
class RunOptions(Options):
    """How one schedule of functions is run and judged."""

    isolation: Any = _option(
        "read committed", "One of PostgreSQL's four isolation levels, case-insensitive.", shell_type=str
    )
    setup: Any = _option("", "SQL or a function, or a list of these: what every schedule begins with.")
    invariant: str | Callable[..., bool] | None = _option(
        None, "A query that is true at the end of every correct run.", shell_type=str | None
    )
    ignore: Sequence[str] = _option(
        (), "Columns to leave out of the outcome, such as orders.created_at.", shell_type=list[str]
    )
    compare: Mapping[type, Callable[[Any], Any]] | None = _option(
        None, "How to make plain data of objects that functions return, by class."
    )
    refusals: Sequence[Any] = _option(
        (), "Exceptions, SQLSTATEs or answers that count as an abort, as 40001 does.", shell_type=list[str]
    )
    retry: bool = _option(False, "Run aborted functions again when the schedule is over.")
    faults: Mapping[str, int] | Sequence[str] | None = _option(
        None, "Faults as steps, at most so many a schedule: crash=1, lost-commit=1, redis-timeout=1.",
        shell_type=list[str] | None,
    )  # fmt: skip
    time: int = _option(
        0,
        "The clock as steps, at most so many a schedule: Redis keys expire, waits for locks time out.",
        Bounds(0, 100),
    )


@dataclass(frozen=True)
class ExploreOptions(RunOptions):
    """How schedules are chosen, run and judged."""

    reduction: bool | None = _option(
        None,
        "Partial-order reduction: run one of the schedules that differ only in the order of independent steps.",
        stands_for=True, shell_type=bool,
    )  # fmt: skip
    symmetry: bool | None = _option(
        None,
        "With the reduction, run one of the schedules that differ only in the names of sessions with the same program.",
        shell_type=bool | None,
    )
    samples: int | None = _option(None, "Run this many random schedules instead of all.", _AT_LEAST_ONE)
    seed: int = _option(0, "Seed of the random schedules.")
    depth: int | None = _option(None, "Draw the samples by PCT with this bug depth.", _AT_LEAST_ONE)
    budget: float | None = _option(
        None, "Stop after this many seconds with what was found.", Bounds(0, unit="seconds", is_open=True)
    )
    jobs: int = _option(1, "Number of processes, each with a database of its own.", _AT_LEAST_ONE)
    checkpoint: Any = _option(None, "Keep the search in this file, and go on there.", shell_type=str | None)
    step_seconds: float | None = _option(
        None,
        "Time limit in seconds of a step that waits for no session; its schedule is then undecided.",
        stands_for=30, shell_type=float,
    )  # fmt: skip
    shrink: bool = _option(True, "Look for the counterexample with the fewest switches.")
    may_raise: bool = _option(False, "Admit functions that raise an error in every schedule.")

    def check(self) -> Self:
        """Returns itself. Raises BadInput for invalid values or combinations."""
        from zephyr_lab.errors import BadInput

        if self.depth is not None and self.samples is None:
            raise BadInput("a depth is for random schedules: say how many samples as well")
        return super().check()


RUN_OPTIONS = RunOptions.names()
_SHARED = ("samples", "seed", "budget", "jobs", "checkpoint", "reduction", "symmetry", "step_seconds", "shrink")
CASE_OPTIONS = (*_SHARED, "depth", "invariant")
FUNCTION_OPTIONS = (*RUN_OPTIONS, *_SHARED, "may_raise")
TEST_OPTIONS = (*RUN_OPTIONS, "budget", "samples", "seed", "may_raise")
"""Those of `Lab.replay`, of `Case.explore`, of `Lab.explore`, and of the marker `zephyr`."""

_OF_SEARCHES = ("samples", "seed", "budget", "jobs", "checkpoint")
HUNT_OPTIONS = tuple(name for name in FUNCTION_OPTIONS if name not in _OF_SEARCHES)
"""Those of `Lab.explore` that each pair of a hunt is explored with."""

MOST_ORDERS = 5_000_000

_MANY = Bounds(0, 10_000, is_open=True)
_PAUSE = Bounds(0, 60, "seconds")


@dataclass(frozen=True)
class LoadOptions(Options):
    """One run under load. Rates in orders per second, money in whole roubles, pauses of the retry in seconds."""

    strategy: str = _option("redis-get-then-incrby", "Booking strategy (`zephyr-lab strategies`), or all.")
    isolation: str | None = _option(None, "Isolation level; default: the strategy's own.")
    rate: float = _option(800, "Orders per second.", Bounds(0, 100_000, "orders a second", is_open=True))
    seconds: float = _option(
        10, "Seconds during which orders arrive.", Bounds(0, 3_600, "seconds", is_open=True)
    )  # fmt: skip
    arrivals: str = _option(
        "poisson",
        "Arrivals: poisson, constant, day (a day's demand in that time), or closed: an order after an answer.",
        choices=("poisson", "constant", "day", "closed"),
    )
    capacity: int = _option(100_000, "Capacity of a slot in roubles.", Bounds(0, 2**31 - 1, is_open=True))
    slots: int = _option(1, "Number of slots that are hot at a time.", Bounds(0, 256, is_open=True))
    pool: int = _option(25, "Total number of connections to PostgreSQL.", _MANY)
    processes: int = _option(0, "Number of client processes; 0: chosen by the machine.", Bounds(0, 64))
    connections: int = _option(24, "Number of clients of closed arrivals.", _MANY)
    through: str = _option(
        "direct",
        "direct, or grpc: the service runs in a process of its own.",
        choices=("direct", "grpc", "bare"),
    )  # fmt: skip
    seed: int = _option(0, "Seed of the orders and their times.")
    index: bool = _option(True, "Give slots their index.")
    attempts: int | None = _option(None, "Attempts per order, the first included.", Bounds(0, 1_000, is_open=True))
    base: float | None = _option(None, "First pause in seconds; doubled each time.", _PAUSE)
    jitter: float | None = _option(None, "Upper bound of random seconds added to a pause.", _PAUSE)
    full_jitter: bool = _option(False, "Draw each pause between zero and the doubled one.")
    per_slot: int | None = _option(
        None, "Concurrent orders per slot; needs one process.", Bounds(0, 1_000, is_open=True)
    )  # fmt: skip
    stored: int = _option(0, "Number of orders stored before the run.", Bounds(0, 10 * MOST_ORDERS, "orders"))
    missing_partition: bool = _option(False, "Leave out the partition of this month.")
    kill: str | None = _option(
        None, "Send SIGKILL: postmaster@5s, after five seconds; or backend, redis, service. It is started again."
    )
    stall: str | None = _option(None, "Stop without an end, for some seconds: redis@5s:3s; or postgres, service.")
    lock: str | None = _option(None, "Lock a table: orders@5s:7s, after five seconds for seven; or order_ids, slots.")
    cut: str | None = _option(
        None, "commit: the answer to one COMMIT in 100 is lost, with its connection; commit/20: to one in 20."
    )
    network: str | None = _option(
        None, "The way to PostgreSQL: delay=20ms,loss=1%, each way; a lost packet is sent again after 200 ms."
    )
    deadline: float = _option(
        30, "Seconds for which a client waits; through grpc.", Bounds(0, 600, "seconds", is_open=True)
    )
    tries: int = _option(
        1, "How often a client sends an order that was not answered, with its id; through grpc.", Bounds(1, 100)
    )
    shed: bool = _option(
        True, "The service's queue ends, and deadlines are carried to the database; through grpc.",
    )  # fmt: skip
    detector: bool = _option(False, "Report the stress client's detector beside the true one.")


@dataclass(frozen=True)
class ServeOptions(Options):
    """How the order service is served; hours and capacity are written into slot_plans, for days to come."""

    pool: int = _option(25, "Connections to PostgreSQL at most.", Bounds(1, 1_000))
    queue: int = _option(250, "Calls that may wait for a connection at most.", Bounds(0, 100_000))
    queue_seconds: float = _option(
        1.0, "Seconds for which they may wait at most.", Bounds(0, 600, "seconds", is_open=True)
    )
    opens: str | None = _option(None, "Opening hour (UTC), as in 10:00, written into slot_plans.")
    closes: str | None = _option(None, "Closing hour (UTC), as in 22:00, written into slot_plans.")
    capacity: int | None = _option(None, "Roubles that a slot takes, written into slot_plans.", Bounds(1, 2**31 - 1))
    log_format: str = _option("text", "A line an event: text, or json.", choices=("text", "json"))
    log_level: str = _option("INFO", "Least level of the log.", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    trace: bool = _option(False, "Spans of OpenTelemetry for calls and attempts; needs the extra tracing.")
