"""README.md as a stranger reads it: each command and each snippet, in its order, in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from zephyr_lab import Lab
from zephyr_lab.extras import EXTRAS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\w+\.py)\n")

# As written they take minutes, or a port that may be taken; what is appended wins.
SHORTER = {
    "zephyr-lab explore": "--budget 5",
    "zephyr-lab incident": "--rate 40 --seconds 1",
    "zephyr-lab incident --strategy all": "--strategy one-statement --rate 40 --seconds 1",
    "zephyr-lab incident --strategy one-statement --kill": "--rate 40 --seconds 2 --kill postgres@1s",
    "zephyr-lab claims": "34",
    "zephyr-lab record": "--seconds 1",
    "zephyr-lab serve": "--port 0",
    "zephyr-lab serve --dsn": "--port 0 --metrics-port 0",
}
# What a server says when it may be asked; it is stopped then.
READY = {"zephyr-lab serve": r"^serving one-statement on "}
# Tried by other tests, in an environment of their own or with the whole of CI.
ELSEWHERE = ("make ", "pip install ")


def lines(block: str) -> list[tuple[str, int]]:
    """Commands, and how each ends: its comment says so where that is not 0."""
    commands = []
    for line in block.splitlines():
        command, _, comment = line.partition(" #")
        ends = re.match(r" exit (\d)", comment)
        commands.append((command.strip(), int(ends[1]) if ends else 0))
    return commands


def longest(table: dict[str, str], command: str) -> str:
    """The entry whose key the command begins with; the longest where there are several."""
    return table.get(max((key for key in table if command.startswith(key)), key=len, default=""), "")


@pytest.fixture
def environment(lab: Lab) -> Iterator[dict[str, str]]:
    """The commands on the path, and servers of the reader's in $DSN and $URL: a database of its own, and a Valkey."""
    with lab.connect() as connection:
        connection.execute("drop database if exists readme")
        connection.execute("create database readme")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    dsn = re.sub(r"dbname=\S+", "dbname=readme", re.sub(r"options='[^']*'", "", lab.conninfo()))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield {**clean, "PATH": path, "COLUMNS": "120", "DSN": dsn, "URL": lab.redis_url}
    with lab.connect() as connection:
        connection.execute("drop database readme with (force)")


def test_everything_in_the_readme_runs_as_it_is_written(tmp_path: Path, environment: dict[str, str]) -> None:
    """One after the other: what one makes, the next may use."""
    run = 0
    for kind, text in BLOCKS:
        if kind == "python":
            if named := NAMED.match(text):
                (tmp_path / named[1]).write_text(text, encoding="utf-8")
            else:
                command(shlex.join([sys.executable, "-c", text]), 0, tmp_path, environment)
                run += 1
            continue
        for written, ends in lines(text):
            if not written.startswith(ELSEWHERE):
                command(f"{written} {longest(SHORTER, written)}", ends, tmp_path, environment)
                run += 1
    assert run > 30


def command(words: str, ends: int, folder: Path, environment: dict[str, str]) -> None:
    """Runs it, and looks at how it ends; a server is stopped when it says that it serves."""
    ready = longest(READY, words)
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {words}" if ready else words], cwd=folder, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    try:
        if ready:
            said = process.stdout.readline()
            assert re.search(ready, said), f"$ {words}\n{said}{process.stdout.read()}"
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == ends, f"$ {words}\nexit {process.returncode}\n{said}"
    assert "Traceback" not in said, f"$ {words}\n{said}"


def test_the_extras_of_the_readme_are_those_there_are() -> None:
    """In its table, and in each command that installs one."""
    assert set(re.findall(r"^\| `\[(\w+)\]`", README, re.MULTILINE)) == {*EXTRAS, "all"} - {"site"}
    assert set(re.findall(r"zephyr-lab\[(\w+)\]", README)) <= {*EXTRAS, "all"}
