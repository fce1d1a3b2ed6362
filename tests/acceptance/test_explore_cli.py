"""`zephyr-lab explore --service`: a service that is described in a file, explored from the shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.acceptance.test_cli import run
from tests.conftest import ROOT
from zephyr_lab.cli import app
from zephyr_lab.errors import BadInput

DESCRIPTION = f"""
command = ["{sys.executable}", "{ROOT / "tests/wire/shop.py"}"]
ready = "/"
redis = false
setup = "create table slots (id int primary key, booked int); insert into slots values (1, 0)"
invariant = "select booked > 5000 from slots"

[requests]
book = "POST /orders"
lock = "POST /locked"
"""
RACE = ("--request", "A=book", "--request", "B=book")


@pytest.fixture
def shop(tmp_path: Path) -> str:
    path = tmp_path / "shop.toml"
    path.write_text(DESCRIPTION)
    return str(path)


@pytest.mark.server
def test_a_service_is_explored_with_its_counterexample(shop: str) -> None:
    """The invariant is that of the file."""
    done = run("explore", "--service", shop, *RACE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "anomalous 12 of 14, aborted 0" in done.stdout
    assert "the invariant is violated in 12 of 14" in done.stdout
    assert "A returned HTTP 201({'booked': 5000}); B returned HTTP 201" in done.stdout
    assert "  B  update slots set booked = 5000 where id = 1   1 row" in done.stdout


@pytest.mark.server
@pytest.mark.thorough
def test_levels_and_formats_are_as_for_functions(shop: str) -> None:
    """A replay is judged, and the options of functions have their effect."""
    refused = run("explore", "--service", shop, *RACE, "--isolation", "Repeatable Read", "--format", "json")
    said = json.loads(refused.stdout)
    assert (said["isolation"], said["schedules"], said["anomalous"], said["aborted"]) == ("repeatable read", 14, 0, 12)
    few = run("explore", "--service", shop, *RACE, "--samples", "3", "--invariant", "select true", "--no-shrink")
    assert "3 schedules, not all" in few.stdout
    assert "the invariant is violated in 0" in few.stdout
    replayed = run("explore", "--service", shop, *RACE, "--replay", "A B A B A B", "--format", "json")
    assert json.loads(replayed.stdout)["verdict"] == "occurs"
    assert "verdict: prevented" in run("explore", "--service", shop, *RACE, "--replay", "A A A B B B").stdout


BAD = {
    "an unknown request": (
        ("--service", "FILE", "--request", "A=bok"),
        r"no request 'bok' is described \(did you mean",
    ),
    "a request alone": (("--service", "FILE", "--request", "book"), "a session and a name, as in A=book, not 'book'"),
    "no request": (("--service", "FILE"), "--request A=NAME --request B=NAME; there are: book, lock"),
    "a session twice": (("--service", "FILE", *RACE, "--request", "A=lock"), "session A is 'book' and 'lock'"),
    "no file": (("--service", "none.toml", *RACE), "cannot read none.toml"),
    "both": (("phantom", "--service", "FILE", *RACE), r"a case \(phantom\) or a service \(.*\) is explored"),
    "neither": ((), "explore what.* a case .*, or requests to a service of yours"),
    "what cases have": (("--service", "FILE", *RACE, "--jobs", "2"), "--jobs: for the exploration of a case"),
    "what services have": (
        ("phantom", "--retry", "--replay", "A B"),
        "--replay, --retry: for the exploration of a serv",
    ),
    "a level": (("--service", "FILE", *RACE, "--isolation", "none"), "unknown isolation level 'none'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told_before_anything_is_started(shop: str, what: str) -> None:
    """By name, with what there is."""
    words, said = BAD[what]
    done = CliRunner().invoke(app, ["explore", *(shop if word == "FILE" else word for word in words)])
    assert isinstance(done.exception, BadInput), done.output
    with pytest.raises(BadInput, match=f"(?i){said}"):
        raise done.exception


def test_the_help_shows_how() -> None:
    done = CliRunner().invoke(app, ["explore", "--help"], env={"COLUMNS": "140"})
    assert "zephyr-lab explore --service shop.toml --request A=book --request B=book" in done.output
