"""Speeds of the checker, as ratios of one run: whole processes on the same file, taken in turn."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

TIMES = 3
LINE_BY_LINE = "import json, sys\nfor line in open(sys.argv[1]): json.loads(line)"
Row = dict[str, Any]


def transactions(operations: int, sessions: int = 20, chance: random.Random | None = None) -> Iterator[Row]:
    """A strict serializable list-append history: 4 operations a transaction, 10 keys at a time, 32 appends a key."""
    chance = chance or random.Random(1)
    state: dict[int, list[int]] = {}
    active, fresh, clock = list(range(10)), itertools.count(10), itertools.count()
    running: dict[int, tuple[int, list[list[Any]] | None]] = {}
    begun = done = 0
    while done < operations // 4:
        session = chance.randrange(sessions)
        if session not in running:
            if begun < operations // 4:
                running[session] = next(clock), None
                begun += 1
        elif running[session][1] is None:
            ops: list[list[Any]] = []
            for _ in range(4):
                slot = min(int(chance.expovariate(0.5)), 9)
                listed = state.setdefault(active[slot], [])
                if chance.random() < 0.5:
                    ops.append(["r", active[slot], list(listed)])
                    continue
                listed.append(len(listed) + 1)
                ops.append(["append", active[slot], len(listed)])
                if len(listed) == 32:
                    del state[active[slot]]
                    active[slot] = next(fresh)
            running[session] = running[session][0], ops
        else:
            t0, ops = running.pop(session)
            yield {"session": session, "type": "ok", "ops": ops, "t0": t0, "t1": next(clock)}
            done += 1


def as_registers(rows: Iterator[Row]) -> Iterator[Row]:
    """The same with registers: what a list ends with is what was written last."""
    for row in rows:
        ops = [["w" if kind == "append" else "r", key, value if kind == "append" else (value or [None])[-1]]
               for kind, key, value in row["ops"]]  # fmt: skip
        yield {**row, "ops": ops}


def with_cycles(rows: Iterator[Row], every: int) -> Iterator[Row]:
    """Write skew on keys of its own, by two concurrent transactions, after each `every` transactions."""
    for number, row in enumerate(rows):
        yield row
        if number % every == 0:
            one, other = 10**7 + 2 * number, 10**7 + 2 * number + 1
            for session, (read, written) in enumerate(((one, other), (other, one)), 100 + 2 * number):
                ops = [["r", read, []], ["append", written, 1]]
                yield {"session": session, "type": "ok", "ops": ops, "t0": row["t0"], "t1": row["t1"]}


def written(path: Path, rows: Iterator[Row]) -> Path:
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def measured(command: list[str | Path], codes: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Seconds of processor time of a process, and its peak memory in MB."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in codes, command
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def best(run: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    return min(run() for _ in range(TIMES))


def _check() -> list[str | Path]:
    return [sys.executable, "-m", "zephyr_lab", "check"]


def _reading(file: Path) -> float:
    """Processor seconds of json.loads, line by line."""
    return best(lambda: measured([sys.executable, "-c", LINE_BY_LINE, file]))[0]


def add_rows(table: Table, largest: int = 1_000_000) -> None:
    """Reading JSON line by line against checking; growth; a history with thousands of cycles; memory."""
    check = _check()
    with tempfile.TemporaryDirectory() as folder:
        sizes = (10_000, 100_000, 1_000_000)
        files = {size: written(Path(folder) / f"{size}.jsonl", transactions(size)) for size in sizes}
        million = files[1_000_000]
        cyclic = written(Path(folder) / "cycles.jsonl", with_cycles(transactions(1_000_000), 250_000 // 3_800))
        reading = _reading(million)
        checking, memory = best(lambda: measured([*check, million]))
        table.add_row(
            "check of 1,000,000 list operations at strict-serializable / json.loads line by line, whole processes",
            f"{checking:.2f} / {reading:.2f} s, {memory:.0f} MB",
            f"{checking / reading:.1f}",
        )
        broken, _ = best(lambda: measured([*check, cyclic], codes=(1,)))
        table.add_row(
            "the same with 3,800 separate cycles, named / valid",
            f"{broken:.2f} / {checking:.2f} s",
            f"{broken / checking:.2f}",
        )
        small, _ = best(lambda: measured([*check, files[10_000]]))
        middle, _ = best(lambda: measured([*check, files[100_000]]))
        table.add_row(
            "check of 10 times as many operations, without the start of the process: from 10^5 to 10^6",
            f"{middle:.2f} / {checking:.2f} s, {small:.2f} s for 10^4",
            f"{(checking - small) / max(middle - small, 0.01):.1f}",
        )
        _registers(table, Path(folder))
        if largest > 1_000_000:
            _large(table, Path(folder), largest, (checking - small) / 990_000)


def _registers(table: Table, folder: Path) -> None:
    for size, levels in ((100_000, ("strict-serializable", "causal", "pram")), (1_000_000, ("causal",))):
        file = written(folder / "registers.jsonl", as_registers(transactions(size)))
        reading = _reading(file)
        for level in levels:
            checking, memory = best(lambda level=level, file=file: measured([*_check(), file, "--level", level]))
            table.add_row(
                f"check of {size:,} register operations at {level} / json.loads line by line",
                f"{checking:.2f} / {reading:.2f} s, {memory:.0f} MB",
                f"{checking / reading:.1f}",
            )


def _large(table: Table, folder: Path, size: int, each: float) -> None:
    """One run; `each`: seconds an operation takes in a smaller history."""
    file = written(folder / "large.jsonl", transactions(size))
    reading, _ = measured([sys.executable, "-c", LINE_BY_LINE, file])
    checking, memory = measured([*_check(), file])
    table.add_row(
        f"check of {size:,} list operations / json.loads line by line",
        f"{checking:.1f} / {reading:.1f} s, {memory:.0f} MB; {checking / size / each:.2f} times as long per operation",
        f"{checking / reading:.2f}",
    )


if __name__ == "__main__":
    from rich.box import MARKDOWN
    from rich.console import Console

    alone = Table("what", "measured", "ratio", box=MARKDOWN)
    add_rows(alone, *map(int, sys.argv[1:]))
    Console(width=200).print(alone)
