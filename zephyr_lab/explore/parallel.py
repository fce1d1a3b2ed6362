"""One search by several processes, each with its own database; the result does not depend on the partition.

The search runs until a depth, and every deeper path is a piece of work: plain data, sent through the interface of
`concurrent.futures.Executor`. Results of the pieces are added up in the order of the search.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field, replace
from functools import lru_cache

from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer, Invariant, OnProgress
from zephyr_lab.explore.selection import Part, Selection
from zephyr_lab.explore.spec_executor import SpecExecutor
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.runner import Runner

LAST_SECONDS = 20  # for a terminated worker to end its schedule
PIECES_A_JOB = 8  # enough that no worker is idle for long when the last pieces differ in size

OpenRunner = Callable[[contextlib.ExitStack], Runner]


@dataclass(frozen=True)
class Work:
    """What workers explore; `deadline` is by time.time, which processes share."""

    spec: Spec
    isolation: IsolationLevel
    selection: Selection
    invariant: Invariant | None = None
    deadline: float | None = field(default=None, compare=False)

    def explorer(self, runner: Runner) -> Explorer:
        return Explorer(SpecExecutor(runner, self.spec, self.isolation), self.invariant)

    def seconds_left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.time())


_opened = contextlib.ExitStack()  # closed at the process's end, however it ends


@lru_cache(maxsize=1)
def _runner(open_runner: OpenRunner) -> Runner:
    return open_runner(_opened)


@lru_cache(maxsize=1)
def _explorer(work: Work, open_runner: OpenRunner) -> Explorer:
    """Kept from piece to piece, with its serial outcomes."""
    return work.explorer(_runner(open_runner))


_interrupted = False


def start_worker() -> None:
    """An interrupt, which a terminal sends to every process, ends a worker's piece of work, not the worker."""

    def note(*_: object) -> None:
        global _interrupted
        _interrupted = True

    signal.signal(signal.SIGINT, note)


def _prepare(work: Work, open_runner: OpenRunner) -> None:
    _explorer(work, open_runner)


def explore_part(work: Work, open_runner: OpenRunner, part: Part) -> Exploration:
    """One piece of work, in a worker process: its database is started for the first piece, and ends with it."""

    def go_on(state: Exploration) -> None:
        if _interrupted:
            raise KeyboardInterrupt

    if _interrupted:
        return Exploration(work.spec.name, str(work.isolation))
    explorer = _explorer(work, open_runner)
    scheduler = work.selection.scheduler(work.spec, part)
    return explorer.explore(scheduler, on_progress=go_on, budget=work.seconds_left())


def explore_in_parallel(
    work: Work,
    runner: Runner,
    executor: Executor,
    jobs: int,
    open_runner: OpenRunner,
    on_progress: OnProgress | None = None,
) -> Exploration:
    """Explores with `jobs` workers of `executor`; `open_runner` is called in each of them, and must be picklable.

    An interrupt ends the search with what was found so far. A budget does not count the start of the workers.
    """
    began, budget = time.monotonic(), work.seconds_left()
    # Their databases start while the search is being cut.
    prepared = [executor.submit(_prepare, work, open_runner) for _ in range(jobs)]
    found, parts = _cut(work, runner, PIECES_A_JOB * jobs)
    pieces: list[Future[Exploration]] = []
    merged = 0
    try:
        wait(prepared)
        work = replace(work, deadline=None if budget is None else time.time() + budget)
        for part in parts:
            pieces.append(executor.submit(explore_part, work, open_runner, part))
        for piece in pieces:
            found.merge(piece.result())
            merged += 1
            if on_progress:
                on_progress(found)
    except KeyboardInterrupt:
        found.complete = False
        for piece in pieces:
            piece.cancel()
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGINT)
        for piece in pieces[merged:]:
            with contextlib.suppress(CancelledError, BrokenExecutor, TimeoutError):
                found.merge(piece.result(timeout=LAST_SECONDS))
    found.seconds = time.monotonic() - began
    return found


def _cut(work: Work, runner: Runner, wanted: int) -> tuple[Exploration, list[Part]]:
    """Ranges of samples; or searches until a depth at which enough deeper paths remain, or none."""
    if (samples := work.selection.samples) is not None:
        size = -(-samples // wanted)
        nothing_yet = Exploration(work.spec.name, str(work.isolation), invariant=work.invariant is not None)
        return nothing_yet, [range(at, min(at + size, samples)) for at in range(0, samples, size)]
    until = 1
    while True:
        search = work.selection.of_all(work.spec, until=until)
        found = work.explorer(runner).explore(search, budget=work.seconds_left())
        if not search.complete:  # interrupted, or out of time
            return found, []
        if not search.frontier or len(search.frontier) >= wanted:
            return found, list(search.frontier)
        until += 1
