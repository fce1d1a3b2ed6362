"""`zephyr-lab check` and `zephyr-lab record`: histories, judged and made."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from zephyr_lab import __version__
from zephyr_lab.cli.common import err, labs
from zephyr_lab.errors import BadInput, InternalFault, LabError
from zephyr_lab.schedule.levels import IsolationLevel

_CODES = {True: 0, False: 1, None: 2}
"""Exit codes by verdict."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _KEPT = -1, -3, 32 << 20
"""Of glibc's malloc.h, and the most that it takes for the latter."""


class CheckFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    SVG = "svg"
    HTML = "html"


WorkloadOption = Annotated[
    str | None,
    typer.Option(
        help="list-append, rw-register or predicate (default: told by the operations); of Jepsen's other tests: "
        "bank, set-full, counter, linearizable-register, long-fork, monotonic."
    ),
]
FragmentOption = Annotated[
    bool | None,
    typer.Option(
        help="What nobody wrote was written outside the history, or is a violation; default: the latter, but for "
        "registers that the history writes."
    ),
]
JobsOption = Annotated[int, typer.Option(min=1, help="Number of processes, for several histories.")]
RoundsOption = Annotated[
    int, typer.Option(min=1, help="How often orders of writes are tried before the answer is: cannot tell.")
]
MappingOption = Annotated[
    Path | None,
    typer.Option(
        help="A log in CSV or JSON lines, by this TOML file: transaction, session, kind, key, value, words ..."
    ),
]
FormatOption = Annotated[
    CheckFormat, typer.Option(help="Output format; svg draws the worst cycle, html is a page of the anomalies.")
]


def check(
    histories: Annotated[
        list[Path],
        typer.Argument(help="Histories: JSON lines, Jepsen's EDN, r(k,v,s,t), dbcop, Cobra; .gz is unpacked."),
    ],
    workload: WorkloadOption = None,
    level: Annotated[str, typer.Option(help="Elle's names: read-committed, snapshot-isolation, serializable ...")] = (
        "strict-serializable"
    ),
    initial: Annotated[int | None, typer.Option(help="Initial value of registers, besides null.")] = None,
    wfr_keys: Annotated[bool, typer.Option("--wfr-keys", help="Registers: assume that writes follow reads.")] = False,
    sequential_keys: Annotated[
        bool, typer.Option("--sequential-keys", help="Registers: assume that each is sequential.")
    ] = False,
    linearizable_keys: Annotated[
        bool, typer.Option("--linearizable-keys", help="Registers: assume that each is linearizable.")
    ] = False,
    fragment: FragmentOption = None,
    mapping: MappingOption = None,
    jobs: JobsOption = 1,
    rounds: RoundsOption = 400,
    format: FormatOption = CheckFormat.TEXT,
) -> None:
    """Say whether a history of transactions satisfies an isolation level, and show the cycle that proves it does not.

    Exit 0 valid, 1 violated, 2 cannot tell or bad input. With several histories, the worst of these.
    """
    assumed = {"wfr": wfr_keys, "sequential": sequential_keys, "linearizable": linearizable_keys, "fragment": fragment}
    reading = {"workload": workload, "initial": initial, "mapped": mapping, "rounds": rounds, "jobs": jobs}
    reports = _reports(histories, level, assumed, reading)
    codes = set()
    for path in histories:
        with _faults_told(path):
            report = next(reports)
        codes.add(_CODES[report.valid])
        _print(report, format)
    if codes != {0}:
        raise typer.Exit(1 if 1 in codes else 2)


def _reports(paths: list[Path], level: str, assumed: dict[str, Any], reading: dict[str, Any]) -> Iterator[Any]:
    """In the order of the paths."""
    # Starting numpy's threads, which only matrix products need, takes a tenth of the time of a million operations.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _keep_memory()
    from zephyr_lab import check as checking
    from zephyr_lab.check import operations

    if (workload := reading["workload"]) in operations.CHECKS:
        yield from (operations.check(path, workload) for path in paths)
        return
    yield from checking.check_all(paths, level, checking.Assumptions(**assumed), **reading)


def _keep_memory() -> None:
    """Has glibc keep what is freed: columns come and go, and their pages would be asked for again, a fifth of the time
    of a million operations."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(parameter, _KEPT)


def _print(report: Any, format: CheckFormat) -> None:
    if format is CheckFormat.JSON:
        print(json.dumps(report.to_dict()))
    elif format in (CheckFormat.SVG, CheckFormat.HTML):
        if not hasattr(report, "figure"):
            raise BadInput(f"{report.source}: a history of {report.workload} has no cycle to draw; use --format text")
        print(report.figure().svg if format is CheckFormat.SVG else report.html(), end="")
    else:
        print(report)


@contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    """A fault of the checker is neither a verdict, which exit 1 would say, nor a page of traceback."""
    try:
        yield
    except (LabError, OSError, ImportError):
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise InternalFault(
            f"{path}: cannot tell: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {error!s:.200}; "
            f"this is a fault of zephyr-lab {__version__}: please report this line, with the history if you may"
        ) from error


def record(
    file: Annotated[Path, typer.Argument(help="Write the history to this file, as JSON lines.")],
    workload: Annotated[str, typer.Option(help="list-append or rw-register.")] = "list-append",
    isolation: Annotated[
        str, typer.Option(help="One of PostgreSQL's four isolation levels, case-insensitive.")
    ] = "serializable",
    sessions: Annotated[int, typer.Option(min=1, help="Number of concurrent sessions.")] = 4,
    seconds: Annotated[float | None, typer.Option(help="Stop after this many seconds.")] = None,
    transactions: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many transactions (default 200).")
    ] = None,
    keys: Annotated[int, typer.Option(min=1, help="Number of keys.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the random transactions.")] = 0,
) -> None:
    """Record random transactions on the lab's PostgreSQL as a history for `zephyr-lab check`."""
    level = IsolationLevel.of(isolation)
    with labs.Lab() as lab:
        recorded = lab.record(
            workload, level, sessions=sessions, seconds=seconds, transactions=transactions, keys=keys, seed=seed
        )
    recorded.write(file)
    err.print(f"{recorded}, in {file}; now: zephyr-lab check {file}", soft_wrap=True)
