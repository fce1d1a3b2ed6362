"""`zephyr-lab check` and `zephyr-lab record`, as whole processes."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zephyr_lab import cli
from zephyr_lab.check import Assumptions, many
from zephyr_lab.cli import histories

pytestmark = pytest.mark.server

SKEW = [
    {"session": 0, "type": "ok", "ops": [["r", "x", []], ["append", "y", 1]], "t0": 0, "t1": 2},
    {"session": 1, "type": "ok", "ops": [["r", "y", []], ["append", "x", 1]], "t0": 1, "t1": 3},
]


def zephyr_lab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zephyr_lab", *map(str, arguments)]
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


@pytest.mark.parametrize(
    ("words", "level", "format"),
    [
        ("a.jsonl", "strict-serializable", "text"),
        ("a.jsonl b.edn --level causal", "causal", "text"),
        ("--format json a.jsonl --level causal --level prefix --workload list-append", "prefix", "json"),
    ],
)
def test_a_plain_check_is_asked_without_the_parser_of_options(
    words: str, level: str, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is what the parser makes of the same words, wherever these stand."""
    asked = histories.plain(words.split())
    assert asked
    assert (asked["level"], asked["format"]) == (level, format)
    parsed: list[Any] = []
    monkeypatch.setattr("zephyr_lab.cli.check.judge", lambda *given: parsed.append(given) or 0)
    assert CliRunner().invoke(cli.app, ["check", *words.split()]).exit_code == 0
    ((files, of_parser, its_format, reading, assumed),) = parsed
    assert (files, of_parser, its_format) == (asked["files"], level, format)
    assert reading["workload"] == asked["reading"]["workload"]
    defaults = inspect.signature(many.check_all).parameters
    assert all(reading[name] == defaults[name].default for name in ("initial", "mapped", "rounds", "jobs"))
    assert assumed == dataclasses.asdict(Assumptions())


@pytest.mark.parametrize(
    "words",
    ["", "--help", "a.jsonl --rounds 3", "a.jsonl --level", "a.jsonl --level --format", "a.jsonl --format yaml",
     "a.jsonl --level=causal", "a.jsonl -x", "a.jsonl -- b.jsonl", "--level causal"],
)  # fmt: skip
def test_whatever_else_is_left_to_the_parser(words: str) -> None:
    """Which says what is wrong with it."""
    assert histories.plain(words.split()) is None
