"""`zephyr-lab runbook`, as a program against a running server."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.acceptance.test_cli import run
from zephyr_lab import Lab
from zephyr_lab.orders import schema
from zephyr_lab.runbook import questions


@pytest.fixture(scope="module")
def dsn(lab: Lab) -> str:
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


def test_questions_are_listed_and_one_is_answered(dsn: str) -> None:
    """Without a server the list; with one a table, or JSON."""
    listed = run("runbook")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [one.name for one in questions()]
    text = run("runbook", "missing-partitions", "--dsn", dsn, "--months", "1")
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith("== missing-partitions: Has this month a partition")
    assert "missing: every INSERT fails with 23514" in text.stdout
    told = json.loads(run("runbook", "table-exists", "--format", "json", ZEPHYR_LAB_PG_DSN=dsn).stdout)
    assert told["table-exists"]["rows"][0]["verdict"] == "exists"


def test_all_questions_are_answered_in_one_go(dsn: str) -> None:
    """And say in what kind of transaction; a table that is not there costs only its own questions, and exit 1."""
    done = run("runbook", "--all", "--dsn", dsn, "--older-than", "0 s")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n== ") == len(questions()) - 1
    assert "read only, statement_timeout 10s, lock_timeout 2s" in done.stdout
    missing = run("runbook", "--all", "--dsn", dsn, "--table", "nope")
    assert missing.returncode == 1
    assert "no answer: role postgres finds no table nope" in missing.stdout
    assert "missing: database runbook_cli has no table of this name" in missing.stdout


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
def test_bad_input_is_one_line_and_exit_2(dsn: str, words: list[str], said: str) -> None:
    """And shows no password."""
    done = run("runbook", *words, ZEPHYR_LAB_PG_DSN=dsn)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cr3t" not in done.stderr + done.stdout
