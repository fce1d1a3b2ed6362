"""One search by several processes, each with a database of its own; the answer does not depend on how it was cut.

The search runs until a depth, and every path that goes deeper is a piece of work: plain data, sent through the
interface of `concurrent.futures.Executor`. What is found in the pieces is added up in the order of the search.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from zephyr_lab.explore.exhaustive import Exhaustive, Path
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer, Seen
from zephyr_lab.explore.reduced import Reduced
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.runner import Runner

PIECES_A_JOB = 8  # enough that no worker is long without work when the last pieces differ in size

OpenRunner = Callable[[contextlib.ExitStack], Runner]


@dataclass(frozen=True)
class Work:
    """What is to be explored, and how; `deadline` is of time.time, which processes share."""

    spec: Spec
    isolation: IsolationLevel
    invariant: str | None
    reduction: bool
    deadline: float | None = None

    def explorer(self, runner: Runner) -> Explorer:
        return Explorer(runner, self.spec, self.isolation, self.invariant)

    def search(self, explorer: Explorer, *, until: int | None = None, below: Path | None = None) -> Exhaustive:
        """The scheduler for a part of the search."""
        if self.reduction:
            return Reduced(explorer.is_local, until=until, below=below)
        return Exhaustive(until=until, below=below)

    def seconds_left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.time())


_runner: Runner | None = None
_opened = contextlib.ExitStack()  # closed by the end of the process, whatever ends it


def explore_below(work: Work, open_runner: OpenRunner, path: Path) -> Exploration:
    """One piece of work, in a worker process: its database is started for the first piece, and ends with it."""
    global _runner
    if _runner is None:
        _runner = open_runner(_opened)
    explorer = work.explorer(_runner)
    return explorer.explore(work.search(explorer, below=path), budget=work.seconds_left())


def explore_in_parallel(
    work: Work, runner: Runner, executor: Executor, jobs: int, open_runner: OpenRunner, seen: Seen | None = None
) -> Exploration:
    """Explores with `jobs` workers of `executor`; `open_runner` is called in each of them, and must be picklable.

    An interrupt ends the search with what was found so far.
    """
    began = time.monotonic()
    found, paths = _cut(work, runner, PIECES_A_JOB * jobs)
    pieces = [executor.submit(explore_below, work, open_runner, path) for path in paths]
    done = 0
    try:
        for piece in pieces:
            found.merge(piece.result())
            done += 1
            if seen:
                seen(found)
    except KeyboardInterrupt:
        executor.shutdown(wait=False, cancel_futures=True)
    found.complete = found.complete and done == len(pieces)
    found.seconds = time.monotonic() - began
    return found


def _cut(work: Work, runner: Runner, wanted: int) -> tuple[Exploration, list[Path]]:
    """Searches until a depth at which there are enough paths that go deeper, or none."""
    until = 1
    while True:
        explorer = work.explorer(runner)
        search = work.search(explorer, until=until)
        found = explorer.explore(search, budget=work.seconds_left())
        if not search.complete or not search.frontier or len(search.frontier) >= wanted:
            return found, search.frontier
        until += 1
