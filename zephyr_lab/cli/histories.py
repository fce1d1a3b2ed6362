"""What `zephyr-lab check` does, without its options' parser."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from zephyr_lab import __version__
from zephyr_lab.errors import BadInput, InternalFault, LabError

_CODES = {True: 0, False: 1, None: 2}
"""Exit codes by verdict."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of glibc's malloc.h."""
_PLAIN = frozenset({"level", "workload", "format"})
LEVEL = "strict-serializable"


class CheckFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    SVG = "svg"
    HTML = "html"


def plain(words: Sequence[str]) -> dict[str, Any] | None:
    """What `judge` is asked, if these are files and options that are words, and nothing else; None for all else."""
    files, options, rest = [], dict[str, str](), iter(words)
    for word in rest:
        if not word.startswith("-"):
            files.append(Path(word))
            continue
        value = next(rest, "")
        if word[:2] != "--" or word[2:] not in _PLAIN or not value or value.startswith("-"):
            return None
        options[word[2:]] = value
    if not files or "" in words or options.get("format", "text") not in set(CheckFormat):
        return None
    return {
        "files": files,
        "level": options.get("level", LEVEL),
        "format": CheckFormat(options.get("format", "text")),
        "reading": {"workload": options.get("workload")},
    }


def judge(
    files: Sequence[Path],
    level: str,
    format: CheckFormat,
    reading: dict[str, Any],
    assumed: dict[str, Any] | None = None,
) -> int:
    """Prints a report on each history, and gives the exit code of the worst. `reading`: of `check_all`."""
    reports = _reports(files, level, assumed or {}, reading)
    codes = set()
    for path in files:
        with _faults_told(path):
            report = next(reports)
        codes.add(_CODES[report.valid])
        _print(report, format)
    return 0 if codes == {0} else 1 if 1 in codes else 2


def _reports(paths: Sequence[Path], level: str, assumed: dict[str, Any], reading: dict[str, Any]) -> Iterator[Any]:
    """In the order of the paths."""
    # Starting numpy's threads, which only matrix products need, takes a tenth of the time of a million operations.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _keep_memory()
    from zephyr_lab import check as checking
    from zephyr_lab.check.others import OTHERS

    if (workload := reading["workload"]) in OTHERS:
        from zephyr_lab.check import operations

        told = reading.get("initial"), reading.get("negative_balances", False)
        yield from (operations.check(path, workload, *told) for path in paths)
        return
    if reading.pop("negative_balances", False):
        raise BadInput("--negative-balances is of --workload bank")
    yield from checking.check_all(paths, level, checking.Assumptions(**assumed), **reading)


def _keep_memory() -> None:
    """Has glibc keep what is freed: columns come and go, and their pages would be asked for again, a fifth of the time
    of a million operations."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


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
        import traceback

        at = traceback.extract_tb(error.__traceback__)[-1]
        raise InternalFault(
            f"{path}: cannot tell: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {error!s:.200}; "
            f"this is a fault of zephyr-lab {__version__}: please report this line, with the history if you may"
        ) from error
