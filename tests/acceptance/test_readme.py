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
from psycopg.conninfo import make_conninfo

from tests.conftest import ROOT
from tests.orders.test_grpc import certificate
from zephyr_lab import Lab
from zephyr_lab.extras import EXTRAS
from zephyr_lab.shipped import copy_out

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("readme")]

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {text.partition("\n")[0]: BLOCK.findall(text) for text in README.split("\n## ")[1:] if BLOCK.search(text)}
NAMED = re.compile(r"# (\w+\.py)\n")

# As written they take minutes, or a port that may be taken; what is appended wins.
SHORTER = {
    "zephyr-lab explore": "--budget 5",
    "zephyr-lab incident": "--rate 40 --seconds 1",
    "zephyr-lab incident --strategy all": "--strategy one-statement --rate 40 --seconds 1",
    "zephyr-lab incident --strategy one-statement --kill": "--rate 40 --seconds 2 --kill postgres@1s",
    "zephyr-lab incident --through grpc --kill": "--rate 40 --seconds 2 --kill postmaster@1s",
    "zephyr-lab claims": "34",
    "zephyr-lab record": "--seconds 1",
    "zephyr-lab serve": "--port 0",
    "zephyr-lab serve --dsn": "--port 0 --metrics-port 0",
    "ZEPHYR_LAB_TOKEN=... zephyr-lab serve": "--port 0 --host 127.0.0.1",
}
# What a server says when it may be asked; it is stopped then.
SERVING = r"^serving one-statement on "
READY = {"zephyr-lab serve": SERVING, "ZEPHYR_LAB_TOKEN=... zephyr-lab serve": SERVING}
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


@pytest.fixture(scope="module")
def environment(lab: Lab) -> Iterator[dict[str, str]]:
    """The commands on the path, and servers of the reader's in $DSN and $URL: a database of its own, and a Valkey."""
    with lab.connect() as connection:
        connection.execute("create database readme")
        info = connection.info
        dsn = make_conninfo(host=info.host, port=info.port, user=info.user, password=info.password, dbname="readme")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield {**clean, "PATH": path, "COLUMNS": "120", "DSN": dsn, "URL": lab.redis_url}
    with lab.connect() as connection:
        connection.execute("drop database readme with (force)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one section makes, the next may use; and a certificate."""
    folder = tmp_path_factory.mktemp("readme")
    certificate(folder)
    return folder


# The others take minutes in all.
FIRST = ("Your own functions",)


@pytest.mark.parametrize(
    "section", [one if one in FIRST else pytest.param(one, marks=pytest.mark.thorough) for one in SECTIONS]
)
def test_everything_runs_as_it_is_written(section: str, folder: Path, environment: dict[str, str]) -> None:
    """One after the other."""
    if not (folder / "mine.spec").exists() and section not in list(SECTIONS)[:2]:  # a section alone
        copy_out("data/samples", folder)
    run = 0
    for kind, text in SECTIONS[section]:
        if kind == "python":
            if named := NAMED.match(text):
                (folder / named[1]).write_text(text, encoding="utf-8")
            else:
                command(shlex.join([sys.executable, "-c", text]), 0, folder, environment)
                run += 1
            continue
        for written, ends in lines(text):
            if not written.startswith(ELSEWHERE):
                command(f"{written} {longest(SHORTER, written)}", ends, folder, environment)
                run += 1
    assert run


def command(words: str, ends: int, folder: Path, environment: dict[str, str]) -> None:
    """Runs it, and looks at how it ends; a server is stopped when it says that it serves."""
    ready = longest(READY, words)
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec env {words}" if ready else words],
        cwd=folder,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
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
