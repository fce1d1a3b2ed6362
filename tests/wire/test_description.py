"""A service that is described in TOML: read into one model, with every mistake named by file and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.wire import programs
from zephyr_lab import Lab
from zephyr_lab.errors import BadInput
from zephyr_lab.wire.description import Description

SHOP = Path(__file__).with_name("shop.py")
PSYCOPG2 = "import os, psycopg2; psycopg2.connect(os.environ['DATABASE_URL']).cursor().execute('select 1')"


def written(folder: Path, text: str) -> Path:
    """A file of this name."""
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The service of this folder's tests; its SQL is in a file beside the description, which runs elsewhere."""
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql/schema.sql").write_text(programs.SETUP)
    return written(
        tmp_path,
        f"""
command = ["{sys.executable}", "shop.py"]
cwd = "{SHOP.parent}"
ready = "/"
redis = false
reset = "GET /"
refusals = [409, 423]
setup = ["sql/schema.sql", "create table nothing ()"]
invariant = "select booked in (0, 5000, 10000) from slots"

[env]
DB = "{{dsn}}"

[requests]
book = "POST /orders"
[requests.lock]
method = "post"
path = "/locked"
headers = {{X-Customer = "Ann"}}
json = {{amount = 5000, at = [1, 2]}}

[commands.look]
command = ["{sys.executable}", "-c", "{PSYCOPG2}"]
redis = false
refusals = [3]
[commands.worker]
command = "sh -c cat"
kept = true
redis = false
line = {{id = 1}}
""",
    )


def test_one_model_holds_all_that_a_file_says(shop: Path) -> None:
    """As `lab.service`, `lab.command` and `lab.explore` take it."""
    about = Description.read(shop)
    assert about.options == {
        "command": [sys.executable, "shop.py"], "cwd": SHOP.parent, "ready": "/", "redis": False,
        "reset": "GET /", "refusals": [409, 423], "env": {"DB": "{dsn}"},
    }  # fmt: skip
    assert about.setup == [programs.SETUP, "create table nothing ()"]
    assert about.invariant == "select booked in (0, 5000, 10000) from slots"
    assert about.names == ["book", "lock", "look", "worker"]
    assert about.commands["look"]["cwd"] == shop.parent


def test_requests_and_commands_of_a_file_are_explored(lab: Lab, shop: Path) -> None:
    """The service is started once; a command that is kept is told its line; a request has headers and JSON."""
    about = Description.read(shop)
    sessions = about.sessions(lab, {"A": "lock", "B": "lock", "C": "look"})
    lock = sessions["A"]
    assert (lock.method, lock.path, dict(lock.headers)) == ("POST", "/locked", {"X-Customer": "Ann"})
    assert (lock.body, lock.refusals) == ({"amount": 5000, "at": [1, 2]}, frozenset({409, 423}))
    found = lab.explore(
        {"A": lock, "B": sessions["B"]}, setup=about.setup, invariant="select booked = 10000 from slots"
    )
    assert (found.schedules, found.anomalous, found.violation) == (6, 0, None)
    found = lab.explore({"A": lock, "C": sessions["C"]}, setup=about.setup, samples=2)
    assert "C returned exit 0" in str(found)
    assert about.sessions(lab, {"A": "worker"})["A"].ask() == {"id": 1}
    lock.service.close()


def test_a_lab_takes_a_description_for_a_service(lab: Lab, shop: Path) -> None:
    """Its requests are made for the one that runs; what is said beside it wins."""
    about = Description.read(shop)
    with lab.service(about, refusals=[]) as service:
        assert about.request(service, "book").refusals == frozenset()
        with pytest.raises(
            BadInput, match=r"no request 'bok' is described \(did you mean 'book'\?\); there are: book, lock$"
        ):
            about.request(service, "bok")


def test_it_can_be_written_in_python(lab: Lab) -> None:
    about = Description({"command": [sys.executable, SHOP], "redis": False, "ready": "/"}, {"book": {"path": "/"}})
    with lab.service(about) as service:
        assert about.request(service, "book").ask().status == 200


START = "command = 'x'\n"
WRONG = {
    "no TOML": ("command = ", r"shop.toml is no TOML: Invalid value \(at end of document\)"),
    "a key": ("comand = 'x'", r"unknown key 'comand' \(did you mean 'command'\?\); there are: command, cwd, env,"),
    "nothing": ("", "there is no command to start the service"),
    "a type": ("command = 5", "command is a command: a string or a list of strings, not 5"),
    "no words": ("command = []", r"command is a command: a string or a list of strings, not \[\]"),
    "a truth": (START + "redis = 'no'", "redis is true or false, not 'no'"),
    "seconds": (START + "ready_seconds = 0", "ready_seconds is a positive number of seconds, not 0"),
    "a status": (START + "refusals = 409", r"refusals is a list of integers, such as \[409\], not 409"),
    "a variable": (START + "env = {A = {B = 1}}", r"env is a table of strings and numbers, not {'A'"),
    "a truth as a variable": (START + "env = {A = true}", r"env is a table of strings and numbers, not {'A': True}"),
    "SQL": (START + "setup = 'none.sql'", r"setup: cannot read .*none\.sql: No such file"),
    "a short form": (START + "requests = {book = '/orders'}", r"requests\.book: a request is a method and a path"),
    "no path": (START + "requests = {book = {json = 1}}", r"requests\.book: it has no path that begins with a slash"),
    "a key of a request": (
        START + "requests = {book = {path = '/', body = 1}}", r"unknown key 'requests\.book\.body'; there are: method"
    ),
    "no table": (START + "requests = {book = 1}", r"requests\.book is a table of method, .* in short form 'POST /o"),
    "a time": (START + "requests = {book = {path = '/', json = 2026-01-01}}", r"requests\.book\.json is what JSON can"),
    "a command without": ("commands = {pay = {kept = true}}", r"commands\.pay: it has no command to start"),
    "a line": ("commands = {pay = {command = 'x', line = 1}}", r"commands\.pay: a command that is kept is told a line"),
    "twice": (START + "requests = {a = 'GET /'}\ncommands = {a = {command = 'x'}}", "'a' is both a request and a comm"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_named_by_file_and_key(tmp_path: Path, what: str) -> None:
    text, said = WRONG[what]
    path = written(tmp_path, text)
    with pytest.raises(BadInput, match=said) as told:
        Description.read(path)
    assert str(path) in str(told.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*none\.toml: No such file"):
        Description.read(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"command = '\xe4'")
    with pytest.raises(BadInput, match=r"cannot read .*latin\.toml: 'utf-8' codec"):
        Description.read(tmp_path / "latin.toml")
