"""`zephyr-lab incident` as a program: its progress, its report, Ctrl-C, and that no process outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.acceptance.test_cli import PROGRAM, run

BAD = {
    "no rate": (["--rate", "0"], "rate is more than 0 and at most 100,000 orders a second, not 0"),
    "a huge rate": (["--rate", "1e9"], "not 1e+09"),
    "an unknown strategy": (["--strategy", "hope"], "unknown strategy 'hope'; there are: check-then-insert"),
    "a file of another kind": (["--into", "runs.xlsx"], "a file that ends in .csv or .parquet"),
    "no folder": (["--into", "nowhere/runs.csv"], "there is no folder nowhere"),
    "all with a capacity that some have fixed": (["--strategy", "all", "--capacity", "5000"], "leave it at that"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_ends_in_one_clear_line(name: str) -> None:
    """Before a server is started."""
    words, said = BAD[name]
    done = run("incident", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unreachable_server_is_told() -> None:
    """In one line, without the password."""
    done = run("incident", ZEPHYR_LAB_PG_DSN="postgresql://u:s3cr3t@127.0.0.1:1/d")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no PostgreSQL answers at" in done.stderr
    assert "s3cr3t" not in done.stderr


def test_a_report_is_printed_and_figures_are_written(tmp_path: Path) -> None:
    """Exit 0, since nothing that was promised is broken; JSON can be read."""
    words = ["--strategy", "one-statement", "--rate", "40", "--seconds", "0.5", "--format", "json"]
    done = run("incident", *words, "--into", str(tmp_path / "runs.csv"))
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert report["figures"]["rows"] == report["figures"]["created"] > 0
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 2


def test_lost_orders_are_exit_1() -> None:
    """And the verdict says how many."""
    crowd = ["--arrivals", "closed", "--connections", "16", "--seconds", "0.6"]
    done = run("incident", "--strategy", "swallowed-40001", *crowd)
    assert done.returncode == 1
    assert "acknowledged and are not in the database" in done.stdout


def started(*words: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A run of half a minute as on a terminal, once its progress says that orders are saved; and all its processes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    terminal = {"TTY_COMPATIBLE": "1", "COLUMNS": "200"}
    process = subprocess.Popen(
        [PROGRAM, "incident", "--strategy", "one-statement", "--rate", "60", "--seconds", "30", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean | terminal,
    )  # fmt: skip
    assert process.stderr
    shown = ""
    while not any(f" {number} orders/s" in shown for number in range(1, 200)):
        piece = process.stderr.read(1)
        assert piece, "it ended early"
        shown = (shown + piece)[-400:]
    return process, psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=20)[1]


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


@pytest.mark.slow
def test_nothing_outlives_a_killed_run() -> None:
    """SIGKILL: clients, the service's face and the servers end by themselves."""
    process, children = started("--through", "grpc")
    process.kill()
    process.communicate(timeout=60)
    assert gone(children)
