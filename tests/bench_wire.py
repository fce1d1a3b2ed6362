"""Speeds at the wire beside that of functions on psycopg, in the same run: the same two statements by each."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from tests.wire import programs, services
from zephyr_lab import Lab
from zephyr_lab.explore.sampled import Sampled

NUMBER, TIMES = 100, 3
SHOP = Path(__file__).parent / "wire" / "shop.py"


def by_psycopg(conn: psycopg.Connection) -> int:
    (booked,) = conn.execute(programs.READ).fetchone() or (0,)
    conn.execute(programs.WRITE, (booked + 5000,))
    return int(booked)


def rows(lab: Lab, schedules: int) -> Iterator[tuple[str, str, str]]:
    """What, schedules a second of it and of functions on psycopg, and their ratio; then what `schedules` leave."""
    with tempfile.TemporaryDirectory() as folder, lab.service([sys.executable, SHOP], ready="/", redis=False) as shop:
        named: dict[str, Any] = {
            "psycopg 3": programs.psycopg3,
            "psycopg2": programs.psycopg2,
            "asyncpg": programs.asyncpg,
            "pg8000": programs.pg8000,
            "requests to a service on psycopg2": shop.post("/orders"),
        }
        try:
            named["requests to a service in Node"] = _node(lab, Path(folder))
        except pytest.skip.Exception as reason:
            yield "requests to a service in Node", str(reason), ""
        found: dict[str, list[float]] = {name: [] for name in ("functions", *named)}
        for _ in range(TIMES):
            for name, one in {"functions": by_psycopg, **named}.items():
                found[name].append(_rate(lab, one))
        functions = _median(found["functions"])
        for name in named:
            rate = _median(found[name])
            yield (
                f"at the wire, schedules a second: {name} / functions on psycopg",
                f"{rate:.0f} / {functions:.0f}",
                f"{rate / functions:.2f}",
            )
        yield from _growth(lab, shop.post("/orders"), schedules)


def _node(lab: Lab, folder: Path) -> Any:
    command = services.node_service(folder, SHOP.with_name("statements.js"))
    statements = programs.READ, "update slots set booked = $1 + 5000 where id = 1"
    return lab.service(command).post("/run?" + urlencode([("sql", one) for one in statements]))


def _rate(lab: Lab, one: Any) -> float:
    explorer = lab.function_explorer([one, one], setup=programs.SETUP)
    found = explorer.explore(Sampled(range(NUMBER), 0))
    return found.schedules / found.seconds


def _growth(lab: Lab, request: Any, schedules: int) -> Iterator[tuple[str, str, str]]:
    """Memory and descriptors of this process after a tenth of the schedules, and after all."""
    marks: list[tuple[int, int]] = []
    explorer = lab.function_explorer([request, request], setup=programs.SETUP)
    explorer.explore(Sampled(range(schedules), 0), lambda found: marks.append((_kilobytes(), _descriptors())))
    early, late = marks[len(marks) // 10], marks[-1]
    for what, before, after in zip(("resident kB", "descriptors"), early, late, strict=True):
        yield (
            f"{what} after {schedules // 10} / {schedules} schedules of a service",
            f"{before} / {after}",
            (f"{before / after:.2f}"),
        )


def _kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]
