"""Candidates decided one after another in this process, or by several processes, each with a lab of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from functools import lru_cache
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from zephyr_lab.errors import ServerLost
from zephyr_lab.functions.arguments import name_of
from zephyr_lab.hunt.candidates import Candidate
from zephyr_lab.hunt.decision import Decision, Explores, decide
from zephyr_lab.wire.works import Request

LAST_SECONDS = 3.0  # for a process to end by itself

OpenLab = Callable[[], Explores]
"""Opens a lab in another process; picklable."""


class Decides(Protocol):
    """Decides one of `jobs` candidates at a time."""

    jobs: int

    def submit(
        self, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
    ) -> Future[Decision]: ...


class InThisProcess:
    """In the lab of this process: `submit` returns when it is decided."""

    jobs = 1

    def __init__(self, lab: Explores) -> None:
        self._lab = lab

    def submit(
        self, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
    ) -> Future[Decision]:
        done: Future[Decision] = Future()
        done.set_result(decide(self._lab, candidate, sessions, options, seconds))
        return done


class InProcesses:
    """In processes, whose labs end with them."""

    def __init__(self, pool: ProcessPoolExecutor, open_lab: OpenLab, jobs: int) -> None:
        self._pool, self._open_lab, self.jobs = pool, open_lab, jobs

    def submit(
        self, candidate: Candidate, sessions: Mapping[str, Any], options: Mapping[str, Any], seconds: float | None
    ) -> Future[Decision]:
        return self._pool.submit(_decide, self._open_lab, candidate, sessions, options, seconds)


@contextlib.contextmanager
def deciding(lab: Explores, open_lab: OpenLab, jobs: int) -> Iterator[Decides]:
    """In so many processes, or in this one. An error, or an interrupt, ends the processes at once.

    Raises ServerLost if one of them is ended from outside.
    """
    if jobs == 1:
        yield InThisProcess(lab)
        return
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start) as pool:
        try:
            yield InProcesses(pool, open_lab, jobs)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            _end(set(multiprocessing.active_children()) - others)
            if isinstance(error, BrokenExecutor):
                raise ServerLost("a process of the hunt was ended from outside: hunt again, or with jobs=1") from error
            raise


def _end(workers: Iterable[BaseProcess]) -> None:
    """Ends processes; their servers end with them."""
    for end in (BaseProcess.terminate, BaseProcess.kill):
        for worker in workers:
            end(worker)
        for worker in workers:
            worker.join(LAST_SECONDS)


def why_here(sessions: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Why they cannot be explored in other processes; '' if they can."""
    if requests := [name for name, one in sessions.items() if isinstance(one, Request)]:
        return f"{requests[0]} is a request, and what it asks runs for this process only"
    for name, one in sessions.items():
        if getattr(getattr(one, "func", one), "__module__", None) == "__main__":
            return f"{name_of(one)} is defined where the program begins, not in a module that can be imported"
        if not _is_picklable(one):
            return f"{name} ({name_of(one)}) is no function that can be imported by its name"
    wrong = next((name for name, one in options.items() if not _is_picklable(one)), "")
    return f"{wrong} cannot be sent to another process" if wrong else ""


def _is_picklable(one: Any) -> bool:
    try:
        pickle.dumps(one)
    except Exception:  # whatever its own __reduce__ raises
        return False
    return True


# -- in a worker


@lru_cache(maxsize=1)
def _lab(open_lab: OpenLab) -> Explores:
    return open_lab()


def _start() -> None:
    """An interrupt, which a terminal sends to every process, is the first one's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _decide(
    open_lab: OpenLab,
    candidate: Candidate,
    sessions: Mapping[str, Any],
    options: Mapping[str, Any],
    seconds: float | None,
) -> Decision:
    return decide(_lab(open_lab), candidate, sessions, options, seconds)
