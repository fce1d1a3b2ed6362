"""Where 64 workers would stand: `python -m tests.simulate_workers`, in some minutes.

Times of schedules, and of a piece's way to a worker and back, are measured on this machine. The search, how it is cut
and how results are added up are the real ones, in virtual time: what the coordinator does costs what it costs here. A
worker's start (a second or two, once) is left out, and so is whatever 64 servers do to each other on one machine.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import pickle
import statistics
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from zephyr_lab import Lab
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Counts, Exploration
from zephyr_lab.explore.parallel import Distributed, SpecSearch, explore_part, prepare
from zephyr_lab.explore.pieces import Slice
from zephyr_lab.explore.scheduler import Candidate
from zephyr_lab.explore.selection import Part, Selection
from zephyr_lab.explore.verdict import Outcome, VerdictKind
from zephyr_lab.lab.case import Case
from zephyr_lab.workers.pool import Workers

KEY = VerdictKind.PREVENTED, Outcome((), ()), ()


def schedule_seconds(case: Case, seconds: float) -> list[float]:
    """The times of schedules, one after another."""
    stamps: list[float] = []
    case.explore(
        reduction=False, shrink=False, budget=seconds, on_progress=lambda _: stamps.append(time.perf_counter())
    )
    return [later - earlier for earlier, later in itertools.pairwise(stamps)]


def way_seconds(case: Case, pieces: int) -> float:
    """Of a piece to a process and back, without the time that it is worked on: the median."""
    selection, found = Selection(reduction=False), []
    search = SpecSearch(case.spec, case.isolation, selection, None, case.engine.runner.step_seconds, "measured")
    with Workers(jobs=1) as workers:
        workers.give("ready", prepare, case.engine.elsewhere, 0)
        workers.take()
        part = selection.all()
        for number in range(pieces):
            began = time.perf_counter()
            workers.give(number, explore_part, search, case.engine.elsewhere, part, 0.01)
            _, done = workers.take()
            found.append(time.perf_counter() - began - done.found.seconds)
            part = done.rest or selection.all()
    return statistics.median(found)


@dataclass(frozen=True)
class Virtual:
    """Every order of sessions with so many steps each; a schedule takes one of the measured times."""

    steps: dict[str, int]
    seconds: list[float]

    def explore(self, opened: Any, part: Part, seconds: float) -> Slice:
        assert not isinstance(part, range)
        search, found = Exhaustive(part), Exploration("virtual", "read committed")
        while found.seconds < seconds and search.new_execution():
            taken: Counter[str] = Counter()
            words: list[str] = []
            while able := [Candidate(name) for name, most in self.steps.items() if taken[name] < most]:
                word = search.next_session(able, None)
                assert word
                taken[word] += 1
                words.append(word)
            found.note(KEY, "", Counts(schedules=1), 1)
            found.seconds += self.seconds[zlib.crc32("".join(words).encode()) % len(self.seconds)]
        return Slice(found, search.rest())


@dataclass
class VirtualWorkers:
    """As `Workers`, in virtual time; `way` is what a piece costs beside its work."""

    number: int
    way: float
    now: float = 0.0
    busy: float = 0.0
    coordinating: float = 0.0
    pieces: int = 0
    _free: list[float] = field(default_factory=list)
    _done: list[tuple[float, int, Any, Any]] = field(default_factory=list)
    _since: float = field(default_factory=time.perf_counter)
    running: int = 0

    def __post_init__(self) -> None:
        self._free = [0.0] * self.number

    def give(self, name: Any, function: Callable[..., Any], *arguments: Any) -> None:
        if function is prepare:
            self._done.append((0.0, -1 - len(self._done), name, None))
            return
        search, _, part, seconds = arguments
        data = pickle.dumps(part)
        self._spend()
        done = search.explore(None, pickle.loads(data), seconds)
        ends = max(heapq.heappop(self._free), self.now) + self.way + done.found.seconds
        heapq.heappush(self._free, ends)
        self.busy += done.found.seconds
        self.pieces += 1
        heapq.heappush(self._done, (ends, self.pieces, name, pickle.dumps(done)))
        self._since = time.perf_counter()

    def take(self) -> tuple[Any, Any]:
        self._spend()
        ends, _, name, data = heapq.heappop(self._done)
        self.now = max(self.now, ends)
        self._since = time.perf_counter()
        return name, None if data is None else pickle.loads(data)

    @property
    def has_done(self) -> bool:
        return True

    def _spend(self) -> None:
        """What the coordinator has done since is done in virtual time, too."""
        spent = time.perf_counter() - self._since
        self.coordinating += spent
        self.now += spent


def rows(virtual: Virtual, way: float, numbers: list[int]) -> Iterator[str]:
    yield f"{'workers':>7} {'seconds':>9} {'times':>6} {'efficiency':>10} {'pieces':>7} {'coordinator':>11}"
    for number in numbers:
        workers = VirtualWorkers(number, way)
        nothing = Exploration("virtual", "read committed")
        found = Distributed(
            virtual,
            Selection(reduction=False).all(),
            nothing,
            _nobody,
            _open,
            workers,  # type: ignore[arg-type]
        ).run()
        assert found.complete
        times, part = workers.busy / workers.now, workers.coordinating / workers.now
        yield (
            f"{number:>7} {workers.now:>9.1f} {times:>6.1f} {times / number:>10.0%} {workers.pieces:>7,} {part:>11.1%}"
        )


def _nobody(part: Part, seconds: float) -> Slice:
    raise AssertionError("workers are there from the beginning")


def _open(stack: contextlib.ExitStack) -> None:
    return None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, nargs="+", default=[4, 4, 4], help="the steps of each session")
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 8, 16, 64], help="numbers of workers")
    options.add_argument("--seconds", type=float, default=10, help="how long schedules are measured")
    asked = options.parse_args()
    with Lab() as lab:
        case = lab.case("lost-update", "repeatable read").with_sessions(3)
        seconds, way = schedule_seconds(case, asked.seconds), way_seconds(case, 50)
    mean = statistics.mean(seconds)
    print(f"a schedule takes {1000 * mean:.1f} ms, a piece {1000 * way:.1f} ms beside its work")
    print(f"all orders of sessions of {asked.steps} steps:")
    steps = {chr(ord("A") + number): many for number, many in enumerate(asked.steps)}
    for row in rows(Virtual(steps, seconds), way, asked.workers):
        print(row, flush=True)


if __name__ == "__main__":
    main()
