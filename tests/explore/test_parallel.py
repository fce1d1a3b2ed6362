"""One search by several workers, without a server: who does what, and what is done when one of them ends."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.explore.test_explorer import CountingExecutor
from tests.explore.test_pieces import few
from zephyr_lab.errors import BadInput
from zephyr_lab.explore.checkpoint import Checkpoint
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Enough, Explorer
from zephyr_lab.explore.parallel import _READY, Distributed
from zephyr_lab.explore.pieces import Slice
from zephyr_lab.explore.selection import Part, Selection
from zephyr_lab.workers import pool
from zephyr_lab.workers.pool import Workers

SELECTION = Selection(reduction=False)
ABOUT = {"case": "counting"}


def opened(stack: contextlib.ExitStack) -> Explorer:
    return Explorer(CountingExecutor())


@dataclass(frozen=True)
class Counted:
    """Three schedules at a time, however many seconds there are; after so many slices it raises."""

    fails: BaseException | None = None

    def explore(self, opened: Explorer, part: Part, seconds: float) -> Slice:
        if self.fails:
            raise self.fails
        search = SELECTION.scheduler(None, part)
        return Slice(opened.explore(search, few(3)), search.rest())


def search(here: Explorer, workers: Workers | None = None, **more: Any) -> Distributed:
    counted = Counted(more.pop("fails", None))
    return Distributed(
        counted, SELECTION.all(), Exploration("counting", "read committed"),
        lambda part, seconds: Counted().explore(here, part, seconds), opened, workers, **more,
    )  # fmt: skip


def ready(workers: Workers) -> None:
    """From the beginning, so that nothing is done in this process."""
    workers.give(_READY, int)
    while not workers.has_done:
        threading.Event().wait(0.001)


def told(found: Exploration) -> dict[str, Any]:
    return {**found.to_dict(), "seconds": 0}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return told(opened(contextlib.ExitStack()).explore(SELECTION.scheduler(None)))


@pytest.mark.parametrize("number", [1, 2, 5])
def test_workers_find_what_one_process_finds(expected: dict[str, Any], number: int) -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(number) as executor, Workers(executor) as workers:
        ready(workers)
        found = search(opened(contextlib.ExitStack()), workers).run(lambda so_far: seen.append(so_far.schedules))
    assert told(found) == expected
    assert seen == sorted(seen)
    assert seen[-1] == 20


def test_what_a_worker_raises_is_raised() -> None:
    with ThreadPoolExecutor(1) as executor, Workers(executor) as workers:
        ready(workers)
        failing = search(opened(contextlib.ExitStack()), workers, fails=BadInput("one of them"))
        with pytest.raises(BadInput, match="one of them"):
            failing.run()


def test_no_time_left_ends_the_search_with_what_was_found() -> None:
    found = search(opened(contextlib.ExitStack())).run(budget=0)
    assert (found.schedules, found.complete, found.interrupted) == (0, False, False)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Enough()], ids=repr)
def test_a_search_goes_on_from_its_checkpoint(expected: dict[str, Any], tmp_path: Path, error: BaseException) -> None:
    """However often it is stopped; another one is refused."""
    path = tmp_path / "counting.checkpoint"
    for stopped in range(1, 6):

        def stop(so_far: Exploration, until: int = 3 * stopped) -> None:
            if so_far.schedules >= until:
                raise error

        part = search(opened(contextlib.ExitStack()), checkpoint=Checkpoint(path, ABOUT)).run(stop)
        assert part.schedules == 3 * stopped
        assert not part.complete
        assert part.interrupted is isinstance(error, KeyboardInterrupt)
    with pytest.raises(BadInput, match="another search: case is 'counting' there, and 'other' now"):
        search(opened(contextlib.ExitStack()), checkpoint=Checkpoint(path, {"case": "other"})).run()
    here = CountingExecutor()
    assert told(search(Explorer(here), checkpoint=Checkpoint(path, ABOUT)).run()) == expected
    assert here.calls.count("begin") == 5
    here = CountingExecutor()
    assert told(search(Explorer(here), checkpoint=Checkpoint(path, ABOUT)).run()) == expected
    assert here.calls == []
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_between_workers_loses_nothing(expected: dict[str, Any], tmp_path: Path) -> None:
    """What they are at is kept, or done again."""
    path = tmp_path / "counting.checkpoint"

    def stop(so_far: Exploration) -> None:
        if so_far.schedules >= 9:
            raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as executor, Workers(executor) as workers:
        ready(workers)
        part = search(opened(contextlib.ExitStack()), workers, checkpoint=Checkpoint(path, ABOUT)).run(stop)
    assert part.interrupted
    assert told(search(opened(contextlib.ExitStack()), checkpoint=Checkpoint(path, ABOUT)).run()) == expected


def test_what_is_left_of_a_search_that_failed_is_no_part_of_the_next(expected: dict[str, Any]) -> None:
    """As where it begins again without reduction: a late piece of the first has the key of one of the second."""
    with ThreadPoolExecutor(1) as executor, Workers(executor) as workers:
        ready(workers)
        late: Future[Any] = Future()
        late.set_running_or_notify_cancel()
        workers._running[late] = pool._Given((), int, ())
        failing = search(opened(contextlib.ExitStack()), workers, fails=BadInput("one of them"))
        with pytest.raises(BadInput, match="one of them"):
            failing.run()
        late.set_result(Slice(Exploration("late", "read committed"), None))
        assert workers.running == 0
        assert told(search(opened(contextlib.ExitStack()), workers).run()) == expected
