"""The command line, as a program: what it prints, and that bad input ends in one clear line and a non-zero exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zephyr_lab.lab.case import cases
from zephyr_lab.servers.embedded import find_postgres

pytestmark = pytest.mark.server

PROGRAM = Path(sys.executable).with_name("zephyr-lab")


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command, with nothing of the lab's in the environment but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZEPHYR_LAB_")}
    return subprocess.run(
        [PROGRAM, *words], capture_output=True, text=True, timeout=90, env={**clean, "COLUMNS": "200", **environment}
    )


def test_cases_lists_each_with_a_schedule() -> None:
    """That can be copied."""
    done = run("cases")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == cases()
    assert "A B A B A B" in done.stdout


def test_run_prints_the_transcript_and_the_verdict() -> None:
    """As text, and the same as JSON."""
    done = run("run", "lost-update", "--isolation", "Repeatable Read", "--schedule", "A B A B A B")
    assert "resumes: 40001 serialization failure" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("verdict: aborts 40001")
    said = json.loads(run("run", "lost-update", "--isolation", "repeatable read", "--format", "json").stdout)
    assert (said["schedule"], said["isolation"], said["verdict"]) == ("A B A B A B", "repeatable read", "aborts 40001")
    assert said["events"][3]["waits_for"] == ["A"]


def test_matrix_prints_text_and_markdown() -> None:
    """Both say the same."""
    text, markdown = run("matrix", "lost-update"), run("matrix", "lost-update", "--format", "markdown")
    assert (text.returncode, markdown.returncode) == (0, 0)
    refused = "aborts 40001: 0 of 14, 12 aborted"
    row = ["lost-update", "occurs: 12 of 14", "occurs: 12 of 14", refused, refused]
    assert "  ".join(row[:1]) in text.stdout
    assert "| " + " | ".join(row) + " |" in markdown.stdout


def test_doctor_says_what_will_be_used() -> None:
    """In one screen, having started both servers."""
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "PostgreSQL 18." in done.stdout
    assert "Valkey 9." in done.stdout
    assert len(done.stdout.splitlines()) <= 24


BAD = {
    "an unknown case": (["run", "nope"], "unknown case 'nope'; there are: aborted-read"),
    "an unknown anomaly": (["matrix", "nope"], "unknown anomaly 'nope'; the catalogue has: dirty-write"),
    "a depth without samples": (["explore", "phantom", "--depth", "2"], "say how many samples as well"),
    "an invariant that is none": (["explore", "phantom", "--invariant", "select 1"], "one row of one boolean, not [1]"),
    "an unknown level": (["run", "phantom", "--isolation", "snapshot"], "unknown isolation level 'snapshot'"),
    "a malformed schedule": (["run", "phantom", "--schedule", "A,B"], "word 1 of the schedule, 'A,B', is neither"),
    "a step too many": (["run", "phantom", "--schedule", "B B B"], "session B has 2 steps (B_order, B_commit)"),
    "a step for a waiting session": (
        ["run", "lost-update", "--schedule", "A B A B B"],
        "step B_commit cannot be sent: B waits for A (transactionid, slots): step A first",
    ),
    "a missing spec file": (["run", "missing.spec"], "cannot read spec file missing.spec"),
    "an unknown victim": (["run", "phantom", "--victim", "X"], "the victim 'X' is no session of phantom (A, B)"),
}


@pytest.mark.thorough_but("an unknown case", "a malformed schedule", "a step for a waiting session")
@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_ends_in_one_clear_line(name: str) -> None:
    """On standard error, without a trace, and with exit 2."""
    words, said = BAD[name]
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_malformed_spec_file_is_refused_with_its_line(tmp_path: Path) -> None:
    """And with its name."""
    (tmp_path / "bad.spec").write_text("session A\nstep a { select 1; }\nstep a { select 2; }\n")
    done = run("run", str(tmp_path / "bad.spec"))
    assert done.returncode == 2
    assert "bad.spec, line 3: a second step 'a'" in done.stderr


@pytest.mark.thorough_but("environment1-the DSN is malformed")
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ZEPHYR_LAB_PG_DSN": "postgresql://u:s3cr3t@127.0.0.1:1/d"}, "no PostgreSQL answers at"),
        ({"ZEPHYR_LAB_PG_DSN": "nonsense s3cr3t"}, "the DSN is malformed"),
        ({"ZEPHYR_LAB_PG_BIN": "/nonexistent"}, "there is no program `postgres` in it"),
    ],
)
def test_an_unusable_server_is_told_by_matrix_and_by_doctor(environment: dict[str, str], said: str) -> None:
    """With the way on, and without the password."""
    for command, status in (("matrix", 2), ("doctor", 1)):
        done = run(command, **environment)
        assert done.returncode == status
        assert said in " ".join((done.stdout + done.stderr).split())
        assert "s3cr3t" not in done.stdout + done.stderr


def test_programs_in_a_folder_closed_to_the_servers_account_are_refused(tmp_path: Path) -> None:
    """A folder that is named must be used as it is; it is neither copied nor opened."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user runs the servers as themselves")
    closed = tmp_path / "bin"
    closed.mkdir(mode=0o700)
    (closed / "postgres").symlink_to(find_postgres().path)
    done = run("matrix", ZEPHYR_LAB_PG_BIN=str(closed))
    assert done.returncode == 2
    assert "may not execute" in done.stderr
    assert "chmod o+x" in done.stderr
