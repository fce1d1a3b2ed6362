"""`zephyr-lab check` and `zephyr-lab record`, as whole processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from zephyr_lab import cli
from zephyr_lab.check import many

pytestmark = pytest.mark.server

SKEW = [
    {"session": 0, "type": "ok", "ops": [["r", "x", []], ["append", "y", 1]], "t0": 0, "t1": 2},
    {"session": 1, "type": "ok", "ops": [["r", "y", []], ["append", "x", 1]], "t0": 1, "t1": 3},
]


def zephyr_lab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zephyr_lab.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def skew(tmp_path: Path) -> Path:
    path = tmp_path / "skew.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SKEW))
    return path


def test_the_exit_code_says_valid_violated_or_cannot_tell(skew: Path, tmp_path: Path) -> None:
    """0, 1, 2; and 2 as well for bad input, with one line on standard error."""
    assert zephyr_lab("check", skew, "--level", "snapshot-isolation").returncode == 0
    violated = zephyr_lab("check", skew, "--level", "serializable")
    assert violated.returncode == 1
    assert "T1 must precede T2 because T1's read of x = [] did not see T2's append of 1" in violated.stdout
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text(json.dumps(SKEW[0]) + "\n")
    assert zephyr_lab("check", nothing).returncode == 2
    nothing.write_text('{"session": 0}\n')
    wrong = zephyr_lab("check", nothing)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "error: nothing.jsonl, line 1: a transaction without type, ops\n"


def test_a_fault_of_the_checker_is_no_verdict(
    skew: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and one line that can be reported; never 1, which says that the level is violated."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(many, "check", broken)
    monkeypatch.setattr(sys, "argv", ["zephyr-lab", "check", str(skew)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "skew.jsonl: cannot tell: ZeroDivisionError at test_check.py:" in said
    assert "please report this line" in said


@pytest.mark.thorough
def test_json_and_svg_are_what_they_say(skew: Path) -> None:
    """The fields that a program reads; a drawing of the cycle."""
    told = json.loads(zephyr_lab("check", skew, "--workload", "list-append", "--format", "json").stdout)
    assert {"valid", "anomalies", "not", "transactions", "operations", "seconds"} <= set(told)
    assert told["valid"] is False
    assert list(told["anomalies"]) == ["G2-item"]
    assert zephyr_lab("check", skew, "--format", "svg").stdout.lstrip().startswith("<?xml")


@pytest.mark.thorough
def test_a_recording_can_be_checked(tmp_path: Path) -> None:
    """Recorded on the lab's PostgreSQL at SERIALIZABLE, it is serializable."""
    path = tmp_path / "history.jsonl"
    recorded = zephyr_lab("record", path, "--transactions", "80")
    assert recorded.returncode == 0, recorded.stderr
    assert len(path.read_text().splitlines()) == 80
    assert zephyr_lab("check", path, "--level", "serializable").returncode == 0
