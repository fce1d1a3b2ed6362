"""Many histories, checked by the workers of an executor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zephyr_lab.check.checker import DEFAULT_LEVEL, check
from zephyr_lab.check.chooser import ROUNDS
from zephyr_lab.check.read import read
from zephyr_lab.check.registers import Assumptions
from zephyr_lab.check.report import Report

if TYPE_CHECKING:
    from concurrent.futures import Executor


def check_all(
    paths: Iterable[Path | str],
    level: str = DEFAULT_LEVEL,
    assumptions: Assumptions = Assumptions(),  # noqa: B008
    *,
    workload: str | None = None,
    initial: int | None = None,
    rounds: int = ROUNDS,
    mapped: Path | str | None = None,
    jobs: int = 1,
    executor: Executor | None = None,
) -> Iterator[Report]:
    """The report on each file, in the order of the paths: as `check` of what `read` reads.

    By `jobs` processes, or by the workers of an `executor`, which have to find the files by the same paths. Raises
    BadInput for the first file that cannot be read, and ServerLost if no worker can be had any more.
    """
    files = list(paths)
    about = level, assumptions, workload, initial, rounds, mapped
    if jobs == 1 and executor is None:
        for path in files:
            yield _check(path, *about)
        return
    from zephyr_lab.workers.pool import Workers

    done: dict[int, Report] = {}
    with Workers(executor, jobs) as workers:
        for number, path in enumerate(files):
            workers.give(number, _check, path, *about)
        for number in range(len(files)):
            while number not in done:
                name, report = workers.take()
                done[name] = report
            yield done.pop(number)


def _check(
    path: Path | str,
    level: str,
    assumptions: Assumptions,
    workload: str | None,
    initial: int | None,
    rounds: int,
    mapped: Path | str | None,
) -> Report:
    return check(read(path, workload, initial, mapped), level, assumptions, rounds)
