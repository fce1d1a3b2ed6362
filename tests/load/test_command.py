"""`zephyr-lab incident` as a program: its progress, its report, Ctrl-C, and that no process outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.acceptance.test_cli import PROGRAM, run
from zephyr_lab.cli import main

BAD = {
    "no rate": ("incident --rate 0", "rate is more than 0 and at most 100,000 orders a second, not 0"),
    "a huge rate": ("incident --rate 1e9", "not 1e+09"),
    "an unknown strategy": (
        "incident --strategy hope",
        "unknown strategy 'hope'; there are: check-then-insert",
    ),
    "a file of another kind": ("incident --into runs.xlsx", "a file that ends in .csv or .parquet"),
    "a history of many": (
        "incident --strategy all --history orders.jsonl",
        "--history is of one run: name the strategy",
    ),
    "a history nowhere": ("incident --history nowhere/orders.jsonl", "cannot write nowhere/orders.jsonl: there is no"),
    "no folder": ("incident --into nowhere/runs.csv", "there is no folder nowhere"),
    "all with a capacity that some have fixed": (
        "incident --strategy all --capacity 5000",
        "leave it at that",
    ),
    "a claim that there is not": ("claims 99", "there is no claim 99; they are numbered from 1 to"),
}


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """The command without a process of its own, for what ends before a server is started: exit code, output, errors."""

    def here(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["zephyr-lab", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    for name in ("ZEPHYR_LAB_PG_DSN", "ZEPHYR_LAB_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return here


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_ends_in_one_clear_line(here: Here, name: str) -> None:
    """Before a server is started."""
    words, said = BAD[name]
    code, printed, error = here(*words.split())
    assert (code, printed) == (2, "")
    assert said in error
    assert len(error.splitlines()) == 1


def test_an_unreachable_server_is_told(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, without the password."""
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", "postgresql://u:s3cr3t@127.0.0.1:1/d")
    code, printed, error = here("incident")
    assert (code, printed) == (2, "")
    assert "no PostgreSQL answers at" in error
    assert "s3cr3t" not in error


@pytest.mark.server
@pytest.mark.thorough
def test_a_report_is_printed_and_figures_are_written(tmp_path: Path) -> None:
    """Of a service that loses orders: exit 1, and the verdict says how many; JSON can be read, and a table."""
    words = ["--strategy", "swallowed-40001", "--arrivals", "closed", "--connections", "16", "--seconds", "0.6"]
    done = run("incident", *words, "--format", "json", "--into", str(tmp_path / "runs.csv"))
    assert done.returncode == 1, done.stderr
    (report,) = json.loads(done.stdout)
    assert report["figures"]["acknowledged"] == report["figures"]["rows"] + report["figures"]["lost_orders"]
    assert report["figures"]["lost_orders"] > 0
    assert "acknowledged and are not in the database" in report["verdict"]
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 2


def started(*words: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A run of half a minute as on a terminal, once its progress says that orders are saved; and all its processes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    terminal = {"TTY_COMPATIBLE": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        [PROGRAM, "incident", "--strategy", "one-statement", "--rate", "60", "--seconds", "30", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean | terminal,
    )
    assert process.stderr
    shown = ""
    while not any(f" {number} orders/s" in shown for number in range(1, 200)):
        piece = process.stderr.read(1)
        assert piece, "it ended early"
        shown = (shown + piece)[-400:]
    return process, psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=20)[1]


@pytest.mark.server
@pytest.mark.slow
def test_ctrl_c_prints_the_report_so_far() -> None:
    """From a real terminal's signal; then nothing is left."""
    process, children = started()
    assert len(children) >= 4, "two clients, a server and its supervisor"
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped early" in printed
    assert "nothing oversold, nothing lost" in printed
    assert gone(children)


@pytest.mark.server
@pytest.mark.thorough
@pytest.mark.slow
def test_nothing_outlives_a_killed_run() -> None:
    """SIGKILL: clients, the service's server and the servers end by themselves."""
    process, children = started("--through", "grpc")
    process.kill()
    process.communicate(timeout=60)
    assert gone(children)
