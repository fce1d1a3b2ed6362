"""One search by many workers, each with a lab of its own; the result does not depend on who does what, or when.

The search is data, and so is every part of it. A worker explores a part for some time, and gives back what it has found
and what is left of it; that is divided while workers are idle, and goes on with whoever is free. Nothing is run twice.
A worker that ends costs the slice that it was at: that part is still known, and is given to another one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from zephyr_lab.errors import ServerLost
from zephyr_lab.explore.checkpoint import Checkpoint
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Enough, Explorer, Invariant, OnProgress
from zephyr_lab.explore.pieces import Pieces, Slice
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.selection import Part, Selection
from zephyr_lab.explore.spec_executor import SpecExecutor
from zephyr_lab.schedule.levels import IsolationLevel
from zephyr_lab.schedule.model import Spec
from zephyr_lab.schedule.runner import Runner
from zephyr_lab.workers.kept import KEPT, Open
from zephyr_lab.workers.packed import unpacked
from zephyr_lab.workers.pool import Workers

SHORT_SECONDS, LONG_SECONDS = 0.2, 1.5
"""How long a worker is at a piece: short while there is not enough to do for all, else long, and seldom interrupted."""
LAST_SECONDS = 20.0  # for workers to end their slices after an interrupt: they may be at a step that does not end
AHEAD = 2  # pieces for each worker: the next one is there when it has ended one

_READY = object()

Explore = Callable[[Exhaustive | Sampled, OnProgress | None, float | None], Exploration]


class HasRunner(Protocol):
    @property
    def runner(self) -> Runner: ...


class Search(Protocol):
    """What is explored, as data that travels; equal to its copies."""

    def explore(self, opened: Any, part: Part, seconds: float) -> Slice:
        """Explores a part of it for so many seconds, on what a worker has opened."""
        ...


def sliced(
    explore: Explore, scheduler: Exhaustive | Sampled, seconds: float, on_progress: OnProgress | None = None
) -> Slice:
    """Explores for so many seconds, one schedule at least."""
    found = explore(scheduler, on_progress, seconds)
    return Slice(found, None if found.interrupted else scheduler.rest())


@dataclass(frozen=True)
class SpecSearch:
    """The schedules of a spec. An `invariant` that is a function is packed where it travels. `token` is another one
    for each search.
    """

    spec: Spec
    isolation: IsolationLevel
    selection: Selection
    invariant: Invariant | bytes | None
    step_seconds: float
    token: str

    def explore(self, opened: HasRunner, part: Part, seconds: float) -> Slice:
        explorer = KEPT.made(self, lambda stack: self._explorer(opened.runner))
        with opened.runner.steps_within(self.step_seconds):
            return sliced(explorer.explore, self.selection.scheduler(self.spec, part), seconds)

    def _explorer(self, runner: Runner) -> Explorer:
        asked = unpacked(self.invariant)["invariant"] if isinstance(self.invariant, bytes) else self.invariant
        return Explorer(SpecExecutor(runner, self.spec, self.isolation), asked)


def prepare(open_it: Open[Any], number: int) -> None:
    """In a worker: opens what it works on. The number tells one from another, for what keeps results."""
    with KEPT.opened(open_it):
        pass


def explore_part(search: Search, open_it: Open[Any], part: Part, seconds: float) -> Slice:
    """In a worker: one piece of work."""
    with KEPT.opened(open_it) as opened:
        return search.explore(opened, part, seconds)


@dataclass
class Distributed:
    """A search by `workers`, or in slices by this process alone; `here` explores a part in this process.

    `nothing_yet` is what a result looks like.
    """

    search: Search
    whole: Part
    nothing_yet: Exploration
    here: Callable[[Part, float], Slice]
    open_it: Open[Any]
    workers: Workers | None = None
    checkpoint: Checkpoint | None = None
    _pieces: Pieces = field(init=False)
    _so_far: Exploration = field(init=False)
    _on_progress: OnProgress | None = field(default=None, init=False)
    _deadline: float | None = field(default=None, init=False)

    def run(self, on_progress: OnProgress | None = None, budget: float | None = None) -> Exploration:
        """Explores for at most so many seconds. `on_progress` gets the counts so far, after each slice.

        An interrupt ends the search with what was found so far. Raises what a schedule raises; BadInput for a
        checkpoint of another search; ServerLost without workers.
        """
        began = time.monotonic()
        self._on_progress, self._deadline = on_progress, None if budget is None else began + budget
        self._pieces = (self.checkpoint.read() if self.checkpoint else None) or Pieces.of(self.whole)
        before = self._pieces.seconds
        self._so_far = self._copy()
        self._pieces.merged(self._so_far)
        interrupted = False
        try:
            self._explore()
        except Enough:
            pass
        except KeyboardInterrupt:
            interrupted = True
            self._end_last()
        except ServerLost:
            self._keep(before + time.monotonic() - began)
            raise
        finally:
            if self.workers:
                self.workers.forget()  # another search may be theirs next
        self._keep(before + time.monotonic() - began)
        found = self._pieces.merged(self._copy())
        found.complete = self._pieces.is_done and self._is_finite
        found.interrupted, found.seconds = interrupted, self._pieces.seconds
        return found

    @property
    def _is_finite(self) -> bool:
        """Samples are never all."""
        return not isinstance(self.whole, range)

    def _copy(self) -> Exploration:
        like = self.nothing_yet
        return Exploration(like.case, like.isolation, complete=True, invariant=like.invariant)

    def _keep(self, seconds: float) -> None:
        self._pieces.give_back()
        self._pieces.seconds = seconds
        if self.checkpoint:
            self.checkpoint.write(self._pieces, at_once=True)

    # -- the search

    def _explore(self) -> None:
        if self.workers:
            for number in range(self.workers.number):
                self.workers.give(_READY, prepare, self.open_it, number)
        while self._pieces.waiting and self._seconds_left() > 0 and not self._has_workers():
            key, part = self._pieces.begin()
            self._end(key, self.here(part, min(SHORT_SECONDS, self._seconds_left())))
        if self.workers and self._pieces.waiting:
            self._give()
            while self._pieces.begun:
                key, done = self.workers.take()
                if key is not _READY:
                    self._end(key, done)
                self._give()

    def _has_workers(self) -> bool:
        """Whether one is ready; until then the search goes on here."""
        return self.workers is not None and self.workers.has_done

    def _give(self) -> None:
        """Gives work away until nobody waits for it."""
        assert self.workers
        number = self.workers.number
        wanted = AHEAD * number - len(self._pieces.begun)
        if self._seconds_left() <= 0 or wanted <= 0:
            return
        self._pieces.divide(wanted)
        slice_seconds = LONG_SECONDS if len(self._pieces.waiting) + len(self._pieces.begun) >= number else SHORT_SECONDS
        for _ in range(min(wanted, len(self._pieces.waiting))):
            key, part = self._pieces.begin()
            seconds = min(slice_seconds, self._seconds_left())
            self.workers.give(key, explore_part, self.search, self.open_it, part, seconds)

    def _end(self, key: Any, done: Slice) -> None:
        if done.found.interrupted:  # it left the middle of a schedule, so that what is left of it is not known
            raise KeyboardInterrupt
        self._so_far.merge(done.found)
        self._pieces.end(key, done)
        if self.checkpoint:
            self.checkpoint.write(self._pieces)
        if self._on_progress:
            self._so_far.complete = False
            self._on_progress(self._so_far)

    def _end_last(self) -> None:
        """After an interrupt: with what workers are at, and no more. Another one ends that, too."""
        if self.workers:
            with contextlib.suppress(KeyboardInterrupt):
                for key, done in self.workers.last(LAST_SECONDS):
                    if key is not _READY and not done.found.interrupted:
                        self._pieces.end(key, done)

    def _seconds_left(self) -> float:
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()
