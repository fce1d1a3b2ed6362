"""`zephyr-lab runbook`, as a program against a running server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.acceptance.test_cli import run
from zephyr_lab import Lab
from zephyr_lab.cli import main
from zephyr_lab.orders import schema
from zephyr_lab.runbook import questions


@pytest.fixture(scope="module")
def dsn(lab: Lab) -> Iterator[str]:
    """A database with the service's tables in it and this month's partition."""
    with lab.connect() as connection:
        connection.execute("create database runbook_cli")
        info = connection.info
        dsn = psycopg.conninfo.make_conninfo(
            host=info.host, port=info.port, user=info.user, password=info.password, dbname="runbook_cli"
        )
    with psycopg.connect(dsn, autocommit=True) as connection:
        schema.install(connection, months=0)
    yield dsn
    with lab.connect() as connection:
        connection.execute("drop database runbook_cli with (force)")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The program in this process: exit code, output, errors. Starting another one takes longer than all it does."""
    for name in ("ZEPHYR_LAB_PG_DSN", "PGHOST"):
        monkeypatch.delenv(name, raising=False)

    def here(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["zephyr-lab", "runbook", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return here


def test_questions_are_listed_and_one_is_answered(
    dsn: str, here: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a question the list, which needs no server; with one a table, or JSON."""
    assert [line.split()[0] for line in here()[1].splitlines()] == [one.name for one in questions()]
    code, text, _ = here("missing-partitions", "--dsn", dsn, "--months", "1")
    assert code == 0
    assert text.startswith("== missing-partitions: Has this month a partition")
    assert "missing: every INSERT fails with 23514" in text
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", dsn)
    told = json.loads(here("table-exists", "--format", "json")[1])
    assert told["table-exists"]["rows"][0]["verdict"] == "exists"


def test_all_questions_are_answered_in_one_go(dsn: str) -> None:
    """By the program as it is installed; the answer says in what kind of transaction it was given."""
    done = run("runbook", "--all", "--dsn", dsn, "--older-than", "0 s")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n== ") == len(questions()) - 1
    assert "read only, statement_timeout 10s, lock_timeout 2s" in done.stdout


def test_a_table_that_is_missing_costs_only_its_own_questions(
    dsn: str, here: Callable[..., tuple[int, str, str]]
) -> None:
    """And exit 1."""
    code, text, _ = here("--all", "--dsn", dsn, "--table", "nope")
    assert code == 1
    assert "no answer: role postgres finds no table nope" in text
    assert "missing: database runbook_cli has no table of this name" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "unknown question 'nope'; there are: this-connection"),
        (["locks", "--all"], "ask locks, or --all, not both"),
        (["locks", "--dsn", "host=127.0.0.1 port=1 password=s3cr3t"], "no PostgreSQL answers at"),
        (["locks", "--dsn", "postgresql://u:s3cr3t@h:x/d"], "percent-encode"),
        (["partitions", "--table", "nope"], "finds no table nope"),
        (["role-access", "--role", "nobody"], 'role "nobody" does not exist'),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    dsn: str, here: Callable[..., tuple[int, str, str]], words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And shows no password."""
    monkeypatch.setenv("ZEPHYR_LAB_PG_DSN", dsn)
    code, out, err = here(*words)
    assert code == 2
    assert said in err
    assert "s3cr3t" not in out + err
