"""`zephyr-lab hunt`: functions of a file, and the requests to a service, from the shell; its exit codes are for CI."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.conftest import ROOT
from zephyr_lab.cli import app
from zephyr_lab.errors import BadInput

SETUP = "create table slots (id int primary key, booked int not null); insert into slots values (1, 0)"
SHOP = ROOT / "tests/hunt/shop.py"
BOOKING = ROOT / "data/services"
ORDER = '{{customer = "Ann", id = "{0}", slot = "slot:18", amount = 1000}}'
DESCRIPTION = f"""
command = ["{sys.executable}", "booking.py"]
cwd = "{BOOKING / "python"}"
ready = "/"
redis = false
setup = "{BOOKING / "booking.sql"}"

[requests]
status = "GET /"
book = {{method = "POST", path = "/orders", json = {ORDER.format("a")}}}
[requests.order]
method = "POST"
path = "/orders"
json = {ORDER.format("b")}
"""


def hunt(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["hunt", *map(str, words)])


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(DESCRIPTION)
    return path


@pytest.mark.server
def test_a_race_is_a_failure_until_it_is_known(tmp_path: Path) -> None:
    """What is in the baseline and was not found is named."""
    known = tmp_path / "known.json"
    known.write_text('[{"operations": ["book", "gone"], "pattern": "conflict"}]')
    of_functions = (f"{SHOP}:book,add", "--setup", SETUP, "--baseline", known)
    first = hunt(*of_functions)
    assert first.exit_code == 1, first.output
    assert "2 operations, 3 pairs at read committed: 1 safe, 2 races" in first.stdout
    assert "in the baseline, and not found: book with gone (conflict)" in first.stderr
    written = hunt(*of_functions, "--write-baseline", "--format", "json", "--isolation", "repeatable read")
    assert (written.exit_code, json.loads(written.stdout)["counts"]["aborts"]) == (0, 3)
    assert json.loads(known.read_text()) == []
    again = hunt(*of_functions, "--isolation", "repeatable read", "--strict")
    assert (again.exit_code, again.stderr) == (0, "")


@pytest.mark.server
def test_where_nothing_could_be_hunted_nothing_is_passed(tmp_path: Path) -> None:
    """And a race is written where it is asked for."""
    silent = tmp_path / "silent.py"
    silent.write_text("def nothing(conn):\n    return 1\n")
    found = hunt(f"{silent}:nothing", "--setup", SETUP)
    assert (found.exit_code, "nothing: not hunted" in found.stdout) == (2, True)
    assert hunt(f"{SHOP}:book", "--setup", SETUP, "--export", tmp_path / "races").exit_code == 1
    assert (tmp_path / "races" / "book+book.sql").is_file()


@pytest.mark.server
@pytest.mark.thorough
def test_the_requests_of_a_service_are_hunted(shop: Path, tmp_path: Path) -> None:
    """All of them; one that asks nothing is said, and counts where that is asked for."""
    output = tmp_path / "races.sarif"
    done = hunt("--service", shop, "--format", "sarif", "--output", output)
    assert (done.exit_code, done.stdout) == (1, "")
    (result,) = json.loads(output.read_text())["runs"][0]["results"]
    assert result["ruleId"] == "read-then-write"
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (shop.as_uri(), 10)
    page = hunt("--service", shop, "book", "--format", "html", "--strict")
    assert page.exit_code == 0
    assert page.stdout.startswith("<!doctype html>")
    strict = hunt("--service", shop, "status", "book", "--strict", "--format", "json")
    assert strict.exit_code == 1
    told = json.loads(strict.stdout)
    assert [name for name, one in told["operations"].items() if not one["hunted"]] == ["status"]
    assert told["counts"]["races"] == 0


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "nothing": ((), "hunt among what"),
    "no function": ((f"{SHOP}:bok",), "has no function 'bok'"),
    "no request": (("--service", "FILE", "bok"), r"no request 'bok' is described \(did you mean 'book'"),
    "no file": (("--service", "none.toml"), "cannot read none.toml"),
    "no baseline": ((f"{SHOP}:book", "--baseline", "none.json"), "cannot read the baseline none.json"),
    "a baseline of no name": ((f"{SHOP}:book", "--write-baseline"), "which file is the baseline"),
    "a level": ((f"{SHOP}:book", "--isolation", "none"), "unknown isolation level 'none'"),
    "no time": ((f"{SHOP}:book", "--budget", "0"), "a budget is a positive number of seconds"),
    "no folder": ((f"{SHOP}:book", "--output", "none/races.html"), "there is no folder none; make it first"),
    "no setup": ((f"{SHOP}:book", "--setup", "none.sql"), r"cannot read the setup none\.sql"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told_before_anything_is_started(shop: Path, what: str) -> None:
    words, said = BAD[what]
    done = hunt(*(shop if word == "FILE" else word for word in words))
    assert isinstance(done.exception, BadInput), done.output
    with pytest.raises(BadInput, match=said):
        raise done.exception


def test_the_help_shows_how() -> None:
    done = CliRunner().invoke(app, ["hunt", "--help"], env={"COLUMNS": "140"})
    assert "zephyr-lab hunt shop.py:book,cancel --setup schema.sql --budget 60 --jobs 2" in done.output
    assert "Exit code 0" in done.output
