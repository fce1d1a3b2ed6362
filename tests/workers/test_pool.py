"""Workers that are killed, errors that come back, and that nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from zephyr_lab.errors import BadInput, ServerLost
from zephyr_lab.workers.pool import MOST_BREAKS, Workers


def square(number: int) -> int:
    return number * number


def fail(number: int) -> None:
    raise BadInput(f"number {number}")


def die(number: int, unless: str) -> int:
    """Only once: the next one finds the file."""
    if unless and Path(unless).exists():
        return number * number
    if unless:
        Path(unless).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def taken(workers: Workers) -> dict[Any, Any]:
    return dict(workers.take() for _ in range(workers.running))


def test_an_executor_of_the_callers_does_the_work_and_stays() -> None:
    with ThreadPoolExecutor(3) as executor:
        with Workers(executor) as workers:
            assert workers.number == 3
            for number in range(5):
                workers.give(f"number {number}", square, number)
            assert taken(workers) == {f"number {number}": number * number for number in range(5)}
            workers.give("bad", fail, 7)
            with pytest.raises(BadInput, match="number 7"):
                workers.take()
            assert workers.running == 0
        assert executor.submit(square, 2).result() == 4


def test_a_process_that_is_killed_costs_its_piece_only(tmp_path: Path) -> None:
    """All results are there, and no process is when the block ends."""
    before = set(multiprocessing.active_children())
    with Workers(jobs=2) as workers:
        assert workers.number == 2
        for number in range(4):
            workers.give(number, square, number)
        workers.give("dies", die, 9, str(tmp_path / "died"))
        assert taken(workers) == {0: 0, 1: 1, 2: 4, 3: 9, "dies": 81}
    assert set(multiprocessing.active_children()) == before


@pytest.mark.thorough
def test_a_piece_that_kills_whoever_has_it_is_given_up() -> None:
    before = set(multiprocessing.active_children())
    with Workers(jobs=1) as workers:
        workers.give("dies", die, 9, "")
        with pytest.raises(ServerLost, match=rf"processes ended {MOST_BREAKS + 1} times.* with fewer jobs"):
            workers.take()
    assert set(multiprocessing.active_children()) == before


@pytest.mark.thorough
def test_an_executor_that_is_broken_is_said_to_be() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor, Workers(executor) as workers:
        workers.give("dies", die, 9, "")
        with pytest.raises(ServerLost, match="ProcessPoolExecutor does not replace it"):
            workers.take()


class KilledWorker(Exception):
    """As Dask says it."""


class GivesUp(Executor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(KilledWorker("three workers died"))
        return future


def test_a_piece_that_a_cluster_gives_up_is_said_in_the_labs_words() -> None:
    with Workers(GivesUp(), jobs=4) as workers:
        assert workers.number == 4  # such an executor does not say how many it has
        workers.give("x", square, 2)
        with pytest.raises(ServerLost, match="square was given up by the cluster: three workers died"):
            workers.take()


def test_after_an_interrupt_what_is_done_in_time_counts() -> None:
    with ThreadPoolExecutor(1) as executor, Workers(executor) as workers:
        workers.give("done", square, 3)
        workers.take()
        workers.give("done", square, 4)
        workers.give("bad", fail, 4)
        assert set(workers.last(10)) <= {("done", 16)}
        assert workers.running == 0


ORPHANS = """
import time
from zephyr_lab.workers.pool import Workers
if __name__ == "__main__":
    workers = Workers(jobs=1)
    workers.give("pid", __import__("os").getpid)
    print(workers.take()[1], flush=True)
    workers.give("sleeps", time.sleep, 600)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_processes_end_with_a_first_one_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "orphans.py"
    program.write_text(ORPHANS)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout
        worker = Path("/proc") / process.stdout.readline().strip()
        assert worker.exists()
        process.kill()
    deadline = time.monotonic() + 20
    while worker.exists() and "State:\tZ" not in (worker / "status").read_text():
        assert time.monotonic() < deadline, "the worker is still there"


def sleep(path: str) -> None:
    Path(path).touch()
    time.sleep(60)


def test_a_pool_ends_quietly_with_pieces_that_nobody_wants_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is being worked on, the others wait; and one that is given afterwards need not wait for them."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    with Workers(jobs=1) as workers:
        workers.give("begun", sleep, str(tmp_path / "begun"))
        for number in range(4):
            workers.give(number, sleep, str(tmp_path / f"{number}"))
        while not (tmp_path / "begun").exists():
            threading.Event().wait(0.01)
        workers.forget()
    assert told == []
    with Workers(jobs=1) as workers:
        for number in range(4):
            workers.give(number, sleep, str(tmp_path / "first" if not number else tmp_path / "second"))
        while not (tmp_path / "first").exists():
            threading.Event().wait(0.01)
        workers.forget()
        workers.give("later", square, 3)
        assert sum(one.cancelled() for one in workers._forgotten) >= 1
    assert not (tmp_path / "second").exists()
